package bondfake

import (
	"fmt"
	"io/fs"
	"testing/fstest"
)

// Sys returns the machine's sysfs, which always shows the machine as it is.
func (k *Kernel) Sys() fs.FS { return sysfs{k} }

type sysfs struct{ k *Kernel }

func (s sysfs) Open(name string) (fs.File, error)          { return s.now().Open(name) }
func (s sysfs) ReadLink(name string) (string, error)       { return s.now().ReadLink(name) }
func (s sysfs) Lstat(name string) (fs.FileInfo, error)     { return s.now().Lstat(name) }
func (s sysfs) ReadDir(name string) ([]fs.DirEntry, error) { return s.now().ReadDir(name) }

func (s sysfs) now() fstest.MapFS {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	m := fstest.MapFS{}
	symlink := func(name, target string) {
		m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
	}
	for address, d := range s.k.devices {
		dir := "bus/pci/devices/" + address
		m[dir] = &fstest.MapFile{Mode: fs.ModeDir}
		if d.driver != "" {
			symlink(dir+"/driver", "../../drivers/"+d.driver)
		}
		if d.pf != "" {
			symlink(dir+"/physfn", "../"+d.pf)
			symlink(fmt.Sprintf("bus/pci/devices/%s/virtfn%d", d.pf, d.number), "../"+address)
		}
	}
	for _, l := range s.k.in(s.k.namespaces[""]) {
		if l.Device != "" {
			dir := "bus/pci/devices/" + l.Device + "/net/" + l.Name
			m[dir] = &fstest.MapFile{Mode: fs.ModeDir}
			if l.portName != "" {
				m[dir+"/phys_port_name"] = &fstest.MapFile{Data: fmt.Appendln(nil, l.portName)}
			}
			if l.port > 0 {
				m[dir+"/dev_port"] = &fstest.MapFile{Data: fmt.Appendln(nil, l.port)}
			}
		}
	}
	return m
}

package bondfake

import (
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"
)

// Sys returns the machine's sysfs, which always shows the machine as it is.
func (k *Kernel) Sys() fs.FS { return sysfs{k} }

type sysfs struct{ k *Kernel }

func (s sysfs) Open(name string) (fs.File, error)          { return s.now(name).Open(name) }
func (s sysfs) ReadLink(name string) (string, error)       { return s.now(name).ReadLink(name) }
func (s sysfs) Lstat(name string) (fs.FileInfo, error)     { return s.now(name).Lstat(name) }
func (s sysfs) ReadDir(name string) ([]fs.DirEntry, error) { return s.now(name).ReadDir(name) }

const pciDevices = "bus/pci/devices/"

// now returns the part of sysfs that name is in: one device's directory, or everything
// if name is above it. A link to another device's directory leads nowhere in it.
func (s sysfs) now(name string) fstest.MapFS {
	below, is := strings.CutPrefix(name, pciDevices)
	only, _, _ := strings.Cut(below, "/")
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	above := name == "." || strings.HasPrefix(pciDevices, name+"/")
	shown := func(address string) bool { return above || is && address == only }
	m := fstest.MapFS{}
	symlink := func(name, target string) {
		m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
	}
	for address, d := range s.k.devices {
		if d.pf != "" && shown(d.pf) {
			symlink(fmt.Sprintf("%s%s/virtfn%d", pciDevices, d.pf, d.number), "../"+address)
		}
		if !shown(address) {
			continue
		}
		dir := pciDevices + address
		m[dir] = &fstest.MapFile{Mode: fs.ModeDir}
		if d.driver != "" {
			symlink(dir+"/driver", "../../drivers/"+d.driver)
		}
		if d.pf != "" {
			symlink(dir+"/physfn", "../"+d.pf)
		}
		if d.numa != "" {
			m[dir+"/numa_node"] = &fstest.MapFile{Data: []byte(d.numa + "\n")}
		}
	}
	for _, l := range s.k.in(s.k.namespaces[""]) {
		if l.Device != "" && shown(l.Device) {
			dir := pciDevices + l.Device + "/net/" + l.Name
			if s.k.devices[l.Device].is.Virtio {
				dir = pciDevices + l.Device + "/virtio3/net/" + l.Name
			}
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

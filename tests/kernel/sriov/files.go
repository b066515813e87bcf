package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

const (
	dir   = "/var/lib/cni/sriov"
	notes = dir + "/pci"
	locks = notes + "/vf_lock"
)

// lock locks a VF until this process ends. The file stays.
func lock(device string) error {
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return err
	}
	fd, err := unix.Open(filepath.Join(locks, device+".lock"), unix.O_CREAT|unix.O_RDONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return unix.Flock(fd, unix.LOCK_EX)
}

// refuseNoted returns an error if a namespace has the VF. It removes a note about one
// that does not exist any more.
func refuseNoted(device string) error {
	netns, err := os.ReadFile(filepath.Join(notes, device))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := bond.System{}.Open(string(netns))
	if err != nil {
		return removeNote(device)
	}
	n.Close()
	return fmt.Errorf("pci address %s is already allocated", device)
}

func writeNote(device, netns string) error {
	return os.WriteFile(filepath.Join(notes, device), []byte(netns), 0o600)
}

func removeNote(device string) error { return os.Remove(filepath.Join(notes, device)) }

func cache(container, ifName string) string { return filepath.Join(dir, container+"-"+ifName) }

// save is not atomic: killed meanwhile, it leaves an empty file.
func save(container, ifName string, c config) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(cache(container, ifName), text, 0o600)
}

func load(container, ifName string) (c config, err error) {
	text, err := os.ReadFile(cache(container, ifName))
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}

func forget(container, ifName string) { os.Remove(cache(container, ifName)) }

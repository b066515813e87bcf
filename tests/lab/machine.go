package lab

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Descriptors that QEMU inherits.
const (
	agentFD   = 3
	monitorFD = 4
	trunkFD   = 5 // if there is one
)

// arguments is QEMU's command line for a machine. With more than 2700 MiB some
// memory of q35 would be above 4 GiB, and the VFs would not come up.
func arguments(o Options, share string, extra ...string) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", machine(), "-smp", "2", "-m", memory(o),
		"-kernel", kernelFile(o.Kernel, "vmlinux"), "-initrd", kernelFile(o.Kernel, "initramfs"),
		"-append", commandLine(o, extra...),
		"-virtfs", "local,path=" + strings.ReplaceAll(share, ",", ",,") + ",mount_tag=lab,security_model=none",
	}
	for i := range o.PFs {
		args = append(args, pf(o.Number, i)...)
	}
	if o.Trunk != nil {
		args = append(args, trunk()...)
	}
	return append(append(args, node(o)...), processor()...)
}

// machine is a board with PCI Express. That of arm64 has memory of devices below 4 GiB only:
// above, igb does not hear its VFs.
func machine() string {
	if arch() == "arm64" {
		return "virt,gic-version=3,highmem-mmio=off"
	}
	return "q35"
}

// trunk joins the switch with that of another VM.
func trunk() []string {
	return []string{
		"-netdev", fmt.Sprintf("dgram,id=trunk,local.type=fd,local.str=%d", trunkFD),
		"-netdev", "hubport,id=trunkport,hubid=0,netdev=trunk",
	}
}

func memory(o Options) string {
	if o.Disk == "" {
		return "2048"
	}
	return "2688"
}

// node is what a guest with a disk has besides: the disk, and an uplink on which
// the host's loopback is 10.0.2.2 and the guest is 10.0.2.15.
func node(o Options) []string {
	if o.Disk == "" {
		return nil
	}
	uplink := "user,id=uplink"
	for _, host := range slices.Sorted(maps.Keys(o.Forward)) {
		uplink += fmt.Sprintf(",hostfwd=tcp:%s-:%d", host, o.Forward[host])
	}
	return []string{
		"-drive", "if=none,id=disk,format=raw,readonly=on,file=" + strings.ReplaceAll(o.Disk, ",", ",,"), "-device", "virtio-blk-pci,drive=disk",
		"-netdev", uplink, "-device", "virtio-net-pci,netdev=uplink,mac=52:54:00:00:01:00,romfile=",
	}
}

// processor is emulated unless asked otherwise: /dev/kvm may be there and hang. Of
// a simple one, less is to be emulated at each step.
func processor() []string {
	if os.Getenv("LAB_ACCEL") == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	if arch() == "arm64" {
		return []string{"-accel", "tcg,thread=multi", "-cpu", "neoverse-n1"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "Nehalem,rdrand=on"}
}

// pf is a NIC in a slot of its own, cabled to the one switch: PF 0 is on bus 1.
func pf(vm, i int) []string {
	return []string{
		"-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d", i, i, i) + port(),
		"-netdev", fmt.Sprintf("hubport,id=cable%d,hubid=0", i),
		"-device", fmt.Sprintf("igb,id=nic%d,bus=port%d,netdev=cable%d,mac=52:54:00:00:%02x:%02x,romfile=", i, i, i, 2*vm, i+1),
	}
}

// port is what a board's slots need so that udev names a NIC by its bus: without ACPI, a
// slot that can be plugged while the machine runs has a number, which udev prefers.
func port() string {
	if arch() == "arm64" {
		return ",hotplug=off"
	}
	return ""
}

// commandLine is the kernel's. panic=-1 with -no-reboot ends a VM that panics. With
// the tick stopped when idle, 2 boots of 100 hung with a processor that no timer
// woke any more; a periodic one wakes it again.
func commandLine(o Options, extra ...string) string {
	words := append([]string{
		"console=" + serial(), "loglevel=4", "panic=-1", "net.naming-scheme=v252",
		"mitigations=off", "cryptomgr.notests", "tsc=reliable", "nohz=off", "highres=off",
		fmt.Sprintf("lab_pfs=%d", o.PFs), fmt.Sprintf("lab_vfs=%d", o.VFs),
	}, extra...)
	if o.Disk != "" {
		words = append(words, "lab_disk")
	}
	if o.Networkd {
		words = append(words, "lab_networkd")
	}
	return strings.Join(words, " ")
}

// serial is the name that the kernel has for the first serial line.
func serial() string {
	if arch() == "arm64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// controlled adds the agent's port, the monitor and the console on standard output.
func controlled() []string {
	return []string{
		"-serial", "stdio",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d", agentFD),
		"-device", "virtio-serial", "-device", "virtserialport,chardev=agent,name=lab",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD),
		"-mon", "chardev=monitor,mode=control",
	}
}

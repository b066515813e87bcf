package lab

import (
	"fmt"
	"os"
	"strings"
)

// Descriptors that QEMU inherits.
const (
	agentFD   = 3
	monitorFD = 4
)

// arguments is QEMU's command line for a machine. With more than 2700 MiB some
// memory would be above 4 GiB, and the VFs would not come up.
func arguments(o Options, share string, extra ...string) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-smp", "2", "-m", "2048",
		"-kernel", kernelFile(o.Kernel, "vmlinux"), "-initrd", kernelFile(o.Kernel, "initramfs"),
		"-append", commandLine(o, extra...),
		"-virtfs", "local,path=" + strings.ReplaceAll(share, ",", ",,") + ",mount_tag=lab,security_model=none",
	}
	for i := range o.PFs {
		args = append(args, pf(i)...)
	}
	return append(args, processor()...)
}

// processor is emulated unless asked otherwise: /dev/kvm may be there and hang. Of
// a simple one, less is to be emulated at each step.
func processor() []string {
	if os.Getenv("LAB_ACCEL") == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "Nehalem,rdrand=on"}
}

// pf is a NIC in a slot of its own, cabled to the one switch: PF 0 is on bus 1.
func pf(i int) []string {
	return []string{
		"-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d", i, i, i),
		"-netdev", fmt.Sprintf("hubport,id=cable%d,hubid=0", i),
		"-device", fmt.Sprintf("igb,id=nic%d,bus=port%d,netdev=cable%d,mac=52:54:00:00:00:%02x,romfile=", i, i, i, i+1),
	}
}

// commandLine is the kernel's. panic=-1 with -no-reboot ends a VM that panics. With
// the tick stopped when idle, 2 boots of 100 hung with a processor that no timer
// woke any more; a periodic one wakes it again.
func commandLine(o Options, extra ...string) string {
	words := append([]string{
		"console=ttyS0", "loglevel=4", "panic=-1", "net.ifnames=0",
		"mitigations=off", "cryptomgr.notests", "tsc=reliable", "nohz=off", "highres=off",
		fmt.Sprintf("lab_pfs=%d", o.PFs), fmt.Sprintf("lab_vfs=%d", o.VFs),
	}, extra...)
	return strings.Join(words, " ")
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

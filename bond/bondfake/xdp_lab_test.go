//go:build lab

package bondfake_test

import (
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachXDP loads a program that passes each packet, and attaches it as ip link set
// xdpgeneric does.
func (real) attachXDP(name string) error {
	const passes = 2 // XDP_PASS
	type instruction struct {
		code, registers uint8
		offset          int16
		immediate       int32
	}
	program := []instruction{{code: 0xb7, immediate: passes}, {code: 0x95}} // r0 = passes; exit
	license := []byte("GPL\x00")
	load := struct {
		kind, count           uint32
		instructions, license uint64
		_                     [4]uint64
	}{kind: unix.BPF_PROG_TYPE_XDP, count: uint32(len(program)),
		instructions: uint64(uintptr(unsafe.Pointer(&program[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetXdpFdWithFlags(l, int(fd), unix.XDP_FLAGS_SKB_MODE)
}

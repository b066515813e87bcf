package bondfake

import (
	"time"

	"golang.org/x/sys/unix"
)

// Character is how the drivers of a card behave, as far as it matters to who moves VFs
// and changes them. Only that of [IGB] was observed; the others were read in the
// kernel's sources, at the places that are named.
type Character struct {
	PF, VF string // the names of the drivers

	// Messages: VF and PF send each other messages that can be lost; see
	// [Kernel.Lose].
	Messages bool
	// Unheard: the PF reports only a MAC that it has set itself, not the VF's own.
	Unheard bool
	// NoPermMAC: a VF whose MAC its PF has not set has a random one, and none that is
	// permanent.
	NoPermMAC bool
	// Refusal is the error of a VF that is not trusted if it is to have another MAC than
	// the one that its PF has set. nil: it may have any.
	Refusal error
	// TakesMAC: a VF takes the MAC that its PF has set at once. Otherwise it does when it
	// is closed (Messages), or when it is bound to its driver again.
	TakesMAC bool

	// Busy is how long a PF refuses, with BusyError, to change a VF that it has changed.
	Busy      time.Duration
	BusyError error
	// Late is how long after it was asked for a VF has another MAC. Until then the answer
	// is EAGAIN.
	Late time.Duration
	// Everything: the PF also sets a VF's minimal rate and a VLAN of 802.1ad.
	Everything bool
	// LinkState: the PF sets a VF's link state. One that is disabled has no carrier.
	LinkState bool
	// Virtio: the interface is that of a child of the PCI device, on the virtio bus. The PF
	// reports no VFs, and changes none.
	Virtio bool
	// Switchdev: the PF has a representor of each VF, and changes neither VLAN nor spoof
	// checking nor trust of a VF.
	Switchdev bool
}

// The characters of cards, in drivers/net/ethernet.
var (
	// IGB is intel/igb/igb_main.c with intel/igbvf, as it was observed: igbvf takes
	// silence for a yes, and the MAC that its PF has set when it is closed.
	IGB = Character{PF: "igb", VF: "igbvf", Messages: true, Refusal: unix.EADDRNOTAVAIL}
	// I40E is intel/i40e/i40e_virtchnl_pf.c: "VF still in reset. Try again", and "other
	// operation is pending", are EAGAIN. Each change resets the VF, which then takes the
	// MAC that its PF gives it (intel/iavf/iavf_virtchnl.c, VIRTCHNL_OP_GET_VF_RESOURCES).
	// A VF to which the PF gives none makes one up (intel/iavf/iavf_main.c).
	I40E = Character{PF: "i40e", VF: "iavf", LinkState: true, NoPermMAC: true, Refusal: unix.EACCES, TakesMAC: true, Busy: time.Second, BusyError: unix.EAGAIN}
	// ICE is intel/ice/ice_vf_lib.c, ice_check_vf_ready_for_cfg: after a wait of 800 ms
	// a VF in reset is EBUSY. ice_sriov.c has all settings.
	ICE = Character{PF: "ice", VF: "iavf", Everything: true, LinkState: true, NoPermMAC: true, Refusal: unix.EACCES, TakesMAC: true, Busy: 2 * time.Second, BusyError: unix.EBUSY}
	// SlowIAVF is intel/iavf/iavf_main.c, iavf_set_mac, with a PF that does not answer
	// within 2.5 s: EAGAIN, and the MAC changes when the answer comes.
	SlowIAVF = Character{PF: "ice", VF: "iavf", NoPermMAC: true, Refusal: unix.EACCES, TakesMAC: true, Late: time.Second}
	// MLX5 is mellanox/mlx5/core: en_main.c (mlx5e_set_netdev_dev_addr: a random MAC; any
	// is accepted), eswitch.c (what is reported of a VF is what was set). An interface
	// can be made anew, see [Kernel.Remake].
	MLX5 = Character{PF: "mlx5_core", VF: "mlx5_core", Unheard: true, NoPermMAC: true, LinkState: true}
	// MLX5Switchdev is the same in switchdev mode (eswitch.c and esw/legacy.c: EOPNOTSUPP;
	// en_rep.c).
	MLX5Switchdev = Character{PF: "mlx5_core", VF: "mlx5_core", Unheard: true, NoPermMAC: true, Switchdev: true}
	// MLX4 is mellanox/mlx4: en_netdev.c (a VF has a random MAC, unless its PF had set one
	// before), cmd.c. A function can have two ports, see [Kernel.AddPort].
	MLX4 = Character{PF: "mlx4_core", VF: "mlx4_core", Unheard: true, NoPermMAC: true}
	// Virtio is ../virtio/virtio_pci_common.c with virtio_net.c, whose net_device_ops have
	// nothing for VFs.
	Virtio = Character{PF: "virtio-pci", VF: "virtio-pci", Virtio: true}
)

package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// vfTrustUnknown is the value that a driver without trust reports.
	vfTrustUnknown = 0xffffffff
	// filterSkipStats is RTEXT_FILTER_SKIP_STATS. With the counters of more than
	// about 200 VFs the kernel's answer would be too long to send.
	filterSkipStats = 1 << 3
)

// VFs asks for the VFs of one PF only. The kernel reads the state of each VF from
// the device, so the cost of a list of all links would grow with all VFs of the
// node.
func (n *namespace) VFs(pf string) (map[int]VF, error) {
	message, err := n.linkMessage(byName(pf), nl.RTEXT_FILTER_VF|filterSkipStats)
	if err != nil {
		return nil, fmt.Errorf("reading the VFs of %s: %w", pf, err)
	}
	link, err := netlink.LinkDeserialize(nil, message)
	if err != nil {
		return nil, fmt.Errorf("reading the VFs of %s: %w", pf, err)
	}
	vfs := map[int]VF{}
	for _, v := range link.Attrs().Vfs {
		vfs[v.ID] = vfState(v)
	}
	return vfs, nil
}

func vfState(v netlink.VfInfo) VF {
	s := VF{
		MAC: v.Mac.String(), VLAN: v.Vlan, QoS: v.Qos, Proto: v.VlanProto, SpoofChk: v.Spoofchk,
		MinRate: v.MinTxRate, MaxRate: v.MaxTxRate, LinkState: v.LinkState,
	}
	if v.Trust != vfTrustUnknown {
		s.Trust = new(v.Trust == 1)
	}
	return s
}

// ChangeVF sends one request per difference, so that a driver that lacks one
// setting still takes the others. It returns all errors joined.
func (n *namespace) ChangeVF(pf string, number int, have, want VF) error {
	link, err := n.Link(pf)
	if err != nil {
		return err
	}
	id := uint32(number)
	var errs []error
	set := func(what string, attr int, data []byte) {
		r := n.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
		r.AddData(infoOf(link.Index))
		list := nl.NewRtAttr(unix.IFLA_VFINFO_LIST, nil)
		list.AddRtAttr(nl.IFLA_VF_INFO, nil).AddRtAttr(attr, data)
		r.AddData(list)
		if err := do(r); err != nil {
			errs = append(errs, fmt.Errorf("setting %s of VF %d of %s: %w", what, number, pf, err))
		}
	}
	if have.VLAN != want.VLAN || have.QoS != want.QoS || want.VLAN != 0 && have.Proto != want.Proto {
		set("vlan", nl.IFLA_VF_VLAN_LIST, vlanList(id, want))
	}
	if have.MAC != want.MAC {
		mac, err := net.ParseMAC(want.MAC)
		m := nl.VfMac{Vf: id}
		copy(m.Mac[:], mac)
		if err == nil {
			set("MAC", nl.IFLA_VF_MAC, m.Serialize())
		} else {
			errs = append(errs, err)
		}
	}
	if have.MinRate != want.MinRate || have.MaxRate != want.MaxRate {
		set("rate", nl.IFLA_VF_RATE, (&nl.VfRate{Vf: id, MinTxRate: want.MinRate, MaxTxRate: want.MaxRate}).Serialize())
	}
	if have.SpoofChk != want.SpoofChk {
		set("spoofchk", nl.IFLA_VF_SPOOFCHK, (&nl.VfSpoofchk{Vf: id, Setting: flag(want.SpoofChk)}).Serialize())
	}
	if have.LinkState != want.LinkState {
		set("link state", nl.IFLA_VF_LINK_STATE, (&nl.VfLinkState{Vf: id, LinkState: want.LinkState}).Serialize())
	}
	if have.Trust != nil && want.Trust != nil && *have.Trust != *want.Trust {
		set("trust", nl.IFLA_VF_TRUST, (&nl.VfTrust{Vf: id, Setting: flag(*want.Trust)}).Serialize())
	}
	return errors.Join(errs...)
}

// vlanList returns the VLAN setting in the form that includes the protocol, which
// is in network byte order.
func vlanList(id uint32, want VF) []byte {
	proto := want.Proto
	if proto == 0 {
		proto = unix.ETH_P_8021Q
	}
	one := nl.VfVlanInfo{VfVlan: nl.VfVlan{Vf: id, Vlan: uint32(want.VLAN), Qos: uint32(want.QoS)}, VlanProto: networkOrder(uint16(proto))}
	return nl.NewRtAttr(nl.IFLA_VF_VLAN_INFO, one.Serialize()).Serialize()
}

func flag(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// networkOrder returns the number whose bytes in memory are v in network order.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

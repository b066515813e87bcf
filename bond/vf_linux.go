package bond

import (
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vfTrustUnknown is what a driver without trust reports.
const vfTrustUnknown = 0xffffffff

// VFs asks for the VFs of one PF only: the kernel fetches each VF's details
// from the device, so a list over all links costs with every VF of the node.
func (n *namespace) VFs(pf string) (map[int]VF, error) {
	r := n.request(unix.RTM_GETLINK, 0)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(pf)))
	r.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, uint32Attr(nl.RTEXT_FILTER_VF)))
	messages, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if errors.Is(err, unix.ENODEV) || err == nil && len(messages) == 0 {
		return nil, fmt.Errorf("PF %s: %w", pf, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("VFs of %s: %w", pf, err)
	}
	link, err := netlink.LinkDeserialize(nil, messages[0])
	if err != nil {
		return nil, fmt.Errorf("VFs of %s: %w", pf, err)
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
		trust := v.Trust == 1
		s.Trust = &trust
	}
	return s
}

// ChangeVF sends one request per difference: a driver that lacks one setting
// then still takes the others. The errors are joined.
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
		if err != nil {
			return err
		}
		m := nl.VfMac{Vf: id}
		copy(m.Mac[:], mac)
		set("MAC", nl.IFLA_VF_MAC, m.Serialize())
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

// vlanList is the form of the VLAN setting that carries the protocol.
func vlanList(id uint32, want VF) []byte {
	proto := want.Proto
	if proto == 0 {
		proto = unix.ETH_P_8021Q
	}
	one := nl.VfVlanInfo{VfVlan: nl.VfVlan{Vf: id, Vlan: uint32(want.VLAN), Qos: uint32(want.QoS)}, VlanProto: uint16(proto)}
	return nl.NewRtAttr(nl.IFLA_VF_VLAN_INFO, one.Serialize()).Serialize()
}

func flag(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

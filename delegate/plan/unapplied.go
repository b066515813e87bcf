package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond"
)

// serviceVLAN is the name of the VLAN protocol of providers (IEEE 802.1ad). The other
// protocol is 802.1q.
const serviceVLAN = "802.1ad"

// The numbers of these protocols (ETH_P_* of include/uapi/linux/if_ether.h).
const (
	customerTag = 0x8100
	serviceTag  = 0x88a8
)

// vlanProto returns the name of a VLAN protocol.
func vlanProto(number int) string {
	if number == serviceTag {
		return serviceVLAN
	}
	return "802.1q"
}

// Unapplied lists the settings of a VF that the link's plugins were asked for and have
// not set, such as "trust on (it is off)". An older sriov-cni ignores the settings that
// it does not know. mac is the VF's MAC after ADD, now is what its PF reports then.
func (l Link) Unapplied(mac string, now bond.VF) (out []string) {
	compare := func(key, want, is string) {
		if want != "" && !strings.EqualFold(want, is) {
			out = append(out, fmt.Sprintf("%s %s (it is %s)", key, want, is))
		}
	}
	want := l.vfSettings()
	compare("mac", want.MAC, mac)
	compare("vlan", number(want.VLAN), strconv.Itoa(now.VLAN))
	compare("vlanQoS", number(want.VLANQoS), strconv.Itoa(now.QoS))
	compare("vlanProto", want.VLANProto, vlanProto(now.Proto))
	compare("spoofchk", want.SpoofChk, onOff(now.SpoofChk))
	if now.Trust != nil {
		compare("trust", want.Trust, onOff(*now.Trust))
	}
	compare("min_tx_rate", number(want.MinRate), strconv.Itoa(int(now.MinRate)))
	compare("max_tx_rate", number(want.MaxRate), strconv.Itoa(int(now.MaxRate)))
	if int(now.LinkState) < len(linkStates) {
		compare("link_state", want.LinkState, linkStates[now.LinkState])
	}
	return out
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Configured returns what a PF that keeps now for a link's VF has to keep once the link is
// attached: what sriov-cni would set.
func (l Link) Configured(now bond.VF) bond.VF {
	want := l.vfSettings()
	if want.VLAN != nil {
		now.VLAN, now.QoS, now.Proto = *want.VLAN, 0, customerTag
		if want.VLANQoS != nil {
			now.QoS = *want.VLANQoS
		}
		if strings.EqualFold(want.VLANProto, serviceVLAN) {
			now.Proto = serviceTag
		}
	}
	if want.SpoofChk != "" {
		now.SpoofChk = want.SpoofChk == "on"
	}
	if want.Trust != "" {
		now.Trust = new(want.Trust == "on")
	}
	if want.MinRate != nil {
		now.MinRate = uint32(*want.MinRate)
	}
	if want.MaxRate != nil {
		now.MaxRate = uint32(*want.MaxRate)
	}
	if state := slices.Index(linkStates, strings.ToLower(want.LinkState)); state >= 0 {
		now.LinkState = uint32(state)
	}
	return now
}

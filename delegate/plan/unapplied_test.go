package plan

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

func TestUnapplied(t *testing.T) {
	const mac = "02:00:00:00:00:aa"
	untouched := bond.VF{SpoofChk: true, Trust: new(false), Proto: unix.ETH_P_8021Q}
	with := func(change func(*bond.VF)) bond.VF {
		vf := untouched
		change(&vf)
		return vf
	}
	for _, test := range []struct {
		config string
		done   bond.VF // what the PF reports if it was done
		undone []string
	}{
		{`{}`, untouched, nil},
		{`{"vlan": 7}`, with(func(vf *bond.VF) { vf.VLAN = 7 }), []string{"vlan 7 (it is 0)"}},
		{`{"vlan": 0, "vlanQoS": 0}`, untouched, nil},
		{`{"vlanQoS": 3}`, with(func(vf *bond.VF) { vf.QoS = 3 }), []string{"vlanQoS 3 (it is 0)"}},
		{`{"vlanProto": "802.1ad"}`, with(func(vf *bond.VF) { vf.Proto = unix.ETH_P_8021AD }), []string{"vlanProto 802.1ad (it is 802.1q)"}},
		{`{"vlanProto": "802.1Q"}`, untouched, nil},
		{`{"vlanProto": "q-in-q"}`, with(func(vf *bond.VF) { vf.VLAN = 7 }), []string{"vlanProto q-in-q (it is 802.1q)"}},
		{`{"spoofchk": "off"}`, with(func(vf *bond.VF) { vf.SpoofChk = false }), []string{"spoofchk off (it is on)"}},
		{`{"trust": "on"}`, with(func(vf *bond.VF) { vf.Trust = new(true) }), []string{"trust on (it is off)"}},
		{`{"trust": "true"}`, with(func(vf *bond.VF) { vf.Trust = nil }), []string{"trust true (it is off)"}},
		{`{"link_state": "enable"}`, with(func(vf *bond.VF) { vf.LinkState = 1 }), []string{"link_state enable (it is auto)"}},
		{`{"max_tx_rate": 100}`, with(func(vf *bond.VF) { vf.MaxRate = 100 }), []string{"max_tx_rate 100 (it is 0)"}},
		{`{"min_tx_rate": 100}`, with(func(vf *bond.VF) { vf.MinRate = 100 }), []string{"min_tx_rate 100 (it is 0)"}},
		{`{"mac": "02:00:00:00:00:AA"}`, untouched, nil},
		{`{"mac": "02:00:00:00:00:bb"}`, untouched, []string{"mac 02:00:00:00:00:bb (it is 02:00:00:00:00:aa)"}},
		{`{"trust": "on", "spoofchk": "off"}`, with(func(vf *bond.VF) { vf.Trust, vf.SpoofChk = new(true), false }),
			[]string{"spoofchk off (it is on)", "trust on (it is off)"}},
	} {
		l := Link{Plugins: []netconf.Plugin{{Type: "sriov", Config: netconf.NewConfig([]byte(test.config))}, {Type: "tuning"}}}
		assert.Equal(t, test.undone, l.Unapplied(mac, untouched), test.config)
		if test.undone != nil && l.vfSettings().MAC == "" && l.vfSettings().VLANProto != "q-in-q" {
			assert.Empty(t, l.Unapplied(mac, test.done), "%s, done", test.config)
		}
	}
}

// TestConfigured: what a PF has to keep for a VF is what its plugin would set.
func TestConfigured(t *testing.T) {
	now := bond.VF{MAC: "02:00:00:00:00:01", VLAN: 7, QoS: 2, Proto: 0x88a8, SpoofChk: true, Trust: new(false), MaxRate: 10}
	configured := func(config string) bond.VF {
		raw := []byte(`{"type": "sriov"` + config + `}`)
		return Link{Plugins: []netconf.Plugin{{Type: "sriov", Config: netconf.NewConfig(raw)}}}.Configured(now)
	}
	with := func(change func(*bond.VF)) bond.VF { out := now; change(&out); return out }
	for config, want := range map[string]bond.VF{
		``:                            now,
		`, "vlan": 0`:                 with(func(vf *bond.VF) { vf.VLAN, vf.QoS, vf.Proto = 0, 0, 0x8100 }),
		`, "vlan": 100, "vlanQoS": 3`: with(func(vf *bond.VF) { vf.VLAN, vf.QoS, vf.Proto = 100, 3, 0x8100 }),
		`, "vlan": 100, "vlanQoS": 3, "vlanProto": "802.1AD"`:   with(func(vf *bond.VF) { vf.VLAN, vf.QoS = 100, 3 }),
		`, "spoofchk": "off", "trust": "on"`:                    with(func(vf *bond.VF) { vf.SpoofChk, vf.Trust = false, new(true) }),
		`, "spoofchk": "on", "trust": "off"`:                    now,
		`, "min_tx_rate": 5, "max_tx_rate": 0`:                  with(func(vf *bond.VF) { vf.MinRate, vf.MaxRate = 5, 0 }),
		`, "link_state": "disable", "mac": "02:11:11:11:11:11"`: with(func(vf *bond.VF) { vf.LinkState = bond.LinkDisabled }),
	} {
		assert.Equal(t, want, configured(config), config)
	}
}

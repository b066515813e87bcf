package delegate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/bond/doctable"
)

// settings are changes of what a PF keeps for a VF, by the setting of which bond's README
// and VF.Differences speak.
var settings = []struct {
	name   string
	change func(*bond.VF)
}{
	{"admin MAC", func(vf *bond.VF) { vf.MAC = "02:00:00:00:00:bb" }},
	{"vlan", func(vf *bond.VF) { vf.VLAN = 7 }},
	{"qos", func(vf *bond.VF) { vf.QoS = 3 }},
	{"vlan protocol", func(vf *bond.VF) { vf.Proto = 0x88a8 }},
	{"spoofchk", func(vf *bond.VF) { vf.SpoofChk = !vf.SpoofChk }},
	{"trust", func(vf *bond.VF) { vf.Trust = new(!*vf.Trust) }},
	{"min_tx_rate", func(vf *bond.VF) { vf.MinRate = 10 }},
	{"max_tx_rate", func(vf *bond.VF) { vf.MaxRate = 100 }},
	{"link state", func(vf *bond.VF) { vf.LinkState = 2 }},
}

// TestEachSettingIsRestored: each setting that the README names is restored by DEL. The VFs
// have a MAC of their PFs, and a VLAN, without which there is no priority or protocol.
func TestEachSettingIsRestored(t *testing.T) {
	var tested []string
	for _, s := range settings {
		tested = append(tested, s.name)
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachineOf(t, bondfake.ICE)
				m.pin()
				time.Sleep(settled)
				for _, pf := range []string{"enp1s0", "enp2s0"} {
					m.changeVF(pf, func(vf *bond.VF) { vf.VLAN = 5 })
				}
				time.Sleep(settled)
				before := m.state()
				m.mustAdd(request(t, `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`))
				m.changeVF("enp1s0", s.change)
				assert.NotEqual(t, before, m.state())
				clear(m.plugins.vfs) // sriov-cni does not restore it
				m.mustDel(c1)
				m.wantState(before)
			})
		})
	}
	assert.Equal(t, doctable.Keys(t, "../bond/README.md", "settings"), tested)
}

// TestChangedWhileDown: what a PF keeps for a VF is changed while the VF is down: an igb VF
// that is up hears nothing after that.
func TestChangedWhileDown(t *testing.T) {
	m := newMachine(t)
	m.change("", "enp1s0v0", bond.Change{Up: new(true)})
	before := m.state()
	m.mustAdd(request(t, standard))
	m.plugins.refuse["sriov DEL bond0-1"] = "no"
	changed := 0
	m.edges.refuse = func(verb string, _ any) error {
		if verb == "ChangeVF" {
			changed++
			assert.False(t, m.link("", "enp1s0v0").Up)
		}
		return nil
	}
	m.mustDel(c1)
	m.edges.refuse = nil
	assert.NotZero(t, changed)
	clear(m.plugins.vfs)
	m.wantState(before)
}

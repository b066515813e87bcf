package delegate

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
)

// pin makes the PFs set the MACs of the first VFs, as an administrator does: a
// VF that is not trusted then refuses any other.
func (m *machine) pin() {
	for _, pf := range []string{"enp1s0", "enp2s0"} {
		m.changeVF(pf, func(vf *bond.VF) { vf.MAC = "02:00:00:00:bb:" + pf[3:4] + "0" })
		up, down := true, false
		m.change("", pf+"v0", bond.Change{Up: &up})
		m.change("", pf+"v0", bond.Change{Up: &down})
	}
}

// TestSharedMAC: the bond's MAC is the same before and after a failover, whoever has set
// the VFs' MACs. DEL gives each VF its own MAC back.
func TestSharedMAC(t *testing.T) {
	const failOver = `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for _, test := range []struct {
		name, config string
		pinned, same bool
	}{
		{"own MACs", failOver + `, "macPolicy": "own"}`, false, false},
		{"the VFs' own", failOver + `, "macPolicy": "shared"}`, false, true},
		{"by the PFs", failOver + `, "macPolicy": "shared"}`, true, true},
		{"by the PFs, another", failOver + `, "macPolicy": "shared", "mac": "02:00:00:00:00:cc"}`, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			if test.pinned {
				m.pin()
			}
			before := m.state()
			m.mustAdd(request(t, test.config))
			first := m.link(pod1, "bond0").MAC
			assert.Equal(t, first, m.link(pod1, "bond0-1").MAC)
			assert.NoError(t, m.Check(t.Context(), c1))
			require.NoError(t, m.namespace(pod1).Change(m.link(pod1, "bond0").Index, bond.Change{Options: bond.Options{"activeSlave": "bond0-2"}}))
			assert.Equal(t, test.same, m.link(pod1, "bond0").MAC == first, "the bond's MAC is still %s", first)
			assert.Empty(t, m.log.String())
			m.mustDel(c1)
			m.wantState(before)
			assert.Equal(t, test.pinned, m.namespace("").Change(m.link("", "enp2s0v0").Index, bond.Change{MAC: new("02:00:00:00:00:ee")}) != nil)
		})
	}
}

// TestSharedMACCheck: a link that has another MAC by now is a difference.
func TestSharedMACCheck(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, strings.Replace(standard, `"delegate"`, `"macPolicy": "shared", "delegate"`, 1)))
	other := "02:00:00:00:00:ee"
	m.change(pod1, "bond0-2", bond.Change{MAC: &other})
	wantError(t, m.Check(t.Context(), c1), cnierror.Check, "network net1: bond0-2: MAC is 02:00:00:00:00:ee, was 02:00:00:00:00:03")
}

// TestSharedMACRefused: a PF that sets no MAC is an error, and nothing stays.
func TestSharedMACRefused(t *testing.T) {
	m := newMachine(t)
	m.pin()
	before := m.state()
	m.Fail = func(verb string) error {
		if verb == "ChangeVF enp2s0" {
			return unix.EOPNOTSUPP
		}
		return nil
	}
	_, err := m.Add(t.Context(), request(t, `{"name": "n", "macPolicy": "shared", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`))
	wantError(t, err, cnierror.Kernel, "network n: links[1]: macPolicy shared: bond0-2: setting MAC 02:00:00:00:bb:10: cannot assign requested address\noperation not supported")
	m.Fail = nil
	m.wantState(before)
}

// sharing is a bond whose second VF gets the first one's MAC.
const sharing = `{"name": "n", "macPolicy": "shared", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`

// TestLostMessage: whichever message of a VF to its PF is lost, DEL leaves the VF
// with its own MAC, which its PF knows, and as free to change it as before.
func TestLostMessage(t *testing.T) {
	for _, test := range []struct {
		name, config string
		pinned       bool
	}{
		{"the VFs' own", sharing + `}`, false},
		{"by the PFs", sharing + `}`, true},
		{"their own", strings.Replace(sharing, "shared", "own", 1) + `}`, false},
		{"their own, by the PFs", strings.Replace(sharing, "shared", "own", 1) + `}`, true},
		{"the first one's by bonding", strings.Replace(sharing, `"macPolicy": "shared"`, `"mode": "balance-rr"`, 1) + `}`, false},
		{"a VLAN", sharing + `, "delegate": {"type": "sriov", "vlan": 7}}`, false},
	} {
		for _, lost := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s, %d lost", test.name, lost), func(t *testing.T) {
				for first, more := 1, true; more && !t.Failed(); first++ {
					synctest.Test(t, func(t *testing.T) {
						more = loseMessages(t, test.config, test.pinned, first, lost)
					})
				}
			})
		}
	}
}

// loseMessages is an ADD and a DEL that lose messages of VFs, the first of them by its
// number. It reports whether that many were sent.
func loseMessages(t *testing.T, config string, pinned bool, first, lost int) bool {
	m := newMachine(t)
	if pinned {
		m.pin()
	}
	before := m.state()
	sent := 0
	m.Lose = func(string) bool {
		sent++
		return sent >= first && sent < first+lost
	}
	_, err := m.Add(t.Context(), request(t, config))
	m.mustDel(c1)
	m.Lose = nil
	m.wantState(before)
	if t.Failed() {
		t.Logf("%d messages from number %d on were lost; ADD: %v; warnings: %s", lost, first, err, m.log)
	}
	return sent >= first
}

// TestUnheard: what a VF tells its PF during DEL is lost, however often it does. DEL
// does not have the PF set the VF's MAC, because the VF could not change it any more.
// The next time that the VF is set up and down it tells its PF.
func TestUnheard(t *testing.T) {
	const warning = "multibond: the PF enp2s0 did not receive the MAC of VF 0000:5e:02.0; it will when the VF is next set up and down\n"
	for name, deaf := range map[string]func(m *machine, deaf bool){
		"the PF is down": func(m *machine, deaf bool) { m.change("", "enp2s0", bond.Change{Up: new(!deaf)}) },
		"the PF is busy": func(m *machine, deaf bool) { m.Lose = func(vf string) bool { return deaf && vf == vfB } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t)
				before := m.state()
				m.mustAdd(request(t, sharing+`}`))
				deaf(m, true)
				m.mustDel(c1)
				deaf(m, false)
				assert.Equal(t, warning, m.log.String())
				for _, up := range []bool{true, false} {
					m.change("", "enp2s0v0", bond.Change{Up: &up})
				}
				m.wantState(before)
			})
		})
	}
}

// TestPluginsMAC: a MAC that a plugin has had the PF set, and does not take back, is
// taken back. The VF may then change its MAC, as it could before.
func TestPluginsMAC(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, `{"name": "n", "delegate": {"type": "sriov", "mac": "02:00:00:00:00:bb"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`))
	m.changeVF("enp2s0", func(vf *bond.VF) { vf.MAC = "02:00:00:00:00:bb" })
	m.mustDel(c1)
	m.wantState(before)
}

// TestMACsOfTheResult: the result has the MAC of each link as it is in the bond.
func TestMACsOfTheResult(t *testing.T) {
	for _, config := range []string{standard, sharing + `}`, strings.Replace(sharing, `"macPolicy": "shared"`, `"mode": "balance-rr"`, 1) + `}`} {
		m := newMachine(t)
		m.mustAdd(request(t, config))
		result, err := invoke.DecodeResult(m.readRecord(c1).Result)
		require.NoError(t, err)
		require.Len(t, result.Interfaces, 3)
		for _, i := range result.Interfaces {
			assert.Equal(t, m.link(pod1, i.Name).MAC, i.Mac, "%s in %s", i.Name, config)
		}
	}
}

// TestMACOfThePrimary: the result has the MAC of the primary if its carrier comes soon, and
// that of the link that has the traffic if it does not come.
func TestMACOfThePrimary(t *testing.T) {
	for late, want := range map[time.Duration]int{0: 0, macWait / 2: 0, time.Hour: 1} {
		t.Run(late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachineOf(t, bondfake.MLX5)
				if late > 0 {
					m.changeVF("enp1s0", func(vf *bond.VF) { vf.LinkState = bond.LinkDisabled })
					go func() {
						time.Sleep(late)
						m.changeVF("enp1s0", func(vf *bond.VF) { vf.LinkState = bond.LinkAuto })
					}()
				}
				macs := []string{m.link("", "enp1s0v0").MAC, m.link("", "enp2s0v0").MAC}
				m.mustAdd(request(t, `{"name": "n", "require": {"linkState": "ignore"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`))
				result, err := invoke.DecodeResult(m.readRecord(c1).Result)
				require.NoError(t, err)
				assert.Equal(t, macs[want], result.Interfaces[0].Mac)
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

package delegate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

const fourVFs = `{"cniVersion": "1.0.0", "name": "net1", "delegate": {"type": "sriov"}, "require": {"distinctPF": "ignore"}, "ipam": {"type": "host-local"},
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}, {"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]}`

// TestBondBesideItsPlugins: the bond is made before the second link's plugin is
// executed, and each link comes into it beside the plugin of the next; unless it
// is made with something that is known only when all links are there.
func TestBondBesideItsPlugins(t *testing.T) {
	early := []string{"sriov ADD bond0-1", "CreateBond", "sriov ADD bond0-2", "Flush", "sriov ADD bond0-3", "Flush", "sriov ADD bond0-4", "Flush", "host-local ADD bond0", "Flush"}
	late := []string{"sriov ADD bond0-1", "sriov ADD bond0-2", "sriov ADD bond0-3", "sriov ADD bond0-4", "host-local ADD bond0", "CreateBond", "Flush", "Flush", "Flush", "Flush"}
	for _, test := range []struct {
		name, add string
		want      []string
	}{
		{"all is known", ``, early},
		{"the first link is primary", `"primary": "bond0-1", `, early},
		{"another is", `"primary": "bond0-3", `, late},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, strings.Replace(fourVFs, `"links"`, test.add+`"links"`, 1)))
			order := slices.DeleteFunc(slices.Clone(m.edges.passed), func(edge string) bool { return !slices.Contains(early, edge) })
			if diff := cmp.Diff(test.want, order); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := m.readRecord(c1).Plan.Bond.Options[bond.MTU]; got != "1500" {
				t.Errorf("MTU %q", got)
			}
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}

// TestEnslavingRefused: a link that the kernel does not take into the bond is said
// when the plugin beside it has ended; that one's word comes first. No further
// plugin is called.
func TestEnslavingRefused(t *testing.T) {
	for _, test := range []struct {
		name, refuse, want string
	}{
		{"the kernel refuses", "", "network net1: enslaving bond0-1 (0000:3b:02.0, MAC 02:00:00:00:00:03) to bond0 (active-backup): operation not permitted"},
		{"and the plugin", "no", "network net1: links[1]: attaching 0000:5e:02.0: sriov ADD: no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			changes := 0
			m.plugins.refuse["sriov ADD bond0-2"] = test.refuse
			m.Fail = func(verb string) error {
				if verb == "Change bond0-1" {
					if changes++; changes == 3 { // its plugin has set it up, and it is down
						return unix.EPERM
					}
				}
				return nil
			}
			_, err := m.Add(t.Context(), request(t, fourVFs))
			if err == nil || err.Error() != test.want {
				t.Errorf("error\n%v\nwanted is\n%s", err, test.want)
			}
			if got := m.plugins.count("sriov", "ADD"); got != 2 {
				t.Errorf("sriov was called %d times", got)
			}
			m.wantState(before)
		})
	}
}

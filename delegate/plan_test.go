package delegate

import (
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestDryRun: it prints what the ADD then plans, and changes nothing.
func TestDryRun(t *testing.T) {
	m := newMachine(t)
	m.change("", "enp2s0", bond.Change{Up: new(bool)})
	r, before := request(t, standard), m.state()
	m.edges.reset(0, nil)
	plan, warnings, err := m.DryRun(r)
	if err != nil {
		t.Fatal(err)
	}
	m.wantState(before)
	for _, edge := range m.edges.passed {
		if slices.Contains(effects, edge) {
			t.Errorf("the dry run does %s", edge)
		}
	}
	if keys, err := m.Store.List(); len(keys) > 0 || err != nil {
		t.Errorf("the dry run leaves %v, %v", keys, err)
	}
	m.mustAdd(r)
	rec := m.readRecord(c1)
	if diff := cmp.Diff(rec.Plan.String(), plan.String()); diff != "" {
		t.Errorf("-Record +dry run:\n%s", diff)
	}
	if diff := cmp.Diff(rec.Warnings, warnings); diff != "" || len(warnings) != 1 {
		t.Errorf("%q, -Record +dry run:\n%s", warnings, diff)
	}
}

// effects are the verbs that change something.
var effects = []string{"CreateBond", "Delete", "Change", "Flush", "Configure", "RemoveRoute", "ChangeVF"}

// TestDryRunNetns: without a namespace the pod is empty; one that is not there
// is an error.
func TestDryRunNetns(t *testing.T) {
	m := newMachine(t)
	m.AddVirtual(pod1, "dummy", "bond0")
	r := request(t, standard)
	r.Netns = ""
	if _, _, err := m.DryRun(r); err != nil {
		t.Error(err)
	}
	r.Netns = pod1
	_, _, err := m.DryRun(r)
	wantError(t, err, cnierror.Node, "network net1: the name bond0 is taken in the pod by bond0 (dummy) (ask for another interface name)")
	r.Netns = "/run/netns/nowhere"
	_, _, err = m.DryRun(r)
	wantError(t, err, types.ErrInvalidNetNS, `there is no network namespace at "/run/netns/nowhere"`)
	r = request(t, `{"name": "n", "links": [{"resourceName": "a/b"}, {"deviceID": "0000:5e:02.0"}]}`)
	_, _, err = m.DryRun(r)
	wantError(t, err, types.ErrInvalidNetworkConfig, "network n: links[0].resourceName: needs a pod and an agent that knows its devices; there is none here (without Kubernetes give the PCI address as deviceID)")
}

func TestWithDevices(t *testing.T) {
	for _, test := range []struct {
		name, config string
		devices      []string
		want, text   string
	}{
		{"each in its link's place", `{"name": "n", "mtu": 1500, "links": [{"resourceName": "a/b", "name": "left"}, {"name": "eth0"}, {"request": "r"}]}`, []string{vfA, vfB},
			`{"links":[{"deviceID":"0000:3b:02.0","name":"left"},{"name":"eth0"},{"deviceID":"0000:5e:02.0"}],"mtu":1500,"name":"n"}`, ""},
		{"counted", `{"name": "n", "links": [{"resourceName": "a/b", "count": 2}]}`, []string{vfA, vfB},
			`{"links":[{"deviceID":"0000:3b:02.0"},{"deviceID":"0000:5e:02.0"}],"name":"n"}`, ""},
		{"too few", `{"name": "n", "links": [{"resourceName": "a/b", "count": 2}, {"resourceName": "a/c"}]}`, []string{vfA}, "",
			"network n: links[0]: there is no device left for it (give more); links[1]: there is no device left for it (give more)"},
		{"too many", `{"links": [{"resourceName": "a/b"}]}`, []string{vfA, vfB, vfB2}, "", "network without a name: no link asks for 0000:5e:02.0, 0000:5e:02.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := WithDevices([]byte(test.config), test.devices)
			if test.text != "" {
				wantError(t, err, types.ErrInvalidNetworkConfig, test.text)
			} else if err != nil || string(got) != test.want {
				t.Errorf("%v\n%s\nwanted is:\n%s", err, got, test.want)
			}
		})
	}
}

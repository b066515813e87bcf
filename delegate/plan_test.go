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

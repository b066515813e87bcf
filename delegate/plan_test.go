package delegate

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// TestDryRun: the dry run returns the plan of the ADD that follows, and changes nothing.
func TestDryRun(t *testing.T) {
	m := newMachine(t)
	m.change("", "enp2s0", bond.Change{Up: new(bool)})
	r, before := request(t, standard), m.state()
	m.edges.reset(0, nil)
	plan, warnings, err := m.DryRun(r)
	require.NoError(t, err)
	m.wantState(before)
	for _, edge := range m.edges.passed {
		assert.NotContains(t, effects, edge, "the dry run does %s", edge)
	}
	keys, err := m.Store.List()
	assert.Empty(t, keys)
	assert.NoError(t, err)
	m.mustAdd(r)
	rec := m.readRecord(c1)
	assert.Equal(t, rec.Plan.String(), plan.String())
	assert.Empty(t, cmp.Diff(rec.Warnings, warnings))
	require.Len(t, warnings, 1)
}

// effects are the verbs that change something.
var effects = []string{"CreateBond", "Delete", "Change", "Flush", "Configure", "RemoveRoute", "ChangeVF"}

// TestPlanIsNotWritten: the Plan in the Record is what Compile returns again for the same
// Request and Facts, after the ADD and after a DEL that has failed.
func TestPlanIsNotWritten(t *testing.T) {
	for i, scenario := range scenarios {
		t.Run(scenario.name, func(t *testing.T) {
			m, r, before := stage(t, i)
			wantPlans(t, m, []plan.Request{r}, func() error { _, err := m.Add(t.Context(), r); return err })
			m.mustDel(c1)
			m.wantState(before)
		})
	}
	t.Run("the networks of a pod", func(t *testing.T) {
		one := vlan("net3", vfA2)
		one.DeviceInfo = json.RawMessage(`{"type":"pci"}`)
		list := agentapi.Attachment{Name: "demo/list", IfName: "net2", Config: json.RawMessage(`{"cniVersion": "1.0.0", "name": "list", "plugins": [{"type": "macvlan"}, {"type": "tuning"}]}`)}
		n := newNode(t, bondOf("bond0", vfA, vfB), list, one)
		n.reply.Lookup.Attachments[2].DeviceInfoFile = n.infoFile("net3")
		n.plugins.write = map[string]string{"sriov ADD net3": n.infoFile("net3")}
		before := n.state()
		rs, err := n.requestsOf(n.config, n.request(), *n.reply.Lookup)
		require.NoError(t, err)
		wantPlans(t, n.machine, rs, func() error { _, err := n.AddPod(t.Context(), n.config, n.request()); return err })
		assert.JSONEq(t, `{"type":"written"}`, string(n.readRecord(plan.Key{ContainerID: "c1", IfName: "net3"}).DeviceInfo))
		n.mustDel(n.request().Key())
		n.wantState(before)
	})
}

// wantPlans compares the Plans in Records with what is compiled from the requests.
func wantPlans(t *testing.T, m *machine, rs []plan.Request, add func() error) {
	t.Helper()
	s, err := m.enter(pod1)
	require.NoError(t, err)
	facts := make([]plan.Facts, len(rs))
	for i, r := range rs {
		facts[i], err = m.survey(r, s)
		require.NoError(t, err)
	}
	require.NoError(t, add())
	compare := func() {
		for i, r := range rs {
			again, _, err := plan.Compile(r, facts[i])
			require.NoError(t, err)
			assert.JSONEq(t, string(strictjson.Encode(again)), string(strictjson.Encode(m.recordOf(r.Key()).Plan)))
		}
	}
	compare()
	m.Path = append(m.Path, "/opt/cni/new")
	for edge := 1; ; edge++ {
		m.edges.reset(edge, fail)
		failed := m.Del(t.Context(), rs[0].Key())
		m.edges.reset(0, nil)
		isGone := func(r plan.Request) bool { return m.recordOf(r.Key()) == nil }
		if failed != nil && !slices.ContainsFunc(rs, isGone) {
			compare()
			return
		}
		require.Error(t, failed, "no edge keeps all Records")
	}
}

// TestDryRunNetns: without a namespace the dry run assumes an empty pod. It is an error if
// the namespace does not exist.
func TestDryRunNetns(t *testing.T) {
	m := newMachine(t)
	m.AddVirtual(pod1, "dummy", "bond0")
	r := request(t, standard)
	r.Netns = ""
	_, _, err := m.DryRun(r)
	assert.NoError(t, err)
	r.Netns = pod1
	_, _, err = m.DryRun(r)
	wantError(t, err, cnierror.Node, "network net1: the name bond0 is taken in the pod by bond0 (dummy) (ask for another interface name)")
	r.Netns = "/run/netns/nowhere"
	_, _, err = m.DryRun(r)
	wantError(t, err, types.ErrInvalidNetNS, `there is no network namespace at "/run/netns/nowhere"`)
	r = request(t, `{"name": "n", "links": [{"resourceName": "a/b"}, {"deviceID": "0000:5e:02.0"}]}`)
	_, _, err = m.DryRun(r)
	wantError(t, err, types.ErrInvalidNetworkConfig, "network n: links[0].resourceName: needs a pod and an agent that knows its devices, but there is none here (without Kubernetes, set deviceID to the VF's PCI address)")
}

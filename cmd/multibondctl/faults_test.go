package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"

	"github.com/multibond/multibond/kubeclient"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// state is a cluster in which all is well: one node, whose agent tells of two PFs and of the
// bond of the pod demo/web. Each fault changes it.
type state struct {
	set    appsv1.DaemonSet
	agents []corev1.Pod
	report *kubeclient.NodeReport // of the first agent
	pods   []corev1.Pod
	bond   *kubeclient.BondReport // of the first pod
	status kubeclient.NetworkStatus
	events []corev1.Event
}

func newState() *state {
	numa := 0
	s := &state{}
	s.set = appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "multibond-system", Name: "multibond-agent", Labels: map[string]string{"app": "multibond-agent"}}}
	s.set.Status.DesiredNumberScheduled, s.set.Status.NumberAvailable = 1, 1
	s.agents = []corev1.Pod{onNode("multibond-system", "multibond-agent-1", "n1")}
	s.agents[0].Labels = s.set.Labels
	s.pods = []corev1.Pod{onNode("demo", "web", "n1")}
	s.pods[0].Annotations = map[string]string{kubeclient.NetworksAnnotation: "bond-net1@bond0"}
	s.report = &kubeclient.NodeReport{
		Version: "v1.0.0", Kernel: "6.12.0", Bonding: true, Watching: true,
		Config:  kubeclient.ConfigReport{State: "used", First: "00-multibond.conflist", Message: "the container runtime takes 00-multibond.conflist", OK: true},
		Plugins: []kubeclient.PluginReport{{Name: "host-local", Version: "v1.9.1"}, {Name: "multibond"}, {Name: "sriov", Version: "v2.10.0"}},
		PFs: []kubeclient.PFReport{
			{Name: "ens1f0", Device: "0000:01:00.0", Driver: "ice", NUMA: &numa, Speed: 25000, MTU: 9000, Up: true, Carrier: true, VFs: 8},
			{Name: "ens2f0", Device: "0000:02:00.0", Driver: "ice", NUMA: &numa, Speed: 25000, MTU: 9000, Up: true, Carrier: true, VFs: 8},
		},
		Resources: []kubeclient.ResourceReport{{Name: "intel.com/pf1", PFs: []string{"ens1f0"}, Devices: 8, Allocated: 1}, {Name: "intel.com/pf2", PFs: []string{"ens2f0"}, Devices: 8, Allocated: 1}},
		Records:   kubeclient.RecordsReport{Count: 2},
	}
	attached := noon.Add(-3 * time.Hour)
	s.report.Bonds = []kubeclient.BondReport{{
		Namespace: "demo", Pod: "web", Bond: "bond0", Network: "demo/bond-net1", Mode: "active-backup", MTU: 9000, State: "up", Wanted: 2, Attached: &attached,
		Links: []kubeclient.LinkReport{
			{Name: "bond0-1", Device: "0000:01:10.0", PF: "ens1f0", Active: true, State: "up"},
			{Name: "bond0-2", Device: "0000:02:10.0", PF: "ens2f0", State: "up"},
		},
		Planned: []kubeclient.PlannedLink{{Name: "bond0-1", Device: "0000:01:10.0", Attached: true}, {Name: "bond0-2", Device: "0000:02:10.0", Attached: true}},
	}}
	s.bond = &s.report.Bonds[0]
	s.status.Name, s.status.Interface = "demo/bond-net1", "bond0"
	s.status.Bond = &kubeclient.BondStatus{Up: true, Active: "bond0-1"}
	s.status.Links = []kubeclient.LinkStatus{{Name: "bond0-1", State: "up"}, {Name: "bond0-2", State: "up"}}
	return s
}

func onNode(namespace, name, node string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid-" + "x", CreationTimestamp: metav1.NewTime(noon.Add(-3 * time.Hour))}}
	p.UID, p.Spec.NodeName, p.Status.Phase = "uid-"+p.UID, node, corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return p
}

// linkFails has the second link of the bond failed.
func (s *state) linkFails() {
	s.status.Bond.Degraded, s.status.Links[1].State, s.bond.Links[1].State = true, "down", "down"
}

// fails has the ADD of another pod failed, with a message.
func (s *state) fails(message string) {
	p := onNode("demo", "new", "n1")
	p.UID, p.Status.Phase = "uid-new", corev1.PodPending
	s.pods = append(s.pods, p)
	s.events = append(s.events, corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "demo", Name: fmt.Sprint("new.", len(s.events))},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "demo", Name: "new", UID: p.UID},
		Type:           corev1.EventTypeWarning, Reason: "NetworksFailed", Message: message, LastTimestamp: metav1.NewTime(noon), ReportingController: agentComponent,
	})
}

// put puts a state into an API server.
func (s *state) put(t *testing.T, api *kubefake.API) {
	annotate := func(p *corev1.Pod, name string, value any) {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, name, string(text))
	}
	if len(s.agents) > 0 {
		annotate(&s.agents[0], kubeclient.NodeAnnotation, s.report)
	}
	annotate(&s.pods[0], nettypes.NetworkStatusAnnot, []kubeclient.NetworkStatus{s.status})
	put(t, api, kubefake.Sets, s.set.ObjectMeta, s.set)
	s.putPods(t, api)
	for _, p := range s.agents {
		put(t, api, kubefake.Pods, p.ObjectMeta, p)
	}
	for _, ev := range s.events {
		put(t, api, kubefake.Events, ev.ObjectMeta, ev)
	}
}

func (s *state) putPods(t *testing.T, api *kubefake.API) {
	for _, p := range s.pods {
		put(t, api, kubefake.Pods, p.ObjectMeta, p)
	}
}

// put puts an object into an API server.
func put(t *testing.T, api *kubefake.API, resource string, meta metav1.ObjectMeta, object any) {
	t.Helper()
	text, err := json.Marshal(object)
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(text, &raw))
	api.Put(resource, meta.Namespace, meta.Name, raw)
}

// tool runs the program on a state.
func tool(t *testing.T, s *state, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	api := kubefake.NewAPI(t)
	s.put(t, api)
	return toolOn(t, api, args...)
}

// toolOn runs the program on a cluster.
func toolOn(t *testing.T, api *kubefake.API, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs}
	code = run(append([]string{"multibondctl", "--kubeconfig", kubeconfigOf(t, api)}, args...), streams, func() time.Time { return noon })
	return code, out.String(), errs.String()
}

func kubeconfigOf(t *testing.T, api *kubefake.API) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, kubeconfig, api.Address), 0o600))
	return config
}

// faults are what can be wrong with a cluster, and the words by which it has to be named.
var faults = []struct {
	name  string
	set   func(*state)
	words string
	code  int
}{
	{"agent missing", func(s *state) { s.agents, s.set.Status.NumberAvailable = nil, 0 }, "error   node n1: no agent runs there", 1},
	{"resource over two PFs", func(s *state) { s.report.Resources[0].PFs = []string{"ens1f0", "ens2f0"} }, "warning node n1: resource intel.com/pf1 has VFs of 2 PFs: ens1f0, ens2f0", 1},
	{"PF down", func(s *state) { s.report.PFs[1].Carrier = false; s.linkFails() }, "error   node n1: PF ens2f0 has no carrier, and demo/web bond0 has a link on it", 1},
	{"MTU", func(s *state) { s.report.PFs[1].MTU = 1500 }, "warning demo/web: bond0: its MTU is 9000, but PF ens2f0 has 1500\n        (ip link set ens2f0 mtu 9000 on node n1)", 1},
	{"VLAN", (*state).linkFails, "bond0-2 (VF 0000:02:10.0 of ens2f0) has failed, although its PF has a carrier: check switch port, VLAN", 1},
	{"missing plugin", func(s *state) {
		s.report.Plugins[2] = kubeclient.PluginReport{Name: "sriov", Missing: true, Networks: []string{"demo/bond-net2"}}
	}, "warning node n1: the CNI plugin sriov is not in the node's directory of plugins; needed by demo/bond-net2", 1},
	{"no bonding", func(s *state) {
		s.report.Bonding = false
		s.fails("the kernel has no bonding module (load it with: modprobe bonding)")
	}, "error   demo/new: its networks could not be attached: the kernel has no bonding module", 1},
	{"stale Record", func(s *state) {
		s.report.Records.Stale = []kubeclient.RecordOwner{{Pod: "demo/old", Container: "c1", Interface: "bond0", Devices: []string{"0000:01:10.1"}}}
	}, "warning node n1: a Record of demo/old bond0 is stale: its pod is gone, and it holds 0000:01:10.1", 1},
	{"orphaned VF", func(s *state) { s.report.Orphans = []string{"0000:01:10.1 of ens1f0"} }, "warning node n1: VF 0000:01:10.1 of ens1f0 is orphaned", 1},
	{"LACP over VFs", func(s *state) {
		s.bond.Mode, s.bond.Links[0].Partner = "802.3ad", new(bool)
	}, "warning demo/web: bond0: bond0-1 (VF 0000:01:10.0 of ens1f0) has no LACP partner", 1},
	{"silent gateway", func(s *state) {
		s.bond.Warnings = []string{"arpTargets is gateway, but 10.56.217.1 did not answer within 1s (check cable, switch and VLAN)"}
	}, "warning demo/web: bond0: arpTargets is gateway, but 10.56.217.1 did not answer", 1},
	{"Cilium's renaming", func(s *state) {
		s.report.Config = kubeclient.ConfigReport{State: "renamed", First: "05-cilium.conflist", Message: "00-multibond.conflist was renamed to 00-multibond.conflist.cilium_bak: the container runtime takes 05-cilium.conflist, and pods start without their additional networks (set cni.exclusive=false in Cilium's Helm values)"}
	}, "error   node n1: 00-multibond.conflist was renamed to 00-multibond.conflist.cilium_bak", 1},

	{"silent gateway, beside Multus", func(s *state) {
		s.report.Bonds = nil
		s.fails("")
		s.events[0].Reason, s.events[0].Message, s.pods[1].Status.Phase = "NetworksWarned", "arpTargets is gateway, but 10.56.217.1 did not answer within 1s", corev1.PodRunning
		s.pods[1].Annotations = s.pods[0].Annotations
	}, "warning demo/new: arpTargets is gateway, but 10.56.217.1 did not answer", 1},
	{"agent not ready", func(s *state) {
		s.agents[0].Status.Conditions, s.set.Status.NumberAvailable = nil, 0
	}, "error   node n1: its agent is not ready", 1},
	{"agents that no pod waits for", func(s *state) {
		s.set.Status.DesiredNumberScheduled = 3
	}, "error   2 of 3 agents of multibond-system/multibond-agent are not available", 1},
	{"no link works", func(s *state) {
		s.linkFails()
		s.status.Bond.Up, s.status.Links[0].State = false, "down"
	}, "error   demo/web: bond0: no link works: bond0-1 (VF 0000:01:10.0 of ens1f0) has failed", 1},
	{"bond deleted", func(s *state) { s.bond.State = kubeclient.BondDeleted }, "error   demo/web: bond0: its application has deleted the bond\n        (delete the pod", 1},
	{"Record set aside", func(s *state) {
		s.report.Records.Aside = []kubeclient.RecordOwner{{Container: "c1", Interface: "bond0", Left: "VF 3 keeps VLAN 100"}}
	}, "warning node n1: a Record of container c1 bond0 was set aside: VF 3 keeps VLAN 100", 1},
	{"two links on one PF", func(s *state) { s.bond.Links[1].PF = "ens1f0" }, "warning demo/web: bond0: two of its links are on PF ens1f0, and fail together", 1},
	{"PF set down", func(s *state) { s.report.PFs[1].Up, s.report.PFs[1].Carrier = false, false }, "error   node n1: PF ens2f0 is set down", 1},
	{"a pod that does not end", func(s *state) {
		s.fails("VF 0000:01:10.1 is busy")
		s.pods[1].DeletionTimestamp = new(metav1.NewTime(noon))
	}, "error   demo/new: it does not end: VF 0000:01:10.1 is busy", 1},
	{"a report is old", func(s *state) { s.report.At = new(noon.Add(-26 * time.Minute)) }, "unknown node n1: its agent last reported 26m ago", 2},
	{"a status that cannot be read", func(s *state) {
		s.report.Bonds = nil
		p := onNode("demo", "new", "n1")
		p.Annotations = map[string]string{nettypes.NetworkStatusAnnot: `[{"name": `}
		s.pods = append(s.pods, p)
	}, "unknown demo/new: its annotation k8s.v1.cni.cncf.io/network-status cannot be read: unexpected end of JSON input", 2},
	{"the agent does not hear", func(s *state) { s.report.Watching = false }, "unknown node n1: the agent receives no bond events", 2},
	{"the agent cannot see", func(s *state) { s.report.Unseen = []string{"Records: they are not mounted"} }, "unknown node n1: the agent cannot see Records: they are not mounted", 2},
	{"a pod of which nobody tells", func(s *state) {
		p := onNode("demo", "new", "n1")
		p.UID, p.Status.Phase, p.Status.StartTime = "uid-new", corev1.PodPending, new(metav1.NewTime(noon.Add(-time.Hour)))
		p.Annotations = s.pods[0].Annotations
		s.pods = append(s.pods, p)
	}, "unknown demo/new: it has been waiting for its networks since 2026-11-27T11:00:00Z", 2},
}

// TestFaults: status and doctor name each fault within their first three lines. The exit
// code tells whether something is wrong, or could not be found out.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			for _, command := range []string{"status", "doctor"} {
				s := newState()
				f.set(s)
				code, stdout, stderr := tool(t, s, command)
				assert.Equal(t, f.code, code, stderr)
				assert.Positive(t, lineOf(f.words, stdout), "%s says\n%s", command, stdout)
				assert.LessOrEqual(t, lineOf(f.words, stdout), 3, "%s says\n%s", command, stdout)
			}
		})
	}
}

// lineOf returns in which line of a text words are, counted from 1, or 0.
func lineOf(words, text string) int {
	before, _, there := strings.Cut(text, words)
	if !there {
		return 0
	}
	return 1 + strings.Count(before, "\n")
}

// TestManyBonds: one PF that fails under many bonds is one screen, and its line is the
// first.
func TestManyBonds(t *testing.T) {
	s := newState()
	s.report.PFs[1].Carrier = false
	s.linkFails()
	for i := range 200 {
		p := onNode("demo", fmt.Sprint("p", i), "n1")
		p.Annotations = map[string]string{nettypes.NetworkStatusAnnot: `[{"interface": "bond0", "multibond.io/bond": {"up": true, "degraded": true}, "multibond.io/links": [{"name": "bond0-1", "state": "down"}]}]`}
		s.pods = append(s.pods, p)
		b := *s.bond
		b.Pod = p.Name
		s.report.Bonds = append(s.report.Bonds, b)
	}
	code, stdout, _ := tool(t, s, "status")
	assert.Equal(t, exitWrong, code)
	assert.Equal(t, 1, lineOf("error   node n1: PF ens2f0 has no carrier, and 201 bonds have links on it", stdout))
	assert.Less(t, strings.Count(stdout, "\n"), 30)
	for _, line := range strings.Split(stdout, "\n")[21:] {
		assert.LessOrEqual(t, len(line), 100)
	}
}

// TestDoubts: what is not known of a node concerns that node, and is told in each list.
func TestDoubts(t *testing.T) {
	p := &picture{reports: map[string]*kubeclient.NodeReport{}, now: noon}
	for _, node := range []string{"n1", "n2", "n3", "n4"} {
		p.agents = append(p.agents, onNode("multibond-system", "agent-"+node, node))
	}
	p.agents[0].Annotations = map[string]string{kubeclient.NodeAnnotation: `{"watching": true}`}
	p.agents[2].Annotations = map[string]string{kubeclient.NodeAnnotation: `{"watching": true}`}
	p.agents[2].Status.Conditions = nil
	p.agents[3].Annotations = map[string]string{kubeclient.NodeAnnotation: `{`}
	p.readReports()
	assert.Empty(t, p.doctor([]string{"n1"}).Findings)
	found := p.doctor([]string{"n2"}).Findings
	require.Len(t, found, 1)
	assert.Equal(t, "its agent has not reported yet", found[0].Text)
	assert.Equal(t, []string{"node n3: its agent is not ready: what is shown of the node may be out of date"}, p.allUnseen("n3"))
	assert.Len(t, p.allUnseen(), 3)
}

// TestBriefReport: describe says why it has no steps of a bond that is up on a node with many
// bonds.
func TestBriefReport(t *testing.T) {
	s := newState()
	s.report.Brief, s.bond.Planned = true, nil
	code, stdout, _ := tool(t, s, "describe", "web")
	assert.Equal(t, exitWell, code)
	assert.Contains(t, stdout, "  attached 3h ago; its plan and its steps are only in the Record, because the node has many bonds\n")
	assert.Regexp(t, "bond0-1 +0000:01:10.0 +- +up ", stdout)
}

// TestNoLinks: a bond without links has an empty list of them in JSON, not null.
func TestNoLinks(t *testing.T) {
	pod := onNode("demo", "web", "n1")
	v := (&picture{}).view(&pod, nil, &kubeclient.BondReport{Bond: "bond0"})
	text, err := json.Marshal(v)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"links":[]`)
}

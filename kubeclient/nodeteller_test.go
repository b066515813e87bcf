package kubeclient

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/strictjson"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// sysfsOf returns a node's sysfs: two PFs of two VFs, of which the second has no cable. One
// VF of each is in another namespace.
func sysfsOf() fstest.MapFS {
	sys := fstest.MapFS{"module/bonding/refcnt": {Data: []byte("0\n")}}
	link := func(name, target string) { sys[name] = &fstest.MapFile{Data: []byte(target), Mode: os.ModeSymlink} }
	text := func(name, value string) { sys[name] = &fstest.MapFile{Data: []byte(value + "\n")} }
	for n, flags := range map[int]string{1: "0x1003", 2: "0x1003"} {
		pf := fmt.Sprintf("bus/pci/devices/0000:0%d:00.0", n)
		text(pf+"/sriov_totalvfs", "8")
		text(pf+"/numa_node", fmt.Sprint(n-2))
		link(pf+"/driver", "../../../bus/pci/drivers/ice")
		net := fmt.Sprintf("%s/net/ens%df0", pf, n)
		text(net+"/flags", flags)
		text(net+"/mtu", "9000")
		text(net+"/speed", "25000")
		text(net+"/carrier", fmt.Sprint(2-n))
		for v := range 2 {
			address := fmt.Sprintf("0000:0%d:10.%d", n, v)
			link(fmt.Sprintf("%s/virtfn%d", pf, v), "../"+address)
			link("bus/pci/devices/"+address+"/physfn", fmt.Sprintf("../0000:0%d:00.0", n))
			link("bus/pci/devices/"+address+"/driver", "../../../bus/pci/drivers/iavf")
			if v == 0 {
				text(fmt.Sprintf("bus/pci/devices/%s/net/ens%df0v0/mtu", address, n), "1500")
			}
		}
	}
	return sys
}

// podToken is the token of an agent's pod.
func podToken(namespace, name, uid string) string {
	claims := fmt.Sprintf(`{"kubernetes.io": {"namespace": %q, "pod": {"name": %q, "uid": %q}, "node": {"name": "n1"}}}`, namespace, name, uid)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// TestNodeReport: what an agent tells of its node, in its own pod. It tells it once. What
// nobody has is told at the second look.
func TestNodeReport(t *testing.T) {
	r := newRig(t)
	r.podWith("multibond-system", "multibond-agent-x", "uid-agent", nil)
	r.options.Machine.Sys, r.options.Version = sysfsOf(), "v1"
	r.options.Machine.Bin = fstest.MapFS{"multibond": {Data: []byte("x")}, "sriov": {Data: []byte("x")}, "macvlan": {Data: []byte("/elsewhere/cni"), Mode: os.ModeSymlink}}
	created := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	r.options.Records = func() ([]Recorded, error) {
		return []Recorded{
			{Pod: pLookup.Pod, Container: "c1", Interface: "bond0", Created: created, Links: []PlannedLink{{"bond0-1", "0000:01:10.0", true}}, Warnings: []string{"w"}},
			{Pod: agentapi.Pod{Namespace: "demo", Name: "gone", UID: "u"}, Container: "c2", Interface: "bond0", Created: created, Devices: []string{"0000:02:10.1"}},
			{Pod: agentapi.Pod{Namespace: "demo", Name: "old", UID: "v"}, Container: "c3", Interface: "bond0", Created: created, Aside: true, Left: "a VLAN"},
		}, nil
	}
	r.kubelet.Set(func(k *kubefake.Kubelet) {
		k.Devices = []*podresourcesv1.ContainerDevices{
			{ResourceName: "intel.com/a", DeviceIds: []string{"0000:01:10.0", "0000:01:10.1", "0000:02:10.1"}},
			{ResourceName: "intel.com/b", DeviceIds: []string{"0000:02:10.0"}}, {ResourceName: "other", DeviceIds: []string{"1"}},
		}
	})
	config := r.api.Config()
	config.BearerToken = podToken("multibond-system", "multibond-agent-x", "uid-agent")
	agent, err := newAgent(r.options, config)
	require.NoError(t, err)
	agent.watcher.table, _ = tableOf(wellBond()...)
	go agent.follow(t.Context())
	eventually(t, func(c *assert.CollectT) { require.True(c, agent.source.synced()) })

	told := func() *NodeReport {
		agent.node.tell(t.Context())
		text := r.api.Object(podResource, "multibond-system", "multibond-agent-x")["metadata"].(map[string]any)["annotations"].(map[string]any)[NodeAnnotation]
		report := &NodeReport{}
		require.NoError(t, json.Unmarshal([]byte(text.(string)), report))
		return report
	}
	first := told()
	assert.Empty(t, first.Orphans)
	assert.Empty(t, first.Records.Stale)
	got := told()
	assert.Contains(t, got.Plugins, PluginReport{Name: "sriov"})
	assert.Contains(t, got.Plugins, PluginReport{Name: "macvlan"}, "its target cannot be seen")
	assert.Contains(t, got.Plugins, PluginReport{Name: "tuning", Missing: true, Networks: []string{"demo/chained", "demo/followed", "demo/later"}, More: 1})
	none := 0
	require.NotNil(t, got.At)
	want := &NodeReport{
		At: got.At, Version: "v1", Bonding: true,
		Config:  ConfigReport{State: "absent", First: "20-file.conf", Message: "00-multibond.conflist is not installed on this node", OK: true},
		Plugins: got.Plugins,
		PFs: []PFReport{
			{Name: "ens1f0", Device: "0000:01:00.0", Driver: "ice", Speed: 25000, MTU: 9000, Up: true, Carrier: true, VFs: 2},
			{Name: "ens2f0", Device: "0000:02:00.0", Driver: "ice", NUMA: &none, Speed: 25000, MTU: 9000, Up: true, VFs: 2},
		},
		Resources: []ResourceReport{{"intel.com/a", []string{"ens1f0", "ens2f0"}, 3, 1}, {"intel.com/b", []string{"ens2f0"}, 1, 1}},
		Records: RecordsReport{
			Count: 2,
			Aside: []RecordOwner{{Pod: "demo/old", Container: "c3", Interface: "bond0", Created: created, Left: "a VLAN"}},
			Stale: []RecordOwner{{Pod: "demo/gone", Container: "c2", Interface: "bond0", Devices: []string{"0000:02:10.1"}, Created: created}},
		},
		Orphans: []string{"0000:01:10.1 of ens1f0"},
		Bonds: []BondReport{{
			Namespace: "demo", Pod: "p", Bond: "bond0", Network: "demo/net", Mode: "active-backup", State: "up", Wanted: 2, Attached: &created,
			Links: []LinkReport{
				{Name: "bond0-1", Device: "0000:01:10.0", PF: "ens1", Active: true, State: "up"},
				{Name: "bond0-2", Device: "0000:02:10.0", PF: "ens2", State: "up"},
			},
			Planned: []PlannedLink{{"bond0-1", "0000:01:10.0", true}}, Warnings: []string{"w"},
		}},
	}
	assert.Empty(t, cmp.Diff(want, got))
	r.api.Requests()
	told()
	assert.Zero(t, r.api.Requests()["patch pods"], "nothing has changed")
	assert.Nil(t, agent.node.look(t.Context()).Plugins, "all NADs are read for a report, and not at each look")
	agent.node.beat = time.Now()
	assert.False(t, told().At.Before(*got.At))
	assert.Equal(t, 1, r.api.Requests()["patch pods"], "a report has to show that its agent still runs")
}

// TestNodeUnseen: what the agent cannot see is told, and nothing is derived from it.
func TestNodeUnseen(t *testing.T) {
	r := newRig(t)
	r.options.Machine.Sys = sysfsOf()
	r.options.Kubelet.Socket = "/nonexistent"
	config := r.api.Config()
	config.BearerToken = podToken("multibond-system", "multibond-agent-x", "uid-agent")
	agent, err := newAgent(r.options, config)
	require.NoError(t, err)
	agent.node.look(t.Context())
	report := agent.node.withPlugins(agent.node.look(t.Context()))
	assert.Empty(t, report.Orphans)
	require.Len(t, report.Unseen, 3)
	assert.Contains(t, report.Unseen[0], "the directory of CNI plugins: ")
	assert.Contains(t, report.Unseen[1], "Records: they are not mounted")
	assert.Contains(t, report.Unseen[2], "the kubelet's devices: ")
}

// TestNeededPlugins: which plugins networks need, in all forms.
func TestNeededPlugins(t *testing.T) {
	for config, want := range map[string][]string{
		`{"type": "multibond", "links": [{"resourceName": "a/b"}], "ipam": {"type": "whereabouts"}}`:                  {"multibond", "sriov", "whereabouts"},
		`{"type": "multibond", "links": [{"resourceName": "a/b"}], "delegate": {"type": "ib-sriov"}}`:                 {"ib-sriov", "multibond"},
		`{"type": "multibond", "links": [{"name": "eth1"}]}`:                                                          {"multibond"},
		`{"type": "multibond", "links": [{"config": {"type": "macvlan", "master": "x"}}]}`:                            {"macvlan", "multibond"},
		`{"name": "l", "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "tuning"}]}`:          {"bridge", "host-local", "tuning"},
		`{"type": "multibond", "links": [{"resourceName": "a/b"}], "delegate": {"vlan": 100}, "ipam": {"type": "x"}}`: {"multibond", "sriov", "x"},
		`{`: nil,
		`{"plugins": [{"type": "../x"}, {"type": "/x"}, {"type": "a/b"}, {"type": "."}, {"type": "a\u0000"}, {"type": "ok"}]}`: {"ok"},
		`{"type": "` + strings.Repeat("x", 256) + `"}`: {},
	} {
		assert.Equal(t, want, neededPlugins(config), config)
	}
}

// TestNodeReportIsDue: a change of state is sent at once. Counters wait, and plugins, which
// whoever creates a NAD changes on all nodes, wait for the next report.
func TestNodeReportIsDue(t *testing.T) {
	base := func() NodeReport {
		return NodeReport{PFs: []PFReport{{Name: "ens1", Carrier: true}}, Resources: []ResourceReport{{Name: "intel.com/a", Devices: 8}}, Bonds: []BondReport{{State: BondUp, Links: []LinkReport{{State: "up"}}}}}
	}
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	told := base()
	told.At = &start
	n := &nodeTeller{told: &told, calm: start.Add(calmLeast), beat: start.Add(nodeBeat)}
	for _, change := range []struct {
		name                   string
		do                     func(*NodeReport)
		now, whenCalm, nextOne bool
	}{
		{"nothing", func(*NodeReport) {}, false, false, true},
		{"carrier", func(r *NodeReport) { r.PFs[0].Carrier = false }, true, true, true},
		{"state", func(r *NodeReport) { r.Bonds[0].State = BondDown }, true, true, true},
		{"link", func(r *NodeReport) { r.Bonds[0].Links[0].State = "down" }, true, true, true},
		{"new bond", func(r *NodeReport) { r.Bonds = append(r.Bonds, BondReport{Bond: "bond1"}) }, true, true, true},
		{"stale", func(r *NodeReport) { r.Records.Stale = []RecordOwner{{Container: "c"}} }, true, true, true},
		{"allocated", func(r *NodeReport) { r.Resources[0].Allocated = 1 }, false, true, true},
		{"records", func(r *NodeReport) { r.Records.Count = 1 }, false, true, true},
		{"failures", func(r *NodeReport) { r.Bonds[0].Links[0].Failures = 1 }, false, true, true},
		{"failovers", func(r *NodeReport) { r.Bonds[0].Failovers, r.Bonds[0].LastFailover = 1, &start }, false, true, true},
		{"plugins", func(r *NodeReport) { r.Plugins = []PluginReport{{Name: "x", Missing: true}} }, false, false, true},
	} {
		r := base()
		change.do(&r)
		assert.Equal(t, change.now, n.isDue(r, start.Add(nodeEvery)), change.name)
		assert.Equal(t, change.whenCalm, n.isDue(r, start.Add(calmLeast)), change.name)
		assert.Equal(t, change.nextOne, n.isDue(r, start.Add(nodeBeat)), change.name)
	}
}

// TestReportBrief: a node with many bonds tells how they are, and how those were made that are
// not well.
func TestReportBrief(t *testing.T) {
	r := NodeReport{}
	for i := range 110 {
		b := BondReport{Namespace: "production", Pod: fmt.Sprintf("database-6b7f9c5d8-%05d", i), Bond: "bond0", Network: "production/bond-net1", Mode: "active-backup", MTU: 9000, State: BondUp, Wanted: 2}
		for l := range 2 {
			device := fmt.Sprintf("0000:%02x:%02x.%d", l, i/8, i%8)
			b.Links = append(b.Links, LinkReport{Name: fmt.Sprint("bond0-", l), Device: device, PF: fmt.Sprintf("ens%df0np0", l), State: "up"})
			b.Planned = append(b.Planned, PlannedLink{Name: fmt.Sprint("bond0-", l), Device: device, Attached: true})
		}
		for _, what := range []string{"survey", "compile", "attach bond0-1", "attach bond0-2", "bond", "ipam", "configure"} {
			b.Steps = append(b.Steps, agentapi.Step{What: what, Milliseconds: 12.345})
		}
		r.Bonds = append(r.Bonds, b)
	}
	r.Bonds[1].State, r.Bonds[2].Warnings = BondDegraded, []string{"a warning"}
	var got NodeReport
	text := encodeReport(r)
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.Less(t, 3*len(text), 2*len(strictjson.Encode(r)))
	assert.True(t, got.Brief)
	assert.Empty(t, got.Unseen, "all is told that somebody needs")
	assert.Empty(t, got.Bonds[0].Steps)
	assert.Empty(t, got.Bonds[0].Planned)
	assert.Equal(t, r.Bonds[0].Links, got.Bonds[0].Links)
	assert.Equal(t, r.Bonds[1:3], got.Bonds[1:3], "those that are not well")

	r.Bonds = r.Bonds[:30]
	require.NoError(t, json.Unmarshal([]byte(encodeReport(r)), &got))
	assert.Equal(t, r.Bonds, got.Bonds)
}

// TestReportTooLarge: a report that does not fit into an annotation loses its details.
func TestReportTooLarge(t *testing.T) {
	r := NodeReport{}
	for range 110 {
		r.Bonds = append(r.Bonds, BondReport{Pod: "p", Warnings: []string{string(make([]byte, 4000))}})
	}
	var got NodeReport
	text := encodeReport(r)
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.LessOrEqual(t, len(text), maxNodeReport)
	assert.Len(t, got.Bonds, 110)
	assert.Len(t, got.Unseen, 1)
	assert.NotEmpty(t, r.Bonds[0].Warnings, "the report itself stays")
}

// TestReportIsBounded: whoever creates NADs cannot make a report large, nor hide what others
// need to know. A report always fits.
func TestReportIsBounded(t *testing.T) {
	read := func(r NodeReport) (got NodeReport) {
		text := encodeReport(r)
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		assert.LessOrEqual(t, len(text), maxNodeReport)
		return got
	}
	r := NodeReport{Plugins: []PluginReport{{Name: "sriov"}, {Name: bondType, Missing: true}}, Config: ConfigReport{Message: strings.Repeat("x", maxNodeReport)}}
	for i := range 1000 {
		many := slices.Repeat([]string{strings.Repeat("n", 300)}, 50)
		r.Plugins = append(r.Plugins, PluginReport{Name: fmt.Sprintf("a%0200d", i), Missing: true, Networks: many})
		r.Records.Aside = append(r.Records.Aside, RecordOwner{Left: strings.Repeat("l", 5000)})
		r.Records.Stale = append(r.Records.Stale, RecordOwner{Container: "c"})
		r.Orphans = append(r.Orphans, "0000:01:10.1 of ens1f0")
		r.Unseen = append(r.Unseen, strings.Repeat("u", 5000))
	}
	got := read(r)
	assert.Len(t, got.Plugins, maxListed+1)
	assert.Contains(t, got.Plugins, PluginReport{Name: "sriov"})
	assert.Contains(t, got.Plugins, PluginReport{Name: bondType, Missing: true})
	assert.Len(t, got.Plugins[0].Networks, maxUsers)
	assert.Equal(t, 50-maxUsers, got.Plugins[0].More)
	assert.Len(t, got.Records.Aside, maxListed)
	assert.Len(t, got.Records.Stale, maxListed)
	assert.Len(t, got.Orphans, maxListed)
	assert.Contains(t, got.Unseen, "981 of 1001 missing plugins: the report lists the first 20")

	large := NodeReport{Version: "v1", Bonds: slices.Repeat([]BondReport{{Pod: strings.Repeat("p", 253)}}, 2000)}
	got = read(large)
	assert.Equal(t, NodeReport{Version: "v1", Brief: true, Unseen: []string{"2000 bonds: the report would be too large"}}, got)
	large.PFs = slices.Repeat([]PFReport{{Name: "ens1f0"}}, 10000)
	got = read(large)
	assert.Equal(t, NodeReport{Version: "v1", Unseen: []string{"PFs, resources, plugins, Records and 2000 bonds: the report would be too large"}}, got)
}

// TestWrongPlugin: a plugin that cannot be looked at does not hide the others.
func TestWrongPlugin(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/z", nil, 0o755))
	out, err := Machine{Bin: os.DirFS(dir)}.plugins(map[string][]string{"../x": {"demo/n"}, "z": nil})
	require.Error(t, err)
	assert.Equal(t, []PluginReport{{Name: "z"}}, out)
}

// TestPluginElsewhere: a plugin with which a bond of the node was made is not missing.
func TestPluginElsewhere(t *testing.T) {
	missing := []PluginReport{{Name: "sriov", Missing: true, Networks: []string{"demo/a", "demo/b"}}, {Name: "tuning", Missing: true, Networks: []string{"demo/c"}}}
	got := withoutUsed(missing, []BondReport{{Network: "demo/b"}})
	assert.Equal(t, []PluginReport{{Name: "sriov"}, missing[1]}, got)
}

// TestBondReport: in 802.3ad a link tells whether the switch answers.
func TestBondReport(t *testing.T) {
	master := masterEvent(firstLink, true, false)
	master.Link.Options = bond.Options{bond.Mode: bond.LACP}
	alone := memberEvent(firstLink, bond.Member{Active: true})
	agreed := memberEvent(secondLink, bond.Member{Ends: [2]uint8{0x3d, 0x3d}})
	table, b := tableOf(master, alone, agreed)
	links := table.reportOf(b, table.status(b, time.Now())).Links
	assert.False(t, *links[0].Partner)
	assert.True(t, *links[1].Partner)
}

package kubeclient

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/strictjson"
)

const (
	nodeEvery = 15 * time.Second
	// calmLeast and calmMost are how long the agent keeps counters and allocations that have
	// changed, after its last report.
	calmLeast, calmMost = 2 * time.Minute, 5 * time.Minute
)

// nodeTeller keeps the annotation of the agent's own pod as the node is. It looks every
// nodeEvery, and sends one PATCH if a state has changed, or the last is nodeBeat old. Counters
// wait until calm.
type nodeTeller struct {
	own     agentapi.Pod
	version string
	machine Machine
	kubelet Kubelet
	records func() ([]Recorded, error) // nil: not seen
	source  source
	watcher *watcher
	log     *slog.Logger

	told *NodeReport     // the last report that was sent, without plugins
	calm time.Time       // from when on counters that have changed are sent
	beat time.Time       // when it is sent again
	lost map[string]bool // Records and VFs that nobody had at the last look
}

// follow tells until ctx ends.
func (n *nodeTeller) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		if n.source.synced() {
			n.tell(ctx)
		}
		pause(ctx, nodeEvery)
	}
	return nil
}

func (n *nodeTeller) tell(ctx context.Context) {
	r, now := n.look(ctx), time.Now()
	if !n.isDue(r, now) {
		return
	}
	sent := n.withPlugins(r)
	sent.At = new(now.UTC().Truncate(time.Second))
	patch := strictjson.Encode(map[string]any{"metadata": map[string]any{"uid": n.own.UID, "annotations": map[string]string{NodeAnnotation: encodeReport(sent)}}})
	if err := n.source.api.patchStatus(ctx, n.own, patch); err != nil {
		n.log.WarnContext(ctx, "the node report could not be published; the agent tries again", "error", err)
		return
	}
	n.told, n.calm, n.beat = &r, now.Add(calmLeast+rand.N(calmMost-calmLeast)), now.Add(nodeBeat*9/10+rand.N(nodeBeat/5))
}

// isDue reports whether a report is to be sent now. Plugins alone are never a reason: one NAD
// would make the agents of all nodes send theirs at once.
func (n *nodeTeller) isDue(r NodeReport, now time.Time) bool {
	if n.told == nil || !now.Before(n.beat) {
		return true
	}
	was := *n.told
	was.At, was.Plugins, r.Plugins = nil, nil, nil
	return encodeReport(was.states()) != encodeReport(r.states()) || !now.Before(n.calm) && encodeReport(was) != encodeReport(r)
}

// states returns what of a report is not a counter.
func (r NodeReport) states() NodeReport {
	r.Resources, r.Records.Count = nil, 0
	r.Bonds = slices.Clone(r.Bonds)
	for i := range r.Bonds {
		b := &r.Bonds[i]
		b.Failovers, b.LastFailover = 0, nil
		b.Links = slices.Clone(b.Links)
		for l := range b.Links {
			b.Links[l].Failures = 0
		}
	}
	return r
}

// look returns how the node is, without plugins: to find these means to read all NADs of the
// cluster, which is done for a report and not at each look. What it cannot see, it says.
func (n *nodeTeller) look(ctx context.Context) NodeReport {
	r := NodeReport{Version: n.version, Kernel: n.machine.kernel(), Bonding: n.machine.hasBonding(), Watching: !n.watcher.blind(), Bonds: n.watcher.reports()}
	unseen := func(what string, err error) {
		if err != nil {
			r.Unseen = append(r.Unseen, fmt.Sprintf("%s: %v", what, err))
		}
	}
	var err error
	r.Config, err = n.machine.config()
	unseen("the directory of CNI configurations", err)
	var vfs []vf
	r.PFs, vfs, err = n.machine.pfs()
	unseen("PFs", err)
	var recorded []Recorded
	if n.records == nil {
		err = errNoRecords
	} else {
		recorded, err = n.records()
	}
	unseen("Records", err)
	allocatable, has, kubeletErr := n.kubelet.devices(ctx)
	unseen("the kubelet's devices", kubeletErr)
	devices, count := given(has)
	r.Resources = n.machine.resources(allocatable, count, namesOf(r.PFs))
	lost := map[string]bool{}
	r.Records = n.recordsReport(recorded, lost)
	if kubeletErr == nil && err == nil {
		r.Orphans = n.orphans(vfs, devices, recorded, lost)
	}
	n.lost = lost
	addRecords(r.Bonds, recorded)
	return r
}

var errNoRecords = fmt.Errorf("they are not mounted: %w", fs.ErrNotExist)

func namesOf(pfs []PFReport) map[string]string {
	names := map[string]string{}
	for _, p := range pfs {
		names[p.Device] = p.Name
	}
	return names
}

// withPlugins returns a report with the plugins that the cluster's networks use.
func (n *nodeTeller) withPlugins(r NodeReport) NodeReport {
	var err error
	if r.Plugins, err = n.plugins(r.Bonds); err != nil {
		r.Unseen = slices.Insert(slices.Clone(r.Unseen), 0, fmt.Sprintf("the directory of CNI plugins: %v", err))
	}
	return r
}

// plugins returns the plugins that the cluster's networks use.
func (n *nodeTeller) plugins(bonds []BondReport) ([]PluginReport, error) {
	if n.machine.Bin == nil {
		return nil, fs.ErrNotExist
	}
	used := map[string][]string{bondType: nil}
	for _, object := range n.source.nads.informer.GetStore().List() {
		nad, is := object.(*nettypes.NetworkAttachmentDefinition)
		if !is {
			continue
		}
		for _, name := range neededPlugins(nad.Spec.Config) {
			used[name] = append(used[name], nad.Namespace+"/"+nad.Name)
		}
	}
	out, err := n.machine.plugins(used)
	return withoutUsed(out, bonds), err
}

// withoutUsed returns plugins, of which those with which a bond of the node was made are not
// missing: the runtime has them in a directory that the agent does not see.
func withoutUsed(plugins []PluginReport, bonds []BondReport) (out []PluginReport) {
	for _, p := range plugins {
		hasRun := func(b BondReport) bool { return slices.Contains(p.Networks, b.Network) }
		if p.Missing && slices.ContainsFunc(bonds, hasRun) {
			p = PluginReport{Name: p.Name}
		}
		out = append(out, p)
	}
	return out
}

// recordsReport counts Records. One is stale if its pod is gone at two looks: right after a
// pod is gone, its DEL may still be at work.
func (n *nodeTeller) recordsReport(recorded []Recorded, lost map[string]bool) (out RecordsReport) {
	for _, r := range recorded {
		switch key := r.Container + ":" + r.Interface; {
		case r.Aside:
			out.Aside = append(out.Aside, r.owner())
			continue
		case r.Pod.Name == "" || !n.source.absent(r.Pod):
		case n.lost[key]:
			out.Stale = append(out.Stale, r.owner())
			lost[key] = true
		default:
			lost[key] = true
		}
		out.Count++
	}
	return out
}

// orphans returns the VFs that are in no namespace that anybody knows of, at two looks.
func (n *nodeTeller) orphans(vfs []vf, devices map[string]bool, recorded []Recorded, lost map[string]bool) (out []string) {
	for _, v := range vfs {
		holds := func(r Recorded) bool { return !r.Aside && slices.Contains(r.Devices, v.address) }
		if !v.away || devices[v.address] || slices.ContainsFunc(recorded, holds) {
			continue
		}
		lost[v.address] = true
		if n.lost[v.address] {
			out = append(out, v.address+" of "+v.pf)
		}
	}
	return out
}

// addRecords adds to bonds what their Records have.
func addRecords(bonds []BondReport, recorded []Recorded) {
	for i := range bonds {
		b := &bonds[i]
		for _, r := range recorded {
			if r.Aside || r.Pod.Namespace != b.Namespace || r.Pod.Name != b.Pod || r.Interface != b.Bond {
				continue
			}
			b.Attached, b.Planned, b.Warnings, b.Steps = &r.Created, r.Links, r.Warnings, r.Steps
		}
	}
}

package kubeclient

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// The indexes of the links of a bond in these tests.
const (
	theBond, firstLink, secondLink = 5, 6, 7
	podNS, firstPF                 = 3, 2
)

var watchedPod = agentapi.Pod{Namespace: "demo", Name: "p", UID: "1234"}

func aBond() agentapi.Bond {
	return agentapi.Bond{Pod: watchedPod, Network: "demo/net", IfName: "bond0", NSID: podNS, Index: theBond, Wanted: 2, Links: []agentapi.BondLink{
		{Name: "bond0-1", Index: firstLink, Device: "0000:01:10.0", PF: "ens1"},
		{Name: "bond0-2", Index: secondLink, Device: "0000:02:10.0", PF: "ens2"},
	}}
}

func masterEvent(active int, carrier, failedOver bool) bond.Event {
	return bond.Event{NSID: podNS, ActiveLink: active, FailedOver: failedOver,
		Link: bond.Link{Index: theBond, Name: "bond0", Kind: "bond", Carrier: carrier, Options: bond.Options{bond.Mode: "active-backup"}}}
}

func memberEvent(index int, m bond.Member) bond.Event {
	return bond.Event{NSID: podNS, Link: bond.Link{Index: index, Master: theBond}, Member: &m}
}

func pfEvent(carrier bool) bond.Event {
	return bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Index: firstPF, Name: "ens1", Device: "0000:01:00.0", Carrier: carrier}}
}

func wellBond() []bond.Event {
	return []bond.Event{masterEvent(firstLink, true, false), memberEvent(firstLink, bond.Member{Active: true}), memberEvent(secondLink, bond.Member{}), pfEvent(true)}
}

// tableOf makes a table of one bond.
func tableOf(events ...bond.Event) (bondTable, *watchedBond) {
	t := newBondTable()
	for _, e := range events {
		t.apply(e)
	}
	b := t.add(aBond())
	b.last.times = map[string]int{}
	return t, b
}

// saying applies events and returns what the pod is told then.
func saying(t bondTable, b *watchedBond, events ...bond.Event) (messages []string) {
	for _, e := range events {
		t.apply(e)
	}
	now := t.state(b)
	for _, o := range t.outcomesOfBond(b, now, time.Now()) {
		messages = append(messages, o.Type+" "+o.Reason+" "+o.Message)
	}
	b.reported = now
	return messages
}

// TestBondsLife: what a pod is told while its bond's links fail and come back.
func TestBondsLife(t *testing.T) {
	table, b := tableOf(wellBond()...)
	assert.Empty(t, saying(table, b))
	failed := memberEvent(firstLink, bond.Member{MII: bond.MIIDown, Failures: 1})
	assert.Equal(t, []string{
		"Normal BondFailedOver bond0 (demo/net): traffic moved to bond0-2 (VF 0000:02:10.0 of ens2)",
		"Warning BondDegraded bond0 (demo/net): 1 of 2 links work: bond0-1 (VF 0000:01:10.0 of ens1) has failed: its PF has no carrier",
	}, saying(table, b, pfEvent(false), failed, masterEvent(secondLink, true, true), memberEvent(secondLink, bond.Member{Active: true})))
	assert.Empty(t, saying(table, b, failed), "the same again")
	assert.Equal(t, []string{
		"Warning BondDown bond0 (demo/net): no link works: bond0-1 (VF 0000:01:10.0 of ens1) has failed: its PF has no carrier, bond0-2 (VF 0000:02:10.0 of ens2) has failed",
	}, saying(table, b, memberEvent(secondLink, bond.Member{MII: bond.MIIDown, Failures: 1}), masterEvent(0, false, false)))
	assert.Equal(t, []string{
		"Normal BondFailedOver bond0 (demo/net): traffic moved 2 times, at last to bond0-1 (VF 0000:01:10.0 of ens1) (2 times so far)",
		"Normal BondRestored bond0 (demo/net): all 2 links work again",
	}, saying(table, b, pfEvent(true), memberEvent(firstLink, bond.Member{Active: true, Failures: 1}), memberEvent(secondLink, bond.Member{Failures: 1}),
		masterEvent(secondLink, true, true), masterEvent(firstLink, true, true)))

	left := bond.Event{NSID: podNS, Link: bond.Link{Index: secondLink}}
	assert.Equal(t, []string{
		"Warning BondDegraded bond0 (demo/net): 1 of 2 links work: bond0-2 (VF 0000:02:10.0 of ens2) is not in the bond any more (2 times so far)",
	}, saying(table, b, left))
}

// TestBondOfNothing: a degraded bond that ADD has made with fewer links than asked for.
func TestBondOfFewer(t *testing.T) {
	table := newBondTable()
	one := aBond()
	one.Links = one.Links[:1]
	b := table.add(one)
	b.last.times = map[string]int{}
	assert.Equal(t, []string{"Warning BondDegraded bond0 (demo/net): 1 of 2 links work: 1 were not attached"},
		saying(table, b, masterEvent(firstLink, true, false), memberEvent(firstLink, bond.Member{Active: true})))
}

// TestTableForgets: what is gone is gone, and the next namespace with the same number
// inherits nothing.
func TestTableForgets(t *testing.T) {
	for name, gone := range map[string]bond.Event{
		"bond":      {NSID: podNS, Kind: bond.Vanished, Link: bond.Link{Index: theBond}},
		"namespace": {NSID: podNS, Kind: bond.Forgotten},
	} {
		t.Run(name, func(t *testing.T) {
			table, _ := tableOf(wellBond()...)
			table.apply(gone)
			assert.Empty(t, table.bonds)
			assert.Empty(t, table.of)
			assert.NotContains(t, table.links, linkKey{podNS, theBond})
		})
	}
	table, _ := tableOf(wellBond()...)
	table.apply(bond.Event{NSID: podNS, Kind: bond.Forgotten})
	assert.Len(t, table.links, 1, "the PF")
	b := table.add(aBond())
	assert.Equal(t, 0, table.working(b), "the links of the pod before")
}

// TestHeardBeforeTold: a bond is heard of while its ADD is going on, and known afterwards.
func TestHeardBeforeTold(t *testing.T) {
	table, b := tableOf(append(wellBond(), masterEvent(secondLink, true, true))...)
	assert.Equal(t, bondState{active: secondLink}, table.state(b), "a failover before the pod has its bond is not one")
}

// told collects what pods are told.
type told struct {
	mu       sync.Mutex
	messages []string
}

func (o *told) tell(pod agentapi.Pod, e outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages = append(o.messages, pod.String()+" "+e.Reason)
}

func (o *told) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string{}, o.messages...)
}

// TestWatcherMetrics: the metrics show the bonds, and nothing of one that is gone.
func TestWatcherMetrics(t *testing.T) {
	w := newWatcher((&told{}).tell, slog.New(slog.DiscardHandler))
	registry := prometheus.NewRegistry()
	registry.MustRegister(w)
	for _, e := range wellBond() {
		w.table.apply(e)
	}
	w.add([]agentapi.Bond{aBond()})
	w.table.apply(memberEvent(firstLink, bond.Member{MII: bond.MIIDown, Failures: 3}))
	w.table.apply(masterEvent(secondLink, true, true))
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP multibond_bond_failovers_total How often the active link of a bond has changed, since the agent watches it.
# TYPE multibond_bond_failovers_total counter
multibond_bond_failovers_total{bond="bond0",namespace="demo",pod="p"} 1
# HELP multibond_bond_info A bond of a pod: its network and its mode.
# TYPE multibond_bond_info gauge
multibond_bond_info{bond="bond0",mode="active-backup",namespace="demo",network="demo/net",pod="p"} 1
# HELP multibond_bond_link_failures_total How often a link of a bond has failed, since it is in the bond.
# TYPE multibond_bond_link_failures_total counter
multibond_bond_link_failures_total{bond="bond0",link="bond0-1",namespace="demo",pf="ens1",pod="p"} 3
multibond_bond_link_failures_total{bond="bond0",link="bond0-2",namespace="demo",pf="ens2",pod="p"} 0
# HELP multibond_bond_links_up How many links of a bond work.
# TYPE multibond_bond_links_up gauge
multibond_bond_links_up{bond="bond0",namespace="demo",pod="p"} 1
# HELP multibond_pf_up Whether a PF of a bond's link has a carrier: 1 or 0.
# TYPE multibond_pf_up gauge
multibond_pf_up{pf="ens1"} 1
# HELP multibond_watching Whether the agent hears of the bonds of this node: 1, or 0 until the next ADD or STATUS.
# TYPE multibond_watching gauge
multibond_watching 0
`), "multibond_bond_failovers_total", "multibond_bond_info", "multibond_bond_link_failures_total", "multibond_bond_links_up", "multibond_pf_up", "multibond_watching"))
	w.table.apply(bond.Event{NSID: podNS, Kind: bond.Forgotten})
	count, err := testutil.GatherAndCount(registry, "multibond_bond_info", "multibond_bond_link_up")
	require.NoError(t, err)
	assert.Zero(t, count)
}

// TestWatcherPauses: a bond that goes on changing is told of at once, and then together.
func TestWatcherPauses(t *testing.T) {
	var o told
	w := newWatcher(o.tell, slog.New(slog.DiscardHandler))
	for _, e := range wellBond() {
		w.table.apply(e)
	}
	w.add([]agentapi.Bond{aBond()})
	b := w.table.bonds[linkKey{podNS, theBond}]
	hear := func(events ...bond.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range events {
			if b := w.table.apply(e); b != nil {
				w.report(b)
			}
		}
	}
	failed := memberEvent(secondLink, bond.Member{MII: bond.MIIDown})
	hear(failed)
	assert.Empty(t, o.all(), "right after ADD the links are still coming up")
	b.last.next = time.Now().Add(-time.Second)
	b.last.waiting = false
	hear(failed)
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, []string{"demo/p BondDegraded"}, o.all()) })
	hear(memberEvent(secondLink, bond.Member{}), failed, memberEvent(secondLink, bond.Member{}))
	assert.Len(t, o.all(), 1)
	w.mu.Lock()
	assert.True(t, b.last.waiting)
	b.last.next = time.Now()
	w.mu.Unlock()
	w.reportNow(b)
	eventually(t, func(c *assert.CollectT) {
		assert.Equal(c, []string{"demo/p BondDegraded", "demo/p BondRestored"}, o.all())
	})
	assert.Equal(t, 2*firstPause, b.last.pause)
}

// TestWatcherTakes: a Watch replaces what is known, but not what was counted and told.
func TestWatcherTakes(t *testing.T) {
	var o told
	w := newWatcher(o.tell, slog.New(slog.DiscardHandler))
	assert.True(t, w.blind())
	require.ErrorIs(t, w.take(agentapi.Watch{}), errNoEvents)
	at := time.Now()
	next := func() agentapi.Watch {
		r, p, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { p.Close() })
		at = at.Add(time.Second)
		return agentapi.Watch{Events: r, At: at, Bonds: []agentapi.Bond{aBond()}, Now: wellBond()}
	}
	late := next()
	late.Bonds = nil
	require.NoError(t, w.take(next()))
	require.NoError(t, w.take(late))
	assert.Len(t, w.table.bonds, 1, "a Watch that was overtaken")
	w.table.apply(masterEvent(secondLink, true, true))
	w.add([]agentapi.Bond{aBond()})
	other := aBond()
	other.Index, other.IfName = 50, "bond1"
	w.add([]agentapi.Bond{other})
	require.NoError(t, w.take(next()))
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Len(t, w.table.bonds, 1)
	assert.Equal(t, 1, w.table.bonds[linkKey{podNS, theBond}].failovers)
	assert.EqualValues(t, 1, w.resyncs)
}

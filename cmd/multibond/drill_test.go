package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// TestPrintDrill: what people read.
func TestPrintDrill(t *testing.T) {
	out := &strings.Builder{}
	require.NoError(t, printDrill(out, delegate.Drill{
		Container: "c1", Pod: &agentapi.Pod{Namespace: "demo", Name: "p"}, Network: "demo/bond-net1", Bond: "bond0",
		Mode: "active-backup", Monitor: "miimon 100", Link: "bond0-1", Target: netip.MustParseAddr("10.56.217.1"), Interval: 10, Allowed: 300,
		Parts: []delegate.DrillPart{
			{Part: "before", Active: "bond0-1", Sent: 100},
			{Part: "away", Active: "bond0-2", Noticed: new(115.9), Sent: 496, Lost: 42, LongestGap: 430.4, Announced: 5},
			{Part: "back", Sent: 102, Announced: 5},
		},
		Problems: []string{"away: 42 of 496 requests were lost, 420 ms of traffic; miimon 100 allows 300 ms"},
	}))
	assert.Equal(t, `bond0 of pod demo/p, network demo/bond-net1: active-backup, miimon 100
bond0-1 was set down and up again; 10.56.217.1 was asked every 10 ms

PART    ACTIVE             NOTICED   SENT   LOST  LONGEST GAP  ANNOUNCED
before  bond0-1                  -    100      0         0 ms          0
away    bond0-2             116 ms    496     42       430 ms          5
back    -                        -    102      0         0 ms          5

PROBLEM: away: 42 of 496 requests were lost, 420 ms of traffic; miimon 100 allows 300 ms
`, out.String())
}

// TestDrilledFinds: which bond is meant.
func TestDrilledFinds(t *testing.T) {
	store := record.Store{Dir: t.TempDir()}
	for _, k := range []plan.Key{{ContainerID: "c1", IfName: "bond0"}, {ContainerID: "c1", IfName: "bond1"}, {ContainerID: "c2", IfName: "bond0"}, {ContainerID: "c2", IfName: "eth0"}} {
		rec := &record.Record{Version: record.Version, Plan: plan.Plan{ContainerID: k.ContainerID, IfName: k.IfName, Netns: "/run/netns/" + k.ContainerID}}
		rec.Plan.Bond.Name = strings.TrimPrefix(k.IfName, "eth0")
		rec.Plan.Group.Pod = agentapi.Pod{Namespace: "demo", Name: k.ContainerID}
		require.NoError(t, store.Begin(rec))
	}
	for _, test := range []struct {
		of   drilled
		want string
		err  string
	}{
		{of: drilled{container: "c1", ifName: "bond1"}, want: "c1:bond1"},
		{of: drilled{container: "c2"}, want: "c2:bond0"},
		{of: drilled{netns: "/run/netns/c2"}, want: "c2:bond0"},
		{of: drilled{pod: "demo/c2", ifName: "bond0"}, want: "c2:bond0"},
		{of: drilled{container: "c1"}, err: "there are several bonds: c1:bond0, c1:bond1 (give -container and -ifname)"},
		{of: drilled{container: "c2", ifName: "eth0"}, err: "c2 has no bond eth0 on this node (the Records are in /var/lib/cni/multibond)"},
		{of: drilled{pod: "demo/c3"}, err: "demo/c3 has no bond on this node (the Records are in /var/lib/cni/multibond)"},
		{of: drilled{}, err: "give one of -container, -netns and -pod"},
		{of: drilled{pod: "demo/c2", container: "c2"}, err: "give one of -container, -netns and -pod"},
	} {
		k, err := test.of.find(store)
		if test.err != "" {
			require.EqualError(t, err, test.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, test.want, k.String())
	}
}

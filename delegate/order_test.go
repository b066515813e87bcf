package delegate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// bondCNI is an attachment to a network of type bond over links that are in
// the pod.
func bondCNI(ifName string, links ...string) agentapi.Attachment {
	return agentapi.Attachment{Name: "demo/" + ifName, IfName: ifName, Bond: true, Config: bondCNIConfig(links...)}
}

func bondCNIConfig(links ...string) json.RawMessage {
	var names []values
	for _, name := range links {
		names = append(names, values{"name": name})
	}
	return strictjson.Encode(values{
		"cniVersion": "0.3.1", "name": "bond-net1", "type": "bond", "mode": "active-backup", "failOverMac": 1, "miimon": "100",
		"linksInContainer": true, "links": names, "ipam": values{"type": "host-local"},
	})
}

func TestAttachmentOrder(t *testing.T) {
	lan := func(ifName string) agentapi.Attachment {
		return agentapi.Attachment{IfName: ifName, Config: json.RawMessage(`{"cniVersion": "1.0.0", "name": "lan", "type": "macvlan"}`)}
	}
	over := func(ifName, master string) agentapi.Attachment {
		return agentapi.Attachment{IfName: ifName, Config: strictjson.Encode(values{"cniVersion": "1.0.0", "name": "over", "type": "vlan", "master": master, "linkInContainer": true})}
	}
	overHost := agentapi.Attachment{IfName: "v", Config: json.RawMessage(`{"cniVersion": "1.0.0", "name": "over", "type": "vlan", "master": "b"}`)}
	listed := agentapi.Attachment{IfName: "b", Config: strictjson.Encode(values{"cniVersion": "1.0.0", "name": "list", "plugins": []json.RawMessage{
		bondCNIConfig("x", "y"), json.RawMessage(`{"type": "tuning"}`)}})}
	for _, test := range []struct {
		given []agentapi.Attachment
		want  string
	}{
		{[]agentapi.Attachment{lan("eth0"), lan("net1"), lan("net2"), bondCNI("net3", "net1", "net2")}, "eth0 net1 net2 net3"},
		{[]agentapi.Attachment{lan("eth0"), bondCNI("b", "x", "y"), lan("x"), lan("y")}, "eth0 x y b"},
		{[]agentapi.Attachment{lan("eth0"), lan("x"), bondCNI("b", "x", "y"), lan("net3"), lan("y")}, "eth0 x y b net3"},
		{[]agentapi.Attachment{lan("eth0"), bondCNI("b2", "v", "w"), bondCNI("b1", "x", "y"), lan("y"), lan("x"), lan("w"), lan("v")}, "eth0 v w b2 x y b1"},
		{[]agentapi.Attachment{lan("eth0"), listed, lan("x"), lan("y")}, "eth0 x y b"},
		{[]agentapi.Attachment{lan("eth0"), bondCNI("b", "made-by-others", "eth0")}, "eth0 b"},
		{[]agentapi.Attachment{lan("eth0"), bondCNI("b1", "b2", "x"), bondCNI("b2", "b1", "x"), lan("x")}, "eth0 x b2 b1"},
		{[]agentapi.Attachment{bondCNI("eth0", "x", "y"), lan("x"), lan("y")}, "eth0 x y"},
		{[]agentapi.Attachment{lan("eth0"), over("v", "b"), bondCNI("b", "x", "y"), lan("x"), lan("y")}, "eth0 x y b v"},
		{[]agentapi.Attachment{lan("eth0"), over("w", "v"), over("v", "b"), vlan("b", vfA)}, "eth0 b v w"},
		{[]agentapi.Attachment{lan("eth0"), over("v", "eth0"), over("w", "made-by-others")}, "eth0 v w"},
		{[]agentapi.Attachment{lan("eth0"), overHost, lan("b")}, "eth0 v b"},
	} {
		var rs []plan.Request
		var given, got []string
		for _, a := range test.given {
			r, err := requestFor(a, plan.Request{}, nil)
			require.NoError(t, err)
			rs, given = append(rs, r), append(given, a.IfName)
		}
		for _, r := range plan.InOrder(rs, plan.Order(rs)) {
			got = append(got, r.IfName)
		}
		assert.Equal(t, test.want, strings.Join(got, " "), given)
	}
}

// TestBondBeforeItsLinks: the annotation may name the bond before, between or after its
// links. Observed of Multus and bond-cni: the annotation must name the links first.
func TestBondBeforeItsLinks(t *testing.T) {
	all := []agentapi.Attachment{vlan("net1", vfA), vlan("net2", vfB), bondCNI("bond0", "net1", "net2")}
	for _, places := range [][]int{{0, 1, 2}, {2, 0, 1}, {0, 2, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(places), func(t *testing.T) {
			given := plan.InOrder(all, places)
			n := newNode(t, given...)
			before := n.state()
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			master := n.link(pod1, "bond0").Index
			for name, device := range map[string]string{"net1": vfA, "net2": vfB} {
				l := n.link(pod1, name)
				assert.Equal(t, master, l.Master, name)
				assert.Equal(t, device, l.Device, name)
			}
			calls := n.plugins.calls
			last := calls[len(calls)-1]
			assert.Equal(t, "host-local", last.Type)
			assert.Equal(t, "bond0", last.IfName)
			assert.Zero(t, n.plugins.count(netconf.BondCNI, "ADD"))
			want := []string{"eth0"}
			for _, a := range given {
				want = append(want, a.IfName)
			}
			var published []string
			for _, a := range n.published()[0].Attachments {
				published = append(published, a.IfName)
			}
			assert.Equal(t, want, published, "published")
			assert.NoError(t, n.CheckPod(t.Context(), n.request().Key()), "CHECK")
			added := len(n.plugins.calls)
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			assert.Equal(t, "bond0", n.plugins.calls[added].IfName)
			n.wantState(before)
		})
	}
}

// TestBondBeforeItsLinksFails: whatever fails, nothing is left of a bond that was named
// first.
func TestBondBeforeItsLinksFails(t *testing.T) {
	forPodEdges(t, func(t *testing.T, edge int) *edges {
		n := newNode(t, bondFirst...)
		before := n.state()
		n.edges.reset(edge, fail)
		_, err := n.AddPod(t.Context(), n.config, n.request())
		done := *n.edges
		if edge == 0 {
			require.NoError(t, err)
		}
		if err == nil {
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		}
		n.wantState(before)
		return &done
	})
}

// TestBondBeforeItsLinksKilled: wherever ADD was killed, one DEL restores everything.
func TestBondBeforeItsLinksKilled(t *testing.T) {
	forPodEdges(t, func(t *testing.T, edge int) *edges {
		n := newNode(t, bondFirst...)
		before := n.state()
		n.edges.reset(edge, kill)
		untilKilled(func() { _, _ = n.AddPod(t.Context(), n.config, n.request()) })
		done := *n.edges
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		n.wantState(before)
		return &done
	})
}

// bondFirst is a pod whose bond is named before its links.
var bondFirst = []agentapi.Attachment{bondCNI("bond0", "net2", "net3"), vlan("net2", vfA), vlan("net3", vfB)}

// TestBondWithoutItsLinks: no network makes a link of the bond.
func TestBondWithoutItsLinks(t *testing.T) {
	n := newNode(t, bondCNI("bond0", "net2", "net7"), vlan("net2", vfA), vlan("net3", vfB))
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	wantError(t, err, cnierror.Node, "network demo/bond0: links[1].name: the pod has no interface net7, it has net2, eth0 "+
		"(another network of the pod must make it, under this name; with Multus as the meta plugin, the annotation must name that network before the bond)")
	n.wantState(before)
	assert.True(t, slices.ContainsFunc(n.published(), func(p agentapi.Publish) bool { return p.Failure != nil }), "the agent has not heard of it")
}

package delegate

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// leads is a kernel where the path of the first pod leads to the host's namespace, as
// /proc/4711/ns/net does once its number belongs to a process of the host.
type leads struct{ bond.Kernel }

func (k leads) Open(path string) (bond.Namespace, error) {
	if path == pod1 || filepath.Base(path) == "p1" {
		return k.Host()
	}
	return k.Kernel.Open(path)
}

// TestHostIsNoPod: no verb takes the host's own namespace for a pod's, on any of its ways.
// The host has a bond of the same name over VFs with the names that Multibond gives. No
// plugin is told of that path.
func TestHostIsNoPod(t *testing.T) {
	ours := strings.NewReplacer(vfA, vfA2, vfB, vfB2).Replace(standard)
	for _, test := range []struct {
		name     string
		attached bool // before the path leads to the host
		call     func(n *node) error
		code     uint // 0: it succeeds
	}{
		{"ADD", false, func(n *node) error { _, err := n.Add(t.Context(), request(t, ours)); return err }, types.ErrInvalidNetNS},
		{"ADD of a pod", false, func(n *node) error { _, err := n.AddPod(t.Context(), n.config, n.request()); return err }, types.ErrInvalidNetNS},
		{"ADD again", true, func(n *node) error { _, err := n.Add(t.Context(), request(t, ours)); return err }, types.ErrInvalidNetNS},
		{"ADD of another container", true, func(n *node) error {
			if _, err := n.Add(t.Context(), other(request(t, ours))); err != nil {
				return err
			}
			return n.Del(t.Context(), c2)
		}, 0},
		{"plan", false, func(n *node) error { _, _, err := n.DryRun(request(t, ours)); return err }, types.ErrInvalidNetNS},
		{"DEL", true, func(n *node) error { return n.DelPod(t.Context(), netconf.Cluster{}, request(t, ours)) }, 0},
		{"DEL without a Record", false, func(n *node) error { return n.DelPod(t.Context(), netconf.Cluster{}, request(t, ours)) }, 0},
		{"DEL of a pod without a Record", false, func(n *node) error { return n.DelPod(t.Context(), n.config, n.request()) }, 0},
		{"DEL of bond-cni's", false, func(n *node) error { return n.DelPod(t.Context(), netconf.Cluster{}, request(t, hostBond)) }, 0},
		{"CHECK", true, func(n *node) error { return n.CheckPod(t.Context(), c1) }, cnierror.Check},
		{"CHECK of bond-cni's", false, func(n *node) error { return n.CheckBondCNI(request(t, hostBond)) }, cnierror.Check},
		{"GC", true, func(n *node) error { return n.GC(t.Context(), "net1", []netconf.GCAttachment{}) }, 0},
		{"GC without a Record", false, func(n *node) error {
			n.Namespaces = t.TempDir()
			writeFile(t, filepath.Join(n.Namespaces, "p1"), "", 0o600)
			return n.GCPod(t.Context(), netconf.Cluster{Name: "net1", Valid: []netconf.GCAttachment{}})
		}, 0},
		{"GC of what was given up", true, func(n *node) error {
			n.plugins.refuse["host-local DEL bond0"] = "no"
			n.Limbo.GiveUp = 0
			for n.Del(t.Context(), c1) != nil {
			}
			clear(n.plugins.refuse)
			return n.GC(t.Context(), "net1", []netconf.GCAttachment{})
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t)
			host := n.namespace("")
			spec := bond.Spec{Name: "bond0", Links: []string{"bond0-1", "bond0-2"}, Options: bond.Options{"mode": "active-backup", "miimon": "100", "failOverMac": "active", "mtu": "1500"}}
			n.change("", "enp1s0v0", bond.Change{Name: new("bond0-1")})
			n.change("", "enp2s0v0", bond.Change{Name: new("bond0-2")})
			_, err := bond.Build(host, spec, []bond.Link{n.link("", "bond0-1"), n.link("", "bond0-2")})
			require.NoError(t, err)
			before := n.state()
			if test.attached {
				n.mustAdd(request(t, ours))
				n.RemoveNamespace(pod1)
			}
			calls := len(n.plugins.calls)
			n.Host.Kernel = leads{n.Kernel}
			err = test.call(n)
			if test.code == 0 {
				assert.NoError(t, err)
			} else {
				assert.Equal(t, test.code, cnierror.Code(err), "%v", err)
			}
			for _, c := range n.plugins.calls[calls:] {
				assert.NotEqual(t, pod1, c.Netns, "%s %s", c.Type, c.Command)
			}
			n.Host.Kernel = edgedKernel{n.Kernel, n.edges}
			if test.attached {
				n.AddNamespace(pod1)
			}
			if slices.Contains([]string{"ADD again", "CHECK"}, test.name) {
				n.mustDel(c1)
			}
			n.wantState(before)
		})
	}
}

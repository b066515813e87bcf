package kubeclient

import (
	"context"
	"os"
	"testing"
	"testing/fstest"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestMultiNIC: each case is a defect of multi-nic-cni (snapshot dd03940) where it knows
// Kubernetes. The others are in delegate.
func TestMultiNIC(t *testing.T) {
	nads := nads(map[string]string{
		"demo/rails":   `{"type":"multibond","attach":"each","links":[{"resourceName":"intel.com/a","count":2},{"resourceName":"intel.com/b","count":2}]}`,
		"demo/storage": `{"type":"multibond","attach":"each","delegate":{"type":"macvlan"},"links":[{"pool":{"names":["ens*"]},"count":2}]}`,
	})
	attach := func(t *testing.T, pod, networks string, containers ...Container) netconf.Network {
		t.Helper()
		node := Node{Sys: fstest.MapFS{}, PF: letterPF, Containers: gives(containers...)}
		got, err := Attachments(named("demo", pod), parse(t, networks), Resolver{NAD: nads}, node)
		require.NoError(t, err)
		require.Len(t, got, 1)
		n, err := netconf.ParseAttachment(agentapi.Attachment{IfName: "net1", Config: got[0].Config, Bond: true}, nil)
		require.NoError(t, err)
		return n
	}
	devices := func(n netconf.Network) (all []string) {
		for _, l := range n.Links {
			all = append(all, l.Device)
		}
		return all
	}
	t.Run("the second container's devices are lost", func(t *testing.T) {
		of := func(devices ...string) map[string][]string {
			return map[string][]string{"intel.com/a": devices[:1], "intel.com/b": devices[1:]}
		}
		n := attach(t, "p", "rails@net1",
			Container{Name: "first", Resources: of("0000:3b:02.1", "0000:5e:02.1")}, Container{Name: "second", Resources: of("0000:3b:02.2", "0000:5e:02.2")})
		assert.Equal(t, []string{"0000:3b:02.1", "0000:3b:02.2", "0000:5e:02.1", "0000:5e:02.2"}, devices(n))
	})
	t.Run("a network is looked up by the pod's name", func(t *testing.T) {
		n := attach(t, "rails", "storage@net1")
		assert.Equal(t, "net1-1 net1-2", n.Links[0].Name+" "+n.Links[1].Name)
		assert.Equal(t, []string{"ens*"}, n.Links[0].Pool.Names)
	})
	t.Run("whoever reaches its port is answered", func(t *testing.T) {
		answered := false
		client, _ := serving(t, func(s *server) {
			s.peer = os.Getuid() + 1
			s.answer = func(context.Context, agentapi.Request) agentapi.Reply {
				answered = true
				return agentapi.Reply{}
			}
		})
		_, err := client.Lookup(t.Context(), agentapi.Lookup{})
		refused(t, err, cnitypes.ErrInvalidEnvironmentVariables, "asks multibond-agent, which answers only user")
		assert.False(t, answered)
	})
}

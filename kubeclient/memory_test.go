package kubeclient

import (
	"fmt"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	cnitypes "github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// TestMemory checks that no number and no size of NADs and annotations brings the agent
// near its memory limit.
func TestMemory(t *testing.T) {
	limit := agentLimit(t)
	nads := func(api *kubefake.API, count, size int) {
		config := `{"cniVersion":"1.0.0","type":"macvlan","master":"` + strings.Repeat("x", size) + `"}`
		for i := range count {
			object := nadObject(config)
			object["metadata"].(map[string]any)["uid"] = fmt.Sprint("uid-", i)
			api.Put(nadResource, "demo", fmt.Sprint("net-", i), object)
		}
	}
	for name, fill := range map[string]func(*kubefake.API){
		"9000 NADs of 600 bytes": func(api *kubefake.API) { nads(api, 9000, 600) },
		"1000 NADs of 100 KiB":   func(api *kubefake.API) { nads(api, 1000, 100<<10) },
		"1000 NADs of 1 MiB":     func(api *kubefake.API) { nads(api, 1000, 1<<20) },
		"110 annotations of 256 KiB": func(api *kubefake.API) {
			for i := range 110 {
				api.Put(podResource, "demo", fmt.Sprint("p", i), podObject(fmt.Sprint("uid-", i), map[string]any{NetworksAnnotation: strings.Repeat("x", 256<<10)}))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := kubefake.NewAPI(t)
			api.Put(podResource, "demo", "last", podObject("uid-last", map[string]any{NetworksAnnotation: "zz-last"}))
			fill(api)
			api.Put(nadResource, "demo", "zz-last", nadObject(`{"type":"macvlan"}`))
			p := startProcess(t, api, kubefake.ShortDir(t))
			api.Requests()
			// The agent has the last one when it answers without asking for it.
			eventually(t, func(c *assert.CollectT) {
				_, err := p.client().Lookup(t.Context(), lookupOf("demo", "last", "uid-last"))
				require.NoError(c, err)
				require.Zero(c, api.Requests()["get "+nadResource])
			})
			peak := p.memory(t, "VmHWM") * 1024
			t.Logf("peak %.0f MiB, anonymous %.0f MiB", peak/(1<<20), p.memory(t, "RssAnon")/1024)
			assert.Less(t, peak, limit)
		})
	}
}

// TestMemoryOfHosts checks that the numbers of other hosts, each with two NICs of two
// addresses, do not bring the agent near its memory limit, nor do those of hosts that tell as
// much as they may. Keep can read what the agent writes of them.
func TestMemoryOfHosts(t *testing.T) {
	const hosts = 5000
	limit := agentLimit(t)
	for name, nics := range map[string]string{
		"two NICs of two addresses": `[{"name":"enp59s0f0","addresses":["10.101.102.103/16","2001:db8:1111:1::102:103/64"]},{"name":"enp175s0f0","addresses":["10.201.102.103/16","2001:db8:1111:2::102:103/64"]}]`,
		"as much as it may be":      `[{"name":"` + strings.Repeat("x", maxNICs-50) + `","addresses":["10.101.102.103/16"]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			api, dir := kubefake.NewAPI(t), kubefake.ShortDir(t)
			api.Put(nadResource, "demo", "rails", nadObject(railsNAD))
			api.Put(podResource, "demo", "r-n1", podObject("uid-r-n1", map[string]any{NetworksAnnotation: "rails"}))
			p := startProcess(t, api, dir)
			before := p.memory(t, "RssAnon") / 1024
			for i := range hosts {
				lease := leaseObject(fmt.Sprint("worker", i), fmt.Sprint("uid-", i), nics)
				lease["metadata"].(map[string]any)["uid"] = fmt.Sprint("uid-lease-", i)
				api.Put(leaseResource, "multibond-system", leaseName(i), lease)
			}
			reply, err := p.client().Lookup(t.Context(), railsLookupOf("n1"))
			require.NoError(t, err)
			assert.Equal(t, hosts, *reply.Attachments[0].HostIndex, "all other numbers are taken")
			eventually(t, func(c *assert.CollectT) {
				file, err := agentapi.ReadHosts(processOptions(dir).HostsFile)
				require.NoError(c, err)
				require.Len(c, file.Hosts, hosts)
			})
			peak := p.memory(t, "VmHWM") * 1024
			t.Logf("anonymous %.1f MiB before, %.1f MiB with the hosts; peak %.0f MiB", before, p.memory(t, "RssAnon")/1024, peak/(1<<20))
			assert.Less(t, peak, limit)
		})
	}
}

// agentLimit returns the memory limit of the agent's container in bytes, and gives the agents
// of the test its environment.
func agentLimit(t *testing.T) float64 {
	set := onlyObject[*appsv1.DaemonSet](t, manifests+"/daemonset.yaml")
	agent := set.Spec.Template.Spec.Containers[0]
	for _, e := range agent.Env {
		if e.Name == "GOMEMLIMIT" {
			t.Setenv(e.Name, e.Value)
		}
	}
	return float64(agent.Resources.Limits.Memory().Value())
}

// TestWhatIsNotCached checks that what is too large to be cached is read when it is used, and
// that what is too large to be used is refused without being read.
func TestWhatIsNotCached(t *testing.T) {
	r := newRig(t)
	long := `[{"name":"lan","cni-args":{"a":"` + strings.Repeat("x", maxPodAnnotations) + `"}}]`
	r.pod("demo", "long", "uid-long", long)
	r.pod("demo", "large", "uid-large", "large")
	r.api.Put(nadResource, "demo", "large", nadObject(`{"type":"macvlan","a":"`+strings.Repeat("x", maxConfig)+`"}`))
	r.start()
	_, err := r.client().Lookup(t.Context(), lookupOf("demo", "long", "uid-long"))
	assert.NoError(t, err)
	r.requests(map[string]int{"get pods": 1})
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "large", "uid-large"))
	refused(t, err, cnitypes.ErrInvalidNetworkConfig, "network demo/large: spec.config: has 131097 bytes, want at most 131072")
	r.requests(map[string]int{})
}

func TestNADBudget(t *testing.T) {
	b := &cacheBudget{left: 100, kept: map[types.UID]int{}}
	nad := func(uid types.UID, size int) *nettypes.NetworkAttachmentDefinition {
		return &nettypes.NetworkAttachmentDefinition{ObjectMeta: metav1.ObjectMeta{UID: uid, Generation: 7}, Spec: nettypes.NetworkAttachmentDefinitionSpec{Config: strings.Repeat("x", size)}}
	}
	kept := func(uid types.UID, size int) bool {
		out := b.trim(nad(uid, size))
		again := b.trim(out)
		assert.Equal(t, out, again, "trimmed twice")
		assert.Equal(t, omitted(out) == 0, len(out.Spec.Config) == size)
		return omitted(out) == 0
	}
	assert.True(t, kept("a", 60))
	assert.True(t, kept("a", 70), "the new one takes the old one's place")
	assert.False(t, kept("b", 40))
	assert.True(t, kept("a", 50))
	assert.True(t, kept("b", 40))
	assert.False(t, kept("b", maxConfig+1))
	assert.True(t, kept("c", 50))
	b.released(nad("a", 50))
	b.released(cache.DeletedFinalStateUnknown{Obj: nad("c", 50)})
	assert.True(t, kept("d", 100))
}

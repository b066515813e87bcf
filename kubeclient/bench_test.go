package kubeclient

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// The size of the node and the cluster that the agent is measured on.
const (
	benchPods = 110
	benchNADs = 1000
)

// benchAPI has a node with 110 pods of realistic size in a cluster with 1,000 NADs.
// Every pod has a macvlan network and a bond with fixed devices, so that the kubelet
// is not asked.
func benchAPI(b *testing.B) *kubefake.API {
	api := kubefake.NewAPI(b)
	for i := range benchNADs {
		config := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net-%d","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.%d.%d.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`, i, i/256, i%256)
		if i%2 == 0 {
			config = fmt.Sprintf(`{"cniVersion":"1.0.0","name":"bond-%d","type":"multibond","mode":"active-backup","links":[{"deviceID":"0000:01:10.0"},{"deviceID":"0000:02:10.0"}],"ipam":{"type":"host-local","subnet":"10.%d.%d.0/24"}}`, i, i/256, i%256)
		}
		api.Put(nadResource, "demo", fmt.Sprint("net-", i), nadObject(config))
	}
	for i := range benchPods {
		pod := podObject(fmt.Sprint("uid-", i), map[string]any{
			NetworksAnnotation: fmt.Sprintf("net-%d,net-%d", 2*i, 2*i+1), "kubectl.kubernetes.io/last-applied-configuration": strings.Repeat("x", 2000),
		})
		pod["spec"].(map[string]any)["containers"] = []any{map[string]any{"name": "main", "image": "x", "command": []any{strings.Repeat("y", 3000)}}}
		api.Put(podResource, "demo", fmt.Sprint("p", i), pod)
	}
	return api
}

func benchLookup() agentapi.Lookup {
	i := rand.IntN(benchPods)
	return lookupOf("demo", fmt.Sprint("p", i), fmt.Sprint("uid-", i))
}

// benchAgent returns an agent in this process whose caches are filled.
func benchAgent(b *testing.B) *Agent {
	b.Helper()
	api := benchAPI(b)
	agent, err := newAgent(Options{Node: "n1", StateDir: b.TempDir(), Peer: os.Getuid(), Machine: nodeFiles(), Log: slog.New(slog.DiscardHandler)}, api.Config())
	require.NoError(b, err)
	go agent.follow(b.Context())
	eventually(b, func(c *assert.CollectT) { require.True(c, agent.source.synced()) })
	return agent
}

// BenchmarkWarmLookup measures a lookup of a cached pod at the 50th and the 99th
// percentile.
func BenchmarkWarmLookup(b *testing.B) {
	agent := benchAgent(b)
	var took []time.Duration
	for b.Loop() {
		l := benchLookup()
		start := time.Now()
		reply, err := agent.Lookup(b.Context(), l)
		took = append(took, time.Since(start))
		require.NoError(b, err)
		require.Len(b, reply.Attachments, 2)
	}
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkAgentProcess measures the same against a process, as the plugin sees it,
// and the memory of the process at the end.
func BenchmarkAgentProcess(b *testing.B) {
	p := startProcess(b, benchAPI(b), kubefake.ShortDir(b))
	var took []time.Duration
	for b.Loop() {
		l := benchLookup()
		start := time.Now()
		_, err := p.client().Lookup(b.Context(), l)
		took = append(took, time.Since(start))
		require.NoError(b, err)
	}
	report(b, took)
	b.ReportMetric(p.memory(b, "VmRSS")/1024, "RSS-MiB")
	b.ReportMetric(p.memory(b, "RssAnon")/1024, "anonymous-MiB")
}

// BenchmarkCacheMemory measures the heap that the caches use.
func BenchmarkCacheMemory(b *testing.B) {
	heap := func() float64 {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	agent := benchAgent(b)
	with := heap()
	for b.Loop() {
		agent.source.pods.informer.GetStore().Replace(nil, "")
		agent.source.nads.informer.GetStore().Replace(nil, "")
	}
	b.ReportMetric((with-heap())/1024, "KiB")
}

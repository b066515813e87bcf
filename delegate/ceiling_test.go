package delegate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/atomicfile"
)

// verbs are the requests to the kernel; those in the plural are dumps. sync waits for the
// disk.
var verbs = []string{"Number", "sync", "open", "Link", "Links", "Addresses", "VFs", "CreateBond", "Delete", "Change", "Flush", "Configure", "RemoveRoute", "Routing", "AddRouting", "RemoveRouting", "ChangeVF"}

// TestRequests counts what an ADD and a DEL of a pod with a bond ask of the kernel and of
// the agent, and what they execute. Each is a system call, a round trip or a process that
// delays the pod's start. If you need one more, say here why.
func TestRequests(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	count := func(call func() error, agent int) map[string]int {
		t.Helper()
		n.edges.reset(0, nil)
		before, asked := len(n.plugins.calls), n.requests()
		require.NoError(t, call())
		got := map[string]int{}
		for _, edge := range n.edges.passed {
			if verb, _, _ := strings.Cut(strings.TrimPrefix(edge, ofFile), " "); slices.Contains(verbs, verb) && !strings.HasSuffix(edge, ", done") {
				got[verb]++
			}
		}
		for _, c := range n.plugins.calls[before:] {
			got[c.Type]++
		}
		n.heard(asked + agent)
		if more := n.requests() - asked; more > 0 {
			got["agent"] = more
		}
		return got
	}
	add := func() error {
		_, err := n.AddPod(t.Context(), n.config, n.request())
		return err
	}
	del := func() error { return n.DelPod(t.Context(), n.config, n.request()) }
	for _, test := range []struct {
		what string
		call func() error
		want map[string]int
	}{
		{"ADD", add, map[string]int{
			"open": 2, "Link": 7, "Links": 7, "VFs": 4, "Change": 6, "Flush": 3, "CreateBond": 1, "Configure": 1, "Number": 1,
			"bridge": 1, "portmap": 1, "sriov": 2, "host-local": 1, "agent": 2, "sync": 2}},
		{"ADD again", add, map[string]int{"open": 2, "Link": 1, "Links": 1, "VFs": 2, "Addresses": 1, "agent": 2}},
		// One dump of Links is for the default network: whether its interface was there
		// before its plugin refused.
		{"DEL", del, map[string]int{"open": 2, "Link": 4, "Links": 6, "VFs": 2, "Change": 1, "Delete": 1, "bridge": 1, "portmap": 1, "sriov": 2, "host-local": 1, "agent": 1}},
		{"DEL again", del, map[string]int{}},
	} {
		assert.Empty(t, cmp.Diff(test.want, count(test.call, test.want["agent"])), test.what)
	}
}

// heard waits until the agent has got so many requests: DEL does not wait for the agent's
// answer.
func (n *node) heard(want int) {
	for deadline := time.Now().Add(time.Minute); n.requests() < want && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// requests returns how many requests the agent has got.
func (n *node) requests() int {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return len(n.asked)
}

// TestAllocations checks that an ADD and a DEL of a pod with a bond stay below a ceiling.
// It includes what the fakes allocate, which is little.
func TestAllocations(t *testing.T) {
	const ceiling = 5700
	n := newNode(t, bondOf("bond0", vfA, vfB))
	n.Store.Files = atomicfile.Files{}
	got := testing.AllocsPerRun(10, func() {
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	})
	// 5653 when this was written, of which 950 are the fake sysfs's, 300 DEL's for writing
	// each Record before it executes a plugin, about 100 for the operations on files, which
	// a test can interrupt, and about 20 for looking for what was set aside.
	assert.LessOrEqual(t, got, float64(ceiling), "allocations for an ADD and a DEL")
}

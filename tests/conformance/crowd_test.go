package conformance

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/kubeclient/kubefake"
)

// crowd is how many pods start at once.
const crowd = 40

// TestCrowd starts many pods at once, and then stops them. On Multus as on Multibond each gets
// its networks and its status, and each network is attached and detached once.
func TestCrowd(t *testing.T) {
	n := newNode(t)
	n.api.Put(kubefake.NADs, "crowd", "lan", map[string]any{"spec": map[string]any{"config": `{"cniVersion": "1.0.0", "name": "lan", "type": "macvlan"}`}})
	_, err := ip("netns", "add", podNetns)
	require.NoError(t, err)
	t.Cleanup(func() { ip("netns", "del", podNetns) })
	multus, multibond := n.contenders()
	for _, who := range []contender{multus, multibond} {
		t.Run(who.plugin, func(t *testing.T) {
			var cases []*testCase
			for i := range crowd {
				c := &testCase{sections: map[string]string{"pod": fmt.Sprintf("crowd/%s-%d", who.plugin, i), "networks": "lan"}}
				require.NoError(t, n.give(c, who.plugin+fmt.Sprint(i)))
				cases = append(cases, c)
			}
			n.together(t, who, "ADD", cases)
			for i := range cases {
				pod := n.api.Object(kubefake.Pods, "crowd", fmt.Sprintf("%s-%d", who.plugin, i))
				assert.Contains(t, fmt.Sprint(pod["metadata"]), "crowd/lan", "the status of pod %d", i)
			}
			n.together(t, who, "DEL", cases)
		})
	}
}

// together calls a verb of all pods at once. Each succeeds, and each of the two networks of each
// is called once.
func (n *node) together(t *testing.T, who contender, verb string, cases []*testCase) {
	t.Helper()
	errs := make([]error, len(cases))
	var wait sync.WaitGroup
	for i, c := range cases {
		wait.Go(func() {
			config, err := c.configOf(who)
			if err != nil {
				errs[i] = err
				return
			}
			container, uid := fmt.Sprintf("%s-c%d", who.plugin, i), who.plugin+fmt.Sprint(i)
			args := fmt.Sprintf(runtimeArgs, "crowd", fmt.Sprintf("%s-%d", who.plugin, i), container, uid)
			_, errs[i] = n.execute(who, verb, []string{"CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns, "CNI_ARGS=" + args}, config)
		})
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	calls, err := takeCalls()
	require.NoError(t, err)
	count := map[string]int{}
	for _, one := range calls {
		count[one.Verb+" "+one.IfName+" "+one.Container]++
	}
	assert.Len(t, count, 2*len(cases), "what was called")
	assert.Len(t, calls, 2*len(cases), "calls")
}

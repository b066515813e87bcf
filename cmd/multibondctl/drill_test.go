package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/multibond/multibond/kubeclient/kubefake"
)

const drillWentWell = `multibond drill: a warning
{
  "container": "c1", "pod": {"namespace": "demo", "name": "web", "uid": "u"}, "network": "demo/bond-net1", "bond": "bond0", "mode": "active-backup",
  "monitor": "miimon 100", "link": "bond0-1", "target": "10.56.217.1", "intervalMilliseconds": 10, "allowedMilliseconds": 300,
  "parts": [{"part": "before", "active": "bond0-1", "sent": 100, "lost": 0, "longestGapMilliseconds": 0, "announced": 0},
            {"part": "away", "active": "bond0-2", "noticedMilliseconds": 92, "sent": 500, "lost": 10, "longestGapMilliseconds": 110, "announced": 5}],
  "problems": []
}
`

// TestDrill: a pod of its own does the drill on the node, with what it needs and no more, and
// is gone afterwards.
func TestDrill(t *testing.T) {
	for name, c := range map[string]struct {
		printed string
		code    int
		says    string
	}{
		"well":      {drillWentWell, exitWell, "away     bond0-2   92 ms     500    10     110 ms        5"},
		"not well":  {`{` + "\n" + `"bond": "bond0", "problems": ["the bond did not fail over"]}`, exitWrong, "error   the bond did not fail over"},
		"not known": {"multibond drill: no other link works\n", exitUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			s.agents[0].Spec.Containers = containersOf("agent", "example.com/agent:v1")
			api := kubefake.NewAPI(t)
			s.put(t, api)
			var made map[string]any
			done := make(chan struct{})
			go func() {
				defer close(done)
				for ; made == nil; time.Sleep(time.Millisecond) {
					made = api.Object(kubefake.Pods, "multibond-system", "multibond-drill-n1")
				}
				ended := kubefake.Merge(made, map[string]any{"status": map[string]any{"phase": "Succeeded"}, kubefake.Printed: c.printed})
				api.Put(kubefake.Pods, "multibond-system", "multibond-drill-n1", ended)
			}()
			code, stdout, stderr := toolOn(t, api, "drill", "web", "-y", "--target", "10.56.217.1")
			<-done
			assert.Equal(t, c.code, code, stderr)
			assert.Contains(t, stdout, c.says)
			assert.Nil(t, api.Object(kubefake.Pods, "multibond-system", "multibond-drill-n1"), "the pod stays")
			assert.Equal(t, "system-node-critical", made["spec"].(map[string]any)["priorityClassName"], "a full node does not evict it")
			container := made["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
			assert.Equal(t, "example.com/agent:v1", container["image"])
			assert.Equal(t, []any{"-pod", "demo/web", "-ifname", "bond0", "-for", "5s", "-o", "json", "-target", "10.56.217.1"}, container["args"])
			assert.Nil(t, container["securityContext"].(map[string]any)["privileged"])
		})
	}
}

// TestDrillJSON: what a drill has found is under a key of its own.
func TestDrillJSON(t *testing.T) {
	r := drillReport{header: headerOf("Drill"), Namespace: "demo", Pod: "web", Node: "n1"}
	require.NoError(t, json.Unmarshal([]byte(drillWentWell[strings.Index(drillWentWell, "{"):]), &r.Drill))
	var out bytes.Buffer
	e := &env{IOStreams: genericiooptions.IOStreams{Out: &out}, output: "yaml"}
	require.NoError(t, e.print(r, nil))
	want := `apiVersion: ctl.multibond.io/v1
drill:
  allowedMilliseconds: 300
  bond: bond0
  link: bond0-1
  mode: active-backup
  monitor: miimon 100
  network: demo/bond-net1
  parts:
  - active: bond0-1
    announced: 0
    longestGapMilliseconds: 0
    lost: 0
    part: before
    sent: 100
  - active: bond0-2
    announced: 5
    longestGapMilliseconds: 110
    lost: 10
    noticedMilliseconds: 92
    part: away
    sent: 500
  problems: []
  target: 10.56.217.1
kind: Drill
namespace: demo
node: n1
pod: web
`
	assert.Empty(t, cmp.Diff(want, out.String()))
}

// TestDrillRefusals: nothing is done without a confirmation, or to a bond that is not whole.
func TestDrillRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*state)
		args []string
		says string
	}{
		"not confirmed": {func(*state) {}, []string{"web"}, "is set down for 5s. Confirm it by -y"},
		"degraded":      {(*state).linkFails, []string{"web", "-y"}, "bond0 of demo/web is degraded: mend it before you try a failover"},
		"no such bond":  {func(*state) {}, []string{"web", "-y", "--bond", "bond9"}, "pod demo/web has 0 bonds bond9, want one"},
		"too long":      {func(*state) {}, []string{"web", "-y", "--for", "2m"}, "--for is 2m0s, want 1s to 1m"},
		"no agent":      {func(s *state) { s.agents[0].Spec.NodeName = "n2" }, []string{"web", "-y"}, "node n1: no agent is seen there"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			s.agents[0].Spec.Containers = containersOf("agent", "example.com/agent:v1")
			c.set(s)
			api := kubefake.NewAPI(t)
			s.put(t, api)
			code, _, stderr := toolOn(t, api, append([]string{"drill"}, c.args...)...)
			assert.Equal(t, exitUnknown, code)
			assert.Contains(t, stderr, c.says)
			require.Nil(t, api.Object(kubefake.Pods, "multibond-system", "multibond-drill-n1"))
		})
	}
}

func containersOf(name, image string) []corev1.Container {
	return []corev1.Container{{Name: name, Image: image}}
}

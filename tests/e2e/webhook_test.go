package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// TestWebhook: with deploy/webhook the API server refuses what cannot work, with its code, and
// passes warnings on. A pod needs nothing but its annotation, which may name a network of
// another namespace. Without the webhook's pods only pods with networks wait.
func TestWebhook(t *testing.T) {
	s := newScene(t)
	s.applyWebhook()
	s.wantRefused(nad("typo", `{"type": "multibond", "name": "typo", "links": [{"resource": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}]}`),
		`admission webhook "networks.multibond.io" denied the request`, "links[0].resource: is not a known key", "[MB104]")
	// kubectl shows warnings, and returns an error for them if it is told to.
	s.wantRefused(nad("doubtful", `{"type": "multibond", "name": "doubtful", "color": "red", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"network": "later"}]}`),
		"Warning: these keys are ignored: color [MB105]", "Warning: network "+s.namespace+"/later, which a link names, does not exist yet", "2 warnings received")
	s.pipe(bondNAD("far", "10.63.0.0/24"), "-n", "default", "create", "-f", "-")
	t.Cleanup(func() { s.kubectl("-n", "default", "delete", "network-attachment-definition", "far") })
	s.apply(pod("p", "default/far@bond0", 0))
	s.ready("p")
	assert.Equal(t, []string{"eth0", "bond0"}, s.interfaces("p"))
	s.wantRefused(pod("wrong", "nobody", 0), "nobody", "[MB617]")

	s.kubectl("-n", "multibond-system", "scale", "deployment/multibond-webhook", "--replicas=0")
	s.kubectl("-n", "multibond-system", "wait", "--for=delete", "pod", "-l", "app=multibond-webhook", "--timeout=2m")
	s.wantRefused(pod("late", "default/far@bond0", 0), `failed calling webhook "pods.multibond.io"`, "multibond-webhook")
	s.apply(podWith("other", nil, 0), nad("other", `{"type": "macvlan"}`))
	s.ready("other")
	s.remove("p", "other")
}

// applyWebhook applies deploy/webhook. The API server is outside of the cluster's network, so
// it calls the Service at a port that is forwarded.
func (s *scene) applyWebhook() {
	s.Helper()
	own, err := os.MkdirTemp(filepath.Join(lab.Root(), "build"), "webhook")
	require.NoError(s, err)
	const text = `components: [../../deploy/webhook]
patches:
  - target: {kind: Service}
    patch: |
      - {op: replace, path: /spec, value: {type: ExternalName, externalName: localhost}}
`
	require.NoError(s, os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte(text), 0o644))
	s.Cleanup(func() {
		s.kubectl("delete", "-k", own, "--timeout=2m")
		os.RemoveAll(own)
	})
	s.kubectl("apply", "-k", own)
	if _, err := c.Kubectl(context.WithoutCancel(s.Context()), "", "-n", "multibond-system", "rollout", "status", "deployment/multibond-webhook", "--timeout=2m"); err != nil {
		pods, _ := c.Kubectl(context.WithoutCancel(s.Context()), "", "-n", "multibond-system", "describe", "pods", "-l", "app=multibond-webhook")
		logs, _ := c.Kubectl(context.WithoutCancel(s.Context()), "", "-n", "multibond-system", "logs", "-l", "app=multibond-webhook", "--tail=20")
		require.NoError(s, err, pods+logs)
	}
	_, port, err := net.SplitHostPort(s.forward("deployment/multibond-webhook", "9443"))
	require.NoError(s, err)
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		s.kubectl("patch", kind, "multibond-webhook", "--type=json", "-p", `[{"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": `+port+`}]`)
	}
}

// wantRefused creates an object, which the API server must refuse with these words.
func (s *scene) wantRefused(object string, words ...string) {
	s.Helper()
	s.eventually(func() error {
		_, err := c.Kubectl(context.WithoutCancel(s.Context()), object, "-n", s.namespace, "create", "--dry-run=server", "--warnings-as-errors", "-f", "-")
		for _, word := range words {
			if err == nil || !strings.Contains(err.Error(), word) {
				return fmt.Errorf("%v, want %s", err, word)
			}
		}
		return nil
	})
}

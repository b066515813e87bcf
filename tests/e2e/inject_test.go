package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInject: with deploy/inject a pod needs nothing but its annotation.
func TestInject(t *testing.T) {
	s := newScene(t)
	t.Cleanup(func() { s.kubectl("delete", "-k", "deploy/inject") })
	s.kubectl("apply", "-k", "deploy/inject")
	s.apply(bondNAD("bond-net1", "10.61.0.0/24"), nad("unused", `{"type": "macvlan"}`))
	pair := map[string]any{"intel.com/sriov_pf1": "1", "intel.com/sriov_pf2": "1"}
	s.eventually(func() error {
		if got := limitsOf(s.tried(pod("p", "bond-net1@bond0", 0))); !assert.ObjectsAreEqual(pair, got) {
			return fmt.Errorf("the policy is not in effect: %v", got)
		}
		return nil
	})

	s.apply(pod("p", "bond-net1@bond0", 0))
	s.ready("p")
	assert.Equal(t, []string{"eth0", "bond0"}, s.interfaces("p"))
	var created map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.kubectl("-n", s.namespace, "get", "pod", "p", "-o", "json")), &created))
	assert.Equal(t, pair, limitsOf(created))
	again := map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": created["spec"], "metadata": map[string]any{"name": "again", "annotations": annotationsOf(created)}}
	for what, pod := range map[string]string{"again": string(encode(again)), "with its own": pod("own", "bond-net1@bond0", 1)} {
		assert.Equal(t, pair, limitsOf(s.tried(pod)), what)
	}
	twice := s.tried(pod("twice", `[{"name": "bond-net1"}, {"name": "bond-net1", "namespace": "`+s.namespace+`"}]`, 0))
	assert.Equal(t, map[string]any{"intel.com/sriov_pf1": "2", "intel.com/sriov_pf2": "2"}, limitsOf(twice))
	s.apply(`{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "multibond-inject-default"},
		"spec": {"policyName": "multibond-inject", "paramRef": {"namespace": "default", "selector": {}, "parameterNotFoundAction": "Allow"}}}`)
	t.Cleanup(func() { s.kubectl("delete", "mutatingadmissionpolicybinding", "multibond-inject-default") })
	s.pipe(bondNAD("far", "10.62.0.0/24"), "-n", "default", "create", "-f", "-")
	t.Cleanup(func() { s.kubectl("-n", "default", "delete", "network-attachment-definition", "far") })
	s.eventually(func() error {
		if got := limitsOf(s.tried(pod("far", "default/far", 0))); !assert.ObjectsAreEqual(pair, got) {
			return fmt.Errorf("the binding for the namespace default is not in effect: %v", got)
		}
		return nil
	})
	for what, pod := range map[string]string{"no annotation": podWith("none", nil, 0), "another network": pod("unused", "unused", 0)} {
		tried := s.tried(pod)
		assert.Empty(t, limitsOf(tried), what)
		assert.NotContains(t, annotationsOf(tried), "multibond.io/resources", what)
	}
}

// tried is what the API server would make of an object.
func (s *scene) tried(object string) (out map[string]any) {
	s.Helper()
	text := s.pipe(object, "-n", s.namespace, "create", "--dry-run=server", "-o", "json", "-f", "-")
	require.NoError(s, json.Unmarshal([]byte(text), &out))
	return out
}

// limitsOf are the limits of a pod's first container.
func limitsOf(pod map[string]any) map[string]any {
	first := pod["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
	limits, _ := first["resources"].(map[string]any)["limits"].(map[string]any)
	return limits
}

func annotationsOf(object map[string]any) map[string]any {
	all, _ := object["metadata"].(map[string]any)["annotations"].(map[string]any)
	return all
}

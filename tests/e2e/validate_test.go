package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValidate: with deploy/validate, the API server refuses what cannot work, with its reason.
func TestValidate(t *testing.T) {
	s := newScene(t)
	before := nad("before", `{"type": "multibond", "name": "before"}`)
	s.apply(before)
	t.Cleanup(func() { s.kubectl("delete", "-k", "deploy/validate") })
	s.kubectl("apply", "-k", "deploy/validate")
	for object, want := range map[string]string{
		nad("none", `{"type": "multibond", "name": "none"}`): "spec.config: links: has no link (for a bond over two VFs:",
		nad("lacp", `{"type": "multibond", "name": "lacp", "mode": "802.3ad", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}]}`): "spec.config: mode: is 802.3ad over VFs",
		nad("typo", `{"type": "multibond", "name": "typo", "links": [{"resource": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}]}`):                        "spec.config: links[0].resource: is not a known key",
		pod("list", `[{"name": "bond-net1"]`, 0): "annotation k8s.v1.cni.cncf.io/networks: networks: is not valid JSON",
	} {
		s.eventually(func() error {
			if _, err := c.Kubectl(context.WithoutCancel(s.Context()), object, "-n", s.namespace, "create", "--dry-run=server", "-f", "-"); err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("%v, want %s", err, want)
			}
			return nil
		})
	}
	s.eventually(func() error { // the API server's controllers read what the expressions mean
		out := s.kubectl("get", "validatingadmissionpolicies", "multibond-networks", "multibond-annotations", "-o", "jsonpath={.items[*].status}")
		if strings.Count(out, "observedGeneration") != 2 {
			return fmt.Errorf("expressions were not checked: %s", out)
		}
		require.NotContains(s, out, "expressionWarnings")
		return nil
	})
	s.kubectl("-n", s.namespace, "label", "network-attachment-definitions", "before", "multibond.test/x=y")
	s.apply(bondNAD("bond-net1", "10.62.0.0/24"), followedNAD("followed", "10.63.0.0/24"))
	s.tried(pod("p", `[{"name": "bond-net1", "interface": "bond0"}]`, 1))
}

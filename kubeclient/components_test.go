package kubeclient

import (
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
)

// TestMultusConfDirComponent checks that the component gives Multus's directory to the agent, at
// the path that confDir names, to read, and nothing to another container.
func TestMultusConfDirComponent(t *testing.T) {
	const dir = "/etc/cni/multus/net.d"
	spec := all[*appsv1.DaemonSet](render(t, "components: [../deploy/multus-confdir]"))[0].Spec.Template.Spec
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		want := ""
		if c.Name == "agent" {
			want = dir
		}
		assert.Equal(t, want, onHost(spec, c, dir), "container %s", c.Name)
		for _, m := range c.VolumeMounts {
			assert.True(t, m.MountPath != dir || m.ReadOnly, "container %s may write there", c.Name)
		}
	}
}

// TestPorts checks that no two of the programs that can be on one node listen on the same port
// of its network.
func TestPorts(t *testing.T) {
	taken := map[string]string{}
	for _, set := range all[*appsv1.DaemonSet](render(t, "components: [../deploy/monitoring, ../deploy/keep, ../deploy/uninstall]")) {
		for _, c := range set.Spec.Template.Spec.Containers {
			usual := map[string]string{"agent": "127.0.0.1:9476"}[c.Name]
			listen := flagsOf(c, map[string]string{"listen": usual})["listen"]
			if listen == "" {
				continue
			}
			_, port, err := net.SplitHostPort(listen)
			require.NoError(t, err, c.Name)
			assert.Empty(t, taken[port], "port %s of %s", port, c.Name)
			taken[port] = c.Name
		}
	}
	assert.Equal(t, map[string]string{"9476": "agent", "9477": "metrics", "9478": "uninstall"}, taken)
}

// TestValidateWarn checks that the overlay refuses nothing, and is otherwise the same.
func TestValidateWarn(t *testing.T) {
	deny, warn := rendering(t, manifests+"/validate"), rendering(t, manifests+"/validate-warn")
	require.Len(t, all[*admissionv1.ValidatingAdmissionPolicy](deny), 2)
	assert.Equal(t, all[*admissionv1.ValidatingAdmissionPolicy](deny), all[*admissionv1.ValidatingAdmissionPolicy](warn))
	for i, binding := range all[*admissionv1.ValidatingAdmissionPolicyBinding](warn) {
		assert.Equal(t, []admissionv1.ValidationAction{admissionv1.Warn}, binding.Spec.ValidationActions)
		binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
		assert.Equal(t, all[*admissionv1.ValidatingAdmissionPolicyBinding](deny)[i], binding)
	}
}

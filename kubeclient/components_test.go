package kubeclient

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
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

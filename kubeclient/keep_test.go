package kubeclient

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestKeepComponent lists everything that the component keep adds: two capabilities and
// four directories of the node, and nothing of the API. keep-inside adds what is needed to
// enter pods.
func TestKeepComponent(t *testing.T) {
	const mounts = "/var/lib/cni/multibond /var/lib/cni/sriov:ro /run/multibond:ro /sys:ro"
	t.Run("keep", func(t *testing.T) { testKeepComponent(t, "../deploy/keep", mounts, "NET_ADMIN", "NET_BROADCAST") })
	t.Run("keep-inside", func(t *testing.T) {
		c := testKeepComponent(t, "../deploy/keep, ../deploy/keep-inside", "/run/netns:ro "+mounts, "NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN")
		assert.Equal(t, "/run/netns", flagsOf(c, map[string]string{})["netns"])
		at := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/run/netns" })
		require.GreaterOrEqual(t, at, 0)
		require.NotNil(t, c.VolumeMounts[at].MountPropagation)
		assert.Equal(t, corev1.MountPropagationHostToContainer, *c.VolumeMounts[at].MountPropagation)
	})
}

// testKeepComponent returns keep's container.
func testKeepComponent(t *testing.T, components, mounts string, powers ...corev1.Capability) corev1.Container {
	without, with := render(t, ""), render(t, "components: ["+components+"]")
	assert.Len(t, with, len(without)+2)
	sets := all[*appsv1.DaemonSet](with)
	at := slices.IndexFunc(sets, func(d *appsv1.DaemonSet) bool { return d.Name == "multibond-keep" })
	require.GreaterOrEqual(t, at, 0)
	assert.Contains(t, without, any(sets[1-at]), "the agent's is as it was")
	spec := sets[at].Spec.Template.Spec
	assert.True(t, spec.HostNetwork)
	assert.False(t, spec.HostPID)
	assert.False(t, spec.HostIPC)
	require.NotNil(t, spec.AutomountServiceAccountToken)
	assert.False(t, *spec.AutomountServiceAccountToken)
	require.Len(t, slices.Concat(spec.InitContainers, spec.Containers), 1)
	c := spec.Containers[0]
	assert.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: powers}, c.SecurityContext.Capabilities)
	assert.False(t, *c.SecurityContext.Privileged)
	assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
	assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
	assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, c.SecurityContext.SeccompProfile.Type)
	assert.Equal(t, mounts, mountsOf(t, spec, c))
	for _, b := range all[*rbacv1.ClusterRoleBinding](with) {
		for _, s := range b.Subjects {
			assert.NotEqual(t, spec.ServiceAccountName, s.Name, b.Name)
		}
	}
	return c
}

// TestKeepUsesTheImage checks that keep's image is the agent's, in which the plugin is, and
// that it is told of the agent's socket, which is in a directory that it has.
func TestKeepUsesTheImage(t *testing.T) {
	t.Chdir(manifests)
	agent := onlyObject[*appsv1.DaemonSet](t, "daemonset.yaml").Spec.Template.Spec
	keep := onlyObject[*appsv1.DaemonSet](t, "keep/daemonset.yaml").Spec.Template.Spec
	c := keep.Containers[0]
	assert.Equal(t, agent.Containers[0].Image, c.Image)
	assert.Equal(t, agent.Affinity, keep.Affinity)
	assert.Equal(t, []string{"/multibond", "keep"}, c.Command)
	text, err := os.ReadFile("config.yaml")
	require.NoError(t, err)
	socket := flagsOf(c, map[string]string{})["agent"]
	assert.True(t, strings.HasPrefix(socket, "/run/multibond/"), socket)
	if strings.Contains(string(text), `"agent"`) {
		assert.Contains(t, string(text), socket)
	}
}

// TestKeepWithoutRelay checks that the component has keep give back what it has taken, that
// keep is ready when it has, and that nothing else changes.
func TestKeepWithoutRelay(t *testing.T) {
	for _, keep := range []string{"../deploy/keep", "../deploy/keep, ../deploy/keep-inside"} {
		with := objectNamed[*appsv1.DaemonSet](t, render(t, "components: ["+keep+"]"), "multibond-keep")
		without := objectNamed[*appsv1.DaemonSet](t, render(t, "components: ["+keep+", ../deploy/without/relay]"), "multibond-keep")
		assert.Equal(t, "false", flagsOf(without.Spec.Template.Spec.Containers[0], map[string]string{})["relay"])
		assert.Equal(t, []string{"/multibond", "keep", "-given-back"}, without.Spec.Template.Spec.Containers[0].ReadinessProbe.Exec.Command)
		without.Spec.Template.Spec.Containers[0].ReadinessProbe = nil
		with.Spec.Template.Spec.Containers[0].Args = without.Spec.Template.Spec.Containers[0].Args
		assert.Equal(t, with, without)
	}
}

// TestKeepOnOpenShift checks that the constraints of keep's account allow its pods what they
// need, and no more.
func TestKeepOnOpenShift(t *testing.T) {
	for component, on := range map[string]string{"keep": "../deploy/keep", "keep-inside": "../deploy/keep, ../deploy/keep-inside"} {
		t.Run(component, func(t *testing.T) {
			const openshift = "../deploy/distributions/openshift"
			r := render(t, "namespace: other\ncomponents: ["+openshift+", "+openshift+"/"+component+"]")
			keep := objectNamed[*appsv1.DaemonSet](t, r, "multibond-keep").Spec.Template.Spec
			elsewhere := objectNamed[*appsv1.DaemonSet](t, render(t, "namespace: other\ncomponents: ["+on+"]"), "multibond-keep").Spec.Template.Spec
			assert.Equal(t, elsewhere, keep)
			scc := constraintsNamed(t, r, "multibond-keep")
			c := keep.Containers[0]
			assert.Equal(t, c.SecurityContext.Capabilities.Add, scc.AllowedCapabilities)
			assert.Equal(t, []string{"hostPath"}, scc.Volumes)
			assert.Equal(t, []bool{keep.HostNetwork, keep.HostPID, keep.HostIPC}, []bool{scc.AllowHostNetwork, scc.AllowHostPID, scc.AllowHostIPC})
			assert.Equal(t, []bool{*c.SecurityContext.Privileged, *c.SecurityContext.AllowPrivilegeEscalation}, []bool{scc.AllowPrivilegedContainer, scc.AllowPrivilegeEscalation})
			for _, v := range keep.Volumes {
				assert.NotNil(t, v.HostPath, v.Name)
			}
			binding := objectNamed[*rbacv1.RoleBinding](t, r, "multibond-keep-scc")
			assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: keep.ServiceAccountName, Namespace: "other"}}, binding.Subjects)
			role := objectNamed[*rbacv1.Role](t, r, binding.RoleRef.Name)
			assert.Equal(t, []string{"multibond-keep"}, role.Rules[0].ResourceNames)
		})
	}
}

// constraints are what OpenShift allows an account's pods (security.openshift.io/v1).
type constraints struct {
	Kind     string
	Metadata struct{ Name string }

	AllowHostIPC, AllowHostNetwork, AllowHostPID, AllowPrivilegeEscalation, AllowPrivilegedContainer bool

	AllowedCapabilities []corev1.Capability
	Volumes             []string
}

func constraintsNamed(t *testing.T, r rendered, name string) (scc constraints) {
	for _, o := range r {
		text, err := json.Marshal(o)
		require.NoError(t, err)
		scc = constraints{}
		if json.Unmarshal(text, &scc) == nil && scc.Kind == "SecurityContextConstraints" && scc.Metadata.Name == name {
			return scc
		}
	}
	require.Fail(t, "there are no constraints "+name)
	return scc
}

package kubeclient

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const monitored = "components: [../deploy/monitoring]\nimages: [{name: ghcr.io/multibond/multibond-agent, newName: registry.example/a, newTag: v1}]"

// objectNamed returns the object of type T with a name.
func objectNamed[T interface{ GetName() string }](t *testing.T, r rendered, name string) T {
	t.Helper()
	for _, o := range all[T](r) {
		if o.GetName() == name {
			return o
		}
	}
	require.Failf(t, "nothing", "there is no %s", name)
	return *new(T)
}

// TestMonitoringPowers checks that who serves metrics has nothing of the node or of the agent,
// and that the agent itself stays as it is.
func TestMonitoringPowers(t *testing.T) {
	without, with := render(t, "images: [{name: ghcr.io/multibond/multibond-agent, newName: registry.example/a, newTag: v1}]"), render(t, monitored)
	assert.Equal(t, objectNamed[*appsv1.DaemonSet](t, without, "multibond-agent"), objectNamed[*appsv1.DaemonSet](t, with, "multibond-agent"))
	assert.Equal(t, objectNamed[*rbacv1.ClusterRole](t, without, "multibond-agent"), objectNamed[*rbacv1.ClusterRole](t, with, "multibond-agent"))

	spec := objectNamed[*appsv1.DaemonSet](t, with, "multibond-metrics").Spec.Template.Spec
	require.Len(t, spec.Containers, 1)
	c := spec.Containers[0]
	assert.Equal(t, "registry.example/a:v1", c.Image, "the image of the agent")
	assert.True(t, *c.SecurityContext.RunAsNonRoot)
	assert.False(t, *c.SecurityContext.Privileged)
	assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
	assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
	assert.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, c.SecurityContext.Capabilities)
	assert.Equal(t, "tls:ro", mountsOf(t, spec, c))
	assert.Equal(t, "multibond-metrics", spec.ServiceAccountName)

	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}, objectNamed[*rbacv1.ClusterRole](t, with, "multibond-metrics").Rules)
	assert.Equal(t, []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
		objectNamed[*rbacv1.ClusterRole](t, with, "multibond-scraper").Rules)
}

// TestMonitoringAgrees checks that the objects name each other, in another namespace too.
func TestMonitoringAgrees(t *testing.T) {
	r := render(t, "namespace: other\n"+monitored)
	pod := objectNamed[*appsv1.DaemonSet](t, r, "multibond-metrics").Spec.Template
	secret := objectNamed[*corev1.Secret](t, r, "multibond-scraper")
	assert.Equal(t, "other", secret.Namespace)
	assert.Equal(t, secret.Annotations[corev1.ServiceAccountNameKey], objectNamed[*corev1.ServiceAccount](t, r, "multibond-scraper").Name)
	for _, name := range []string{"multibond-metrics", "multibond-scraper"} {
		b := objectNamed[*rbacv1.ClusterRoleBinding](t, r, name)
		assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "other"}}, b.Subjects)
		assert.Equal(t, name, b.RoleRef.Name)
	}
	assert.Equal(t, "1", objectNamed[*corev1.ConfigMap](t, r, "multibond-dashboard").Labels["grafana_dashboard"])
	assert.Contains(t, objectNamed[*corev1.ConfigMap](t, r, "multibond-dashboard").Data, "multibond.json")

	var monitor map[string]any
	for _, o := range all[*map[string]any](r) {
		if (*o)["kind"] == "PodMonitor" {
			monitor = (*o)["spec"].(map[string]any)
		}
	}
	require.NotNil(t, monitor)
	for key, value := range monitor["selector"].(map[string]any)["matchLabels"].(map[string]any) {
		assert.Equal(t, value, pod.Labels[key])
	}
	assert.Equal(t, "multibond-metrics", pod.Labels[monitor["jobLabel"].(string)], "the job that the rules name")
	end := monitor["podMetricsEndpoints"].([]any)[0].(map[string]any)
	assert.Equal(t, pod.Spec.Containers[0].Ports[0].Name, end["port"])
	assert.Equal(t, map[string]any{"name": secret.Name, "key": "token"}, end["authorization"].(map[string]any)["credentials"])
}

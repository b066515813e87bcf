package kubeclient

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	klabels "k8s.io/apimachinery/pkg/labels"
)

const withWebhook = "components: [../deploy/webhook"

// TestWebhookRights lists everything that the webhook may do.
func TestWebhookRights(t *testing.T) {
	r := rendering(t, manifests)
	added := render(t, withWebhook+"]")
	var got []string
	for _, role := range all[*rbacv1.ClusterRole](added) {
		if role.Name == "multibond-webhook" {
			got = append(got, rights(role.Rules)...)
		}
	}
	for _, role := range all[*rbacv1.Role](added) {
		if role.Name == "multibond-webhook" {
			got = append(got, rights(role.Rules)...)
		}
	}
	assert.Equal(t, []string{
		"k8s.cni.cncf.io network-attachment-definitions  get",
		"admissionregistration.k8s.io mutatingwebhookconfigurations,validatingwebhookconfigurations multibond-webhook get,patch",
		" secrets multibond-webhook get,update",
	}, got)
	assert.Equal(t, all[*appsv1.DaemonSet](r), all[*appsv1.DaemonSet](added), "the agent stays as it is")
}

func rights(rules []rbacv1.PolicyRule) (out []string) {
	for _, r := range rules {
		out = append(out, strings.Join(r.APIGroups, ",")+" "+strings.Join(r.Resources, ",")+" "+strings.Join(r.ResourceNames, ",")+" "+strings.Join(r.Verbs, ","))
	}
	return out
}

// TestWebhookPowers: the webhook has nothing of its node, and of the API only its account's
// token. With the components of distributions it is the same.
func TestWebhookPowers(t *testing.T) {
	for _, settings := range []string{withWebhook + "]", withWebhook + ", ../deploy/distributions/k3s, ../deploy/keep]", "components: [../deploy/distributions/openshift, ../deploy/distributions/openshift/webhook]"} {
		spec := all[*appsv1.Deployment](render(t, settings))[0].Spec.Template.Spec
		assert.False(t, spec.HostNetwork)
		require.Len(t, spec.Containers, 1)
		s := spec.Containers[0].SecurityContext
		assert.True(t, *s.RunAsNonRoot && *s.ReadOnlyRootFilesystem)
		assert.False(t, *s.Privileged || *s.AllowPrivilegeEscalation)
		assert.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, s.Capabilities)
		assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, s.SeccompProfile.Type)
		assert.Equal(t, "cluster:ro token:ro", mountsOf(t, spec, spec.Containers[0]))
	}
}

// TestWebhookBesideMultus: where Multus stays, pods are warned of, and on OpenShift the account
// of the pods may have their user.
func TestWebhookBesideMultus(t *testing.T) {
	for settings, beside := range map[string]bool{
		withWebhook + "]": false, "components: [../deploy/beside-multus/webhook, ../deploy/beside-multus]": true,
		"components: [../deploy/distributions/openshift, ../deploy/distributions/openshift/webhook]": true,
	} {
		container := all[*appsv1.Deployment](render(t, settings))[0].Spec.Template.Spec.Containers[0]
		assert.Equal(t, beside, slices.Contains(container.Args, "-warn-pods"), settings)
	}
	r := render(t, "namespace: other\ncomponents: [../deploy/distributions/openshift, ../deploy/distributions/openshift/webhook]")
	pod, binding := all[*appsv1.Deployment](r)[0].Spec.Template.Spec, objectNamed[*rbacv1.RoleBinding](t, r, "multibond-webhook-scc")
	assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: pod.ServiceAccountName, Namespace: "other"}}, binding.Subjects)
	assert.Equal(t, "system:openshift:scc:nonroot-v2", binding.RoleRef.Name)
	assert.Equal(t, "other", binding.Namespace)
}

// TestWebhookNames: what names another object, or selects pods, finds it, with another
// namespace too. The names that the program has by its flags are those.
func TestWebhookNames(t *testing.T) {
	r := render(t, withWebhook+"]\nnamespace: other\nimages: [{name: ghcr.io/multibond/multibond-agent, newName: registry.example/a, newTag: v1}]")
	deployment, service := all[*appsv1.Deployment](r)[0], all[*corev1.Service](r)[0]
	template := deployment.Spec.Template
	container := template.Spec.Containers[0]
	assert.Equal(t, "registry.example/a:v1", container.Image)
	for _, selector := range []klabels.Selector{klabels.SelectorFromSet(service.Spec.Selector), selectorOf(t, deployment.Spec.Selector), selectorOf(t, all[*policyv1.PodDisruptionBudget](r)[0].Spec.Selector)} {
		assert.True(t, selector.Matches(klabels.Set(template.Labels)))
	}
	own := flagsOf(container, map[string]string{})["name"]
	assert.Equal(t, service.Name, own)
	assert.Equal(t, "POD_NAMESPACE", container.Env[0].Name)
	validating, mutating := all[*admissionv1.ValidatingWebhookConfiguration](r)[0], all[*admissionv1.MutatingWebhookConfiguration](r)[0]
	paths := map[string]string{"/networks": validating.Name, "/pods": mutating.Name}
	for _, client := range []admissionv1.WebhookClientConfig{validating.Webhooks[0].ClientConfig, mutating.Webhooks[0].ClientConfig} {
		assert.Equal(t, own, paths[*client.Service.Path])
		assert.Equal(t, service.Name, client.Service.Name)
		assert.Equal(t, "other", client.Service.Namespace)
		assert.Equal(t, service.Spec.Ports[0].Port, *client.Service.Port)
		assert.Empty(t, client.CABundle, "it is the program's to write")
	}
	assert.NotEmpty(t, objectNamed[*corev1.Secret](t, r, own))
}

func selectorOf(t *testing.T, of *metav1.LabelSelector) klabels.Selector {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(of)
	require.NoError(t, err)
	return selector
}

// TestWebhookMatches: its absence keeps no pod from starting but those with our annotation, and
// nothing of the system's or our own namespace.
func TestWebhookMatches(t *testing.T) {
	r := render(t, withWebhook+"]")
	validating, mutating := all[*admissionv1.ValidatingWebhookConfiguration](r)[0].Webhooks[0], all[*admissionv1.MutatingWebhookConfiguration](r)[0].Webhooks[0]
	own := all[*corev1.Namespace](r)[0]
	for _, selector := range []*metav1.LabelSelector{validating.NamespaceSelector, mutating.NamespaceSelector} {
		s := selectorOf(t, selector)
		assert.False(t, s.Matches(klabels.Set{"kubernetes.io/metadata.name": "kube-system"}))
		assert.False(t, s.Matches(klabels.Set{"kubernetes.io/metadata.name": own.Name}))
		assert.True(t, s.Matches(klabels.Set{"kubernetes.io/metadata.name": "demo", "app.kubernetes.io/name": "multibond"}))
	}
	scope := admissionv1.NamespacedScope
	assert.Equal(t, []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{"k8s.cni.cncf.io"}, APIVersions: []string{"v1"}, Resources: []string{"network-attachment-definitions"}, Scope: &scope},
	}}, validating.Rules)
	assert.Equal(t, []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: &scope},
	}}, mutating.Rules)
	for _, effects := range []*admissionv1.SideEffectClass{validating.SideEffects, mutating.SideEffects} {
		assert.Equal(t, admissionv1.SideEffectClassNone, *effects, "a dry run is judged, too")
	}
	assert.Contains(t, mutating.MatchConditions[0].Expression, NetworksAnnotation)
	assert.Equal(t, admissionv1.IfNeededReinvocationPolicy, *mutating.ReinvocationPolicy)
	for _, policy := range []*admissionv1.FailurePolicyType{validating.FailurePolicy, mutating.FailurePolicy} {
		assert.Equal(t, admissionv1.Fail, *policy)
	}
}

// TestWebhookStays: a drain or an update leaves one replica that serves.
func TestWebhookStays(t *testing.T) {
	r := render(t, withWebhook+", ../deploy/without/arm64]")
	spec := all[*appsv1.Deployment](r)[0].Spec
	assert.Equal(t, int32(2), *spec.Replicas)
	assert.Equal(t, "0", spec.Strategy.RollingUpdate.MaxUnavailable.String())
	assert.Equal(t, "1", all[*policyv1.PodDisruptionBudget](r)[0].Spec.MinAvailable.String())
	spread := spec.Template.Spec.TopologySpreadConstraints[0]
	assert.Equal(t, []string{"kubernetes.io/hostname", "DoNotSchedule"}, []string{spread.TopologyKey, string(spread.WhenUnsatisfiable)})
	assert.True(t, selectorOf(t, spread.LabelSelector).Matches(klabels.Set(spec.Template.Labels)))
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		i := slices.IndexFunc(spec.Template.Spec.Tolerations, func(l corev1.Toleration) bool { return l.Key == taint })
		require.GreaterOrEqual(t, i, 0, taint)
		assert.NotNil(t, spec.Template.Spec.Tolerations[i].TolerationSeconds, taint)
	}
	node := spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	assert.Equal(t, []string{"amd64"}, node.NodeSelectorTerms[0].MatchExpressions[0].Values)
	container := spec.Template.Spec.Containers[0]
	assert.Equal(t, "/readyz", container.ReadinessProbe.HTTPGet.Path)
	assert.Equal(t, "/healthz", container.LivenessProbe.HTTPGet.Path)
	drain, err := time.ParseDuration(flagsOf(container, map[string]string{})["drain"])
	require.NoError(t, err)
	assert.Greater(t, float64(*spec.Template.Spec.TerminationGracePeriodSeconds), (drain + webhookTimeout).Seconds())
}

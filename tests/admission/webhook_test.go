package admission

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/authentication/user"
)

// hooks are the webhook configurations of deploy/webhook.
func hooks(t testing.TB) (validating *admissionv1.ValidatingWebhookConfiguration, mutating *admissionv1.MutatingWebhookConfiguration) {
	validatings, _ := manifest[admissionv1.ValidatingWebhookConfiguration, struct{}](t, "../../deploy/webhook/webhooks.yaml", "ValidatingWebhookConfiguration")
	mutatings, _ := manifest[admissionv1.MutatingWebhookConfiguration, struct{}](t, "../../deploy/webhook/webhooks.yaml", "MutatingWebhookConfiguration")
	require.Len(t, validatings, 1)
	require.Len(t, mutatings, 1)
	return validatings[0], mutatings[0]
}

// TestWebhookConfigurations: the webhook may change whom the API server trusts, and nothing
// else of its configurations.
func TestWebhookConfigurations(t *testing.T) {
	policies, _ := manifest[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyBinding](t, "../../deploy/webhook/rbac.yaml", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
	require.Len(t, policies, 1)
	v := newValidator(t, policies[0])
	kind, resource := admissionv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"), admissionv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")
	for name, test := range map[string]struct {
		change func(*admissionv1.MutatingWebhookConfiguration)
		may    bool
	}{
		"nothing":     {func(*admissionv1.MutatingWebhookConfiguration) {}, true},
		"the bundle":  {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].ClientConfig.CABundle = []byte("x") }, true},
		"a condition": {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].MatchConditions = nil }, false},
		"the rules":   {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].Rules[0].Resources[0] = "*" }, false},
		"the policy":  {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].FailurePolicy = nil }, false},
		"the service": {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].ClientConfig.Service.Name = "x" }, false},
		"a URL":       {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].ClientConfig.URL = new("https://x") }, false},
		"an object": {func(c *admissionv1.MutatingWebhookConfiguration) {
			c.Webhooks[0].ObjectSelector = &metav1.LabelSelector{}
		}, false},
		"one more": {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks = append(c.Webhooks, c.Webhooks[0]) }, false},
		"one less": {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks = nil }, false},
		"its name": {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].Name = "x.y.z" }, false},
	} {
		_, before := hooks(t)
		_, now := hooks(t)
		test.change(now)
		for account, bound := range map[string]bool{
			"multibond-system:multibond-webhook": true, "other:multibond-webhook": true, "a:x-multibond-webhook-y": true, "a:xmultibond-webhook": true,
			"a:multibond-webhook2": true, "multibond-system:multibond-agent": false, "multibond-webhook:default": false,
		} {
			by := &user.DefaultInfo{Name: "system:serviceaccount:" + account}
			record := admission.NewAttributesRecord(now, before, kind, "", now.Name, resource, "", admission.Update, &metav1.UpdateOptions{}, false, by)
			got := refusal(t, v, &admission.VersionedAttributes{Attributes: record, VersionedObject: now, VersionedOldObject: before, VersionedKind: kind})
			assert.Equal(t, test.may || !bound, got == "", "%s, by %s: %s", name, account, got)
		}
	}
}

// TestWebhookConditions: the API server asks the webhook about our networks and about pods that
// have some, and about nothing else.
func TestWebhookConditions(t *testing.T) {
	validating, mutating := hooks(t)
	matches := func(conditions []admissionv1.MatchCondition, request *admission.VersionedAttributes) bool {
		compiler := newCompiler(t, nil, plugincel.OptionalVariableDeclarations{})
		matched := newMatcher(t, compiler, "hook", conditions, plugincel.OptionalVariableDeclarations{}, admissionv1.Fail).Match(t.Context(), request, nil, nil)
		require.NoError(t, matched.Error)
		return matched.Matches
	}
	host, static := newPod("bond", nil), newPod("bond", nil)
	host.Spec.HostNetwork = true
	static.Annotations[corev1.MirrorPodAnnotationKey] = "x"
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{"none": {newPod("", nil), false}, "one": {newPod("bond", nil), true}, "of the host": {host, false}, "static": {static, false}} {
		assert.Equal(t, test.want, matches(mutating.Webhooks[0].MatchConditions, created(test.pod, "demo", podKind, podResource)), name)
	}
	kind := schema.GroupVersionKind{Group: "k8s.cni.cncf.io", Version: "v1", Kind: "NetworkAttachmentDefinition"}
	resource := kind.GroupVersion().WithResource("network-attachment-definitions")
	changed := func(before, now *unstructured.Unstructured) bool {
		if before == nil {
			return matches(validating.Webhooks[0].MatchConditions, created(now, "demo", kind, resource))
		}
		record := admission.NewAttributesRecord(now, before, kind, "demo", "n", resource, "", admission.Update, &metav1.UpdateOptions{}, false, &user.DefaultInfo{})
		return matches(validating.Webhooks[0].MatchConditions, &admission.VersionedAttributes{Attributes: record, VersionedObject: now, VersionedOldObject: before, VersionedKind: kind})
	}
	bond, other := object("demo", nads[0]), object("demo", [3]string{"n", "", `{"type": "macvlan"}`})
	bare := object("demo", nads[0])
	delete(bare.Object, "spec")
	assert.True(t, changed(nil, bond))
	assert.False(t, changed(nil, other))
	assert.False(t, changed(nil, bare))
	assert.False(t, changed(bond, bond.DeepCopy()), "what was there can be labelled")
	assert.True(t, changed(other, bond))
	assert.True(t, changed(bare, bond))
}

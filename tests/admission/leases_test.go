package admission

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"
)

// leases is the policy for the Leases that agents write.
func leases(t testing.TB) validating.Validator {
	policies, _ := manifest[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyBinding](t, "../../deploy/policy.yaml")
	for _, p := range policies {
		if p.Name == "multibond-agent-leases" {
			return newValidator(t, p)
		}
	}
	require.Fail(t, "there is no such policy")
	return nil
}

// writtenLease is the Lease that the agent of node n1 makes (TestHostNumber of kubeclient).
func writtenLease(t testing.TB) *coordinationv1.Lease {
	text, err := os.ReadFile("../../kubeclient/testdata/lease.json")
	require.NoError(t, err)
	lease := &coordinationv1.Lease{}
	require.NoError(t, json.Unmarshal(text, lease))
	return lease
}

// writes is the request of the agent of node n1 that makes now of before, which is nil if it
// creates it.
func writes(before, now *coordinationv1.Lease) *admission.VersionedAttributes {
	by := &user.DefaultInfo{Name: "system:serviceaccount:multibond-system:multibond-agent", Extra: map[string][]string{
		"authentication.kubernetes.io/node-name": {"n1"}, "authentication.kubernetes.io/node-uid": {"u1"},
	}}
	kind, resource := coordinationv1.SchemeGroupVersion.WithKind("Lease"), coordinationv1.SchemeGroupVersion.WithResource("leases")
	if before == nil {
		record := admission.NewAttributesRecord(now, nil, kind, now.Namespace, now.Name, resource, "", admission.Create, &metav1.CreateOptions{}, false, by)
		return &admission.VersionedAttributes{Attributes: record, VersionedObject: now, VersionedKind: kind}
	}
	record := admission.NewAttributesRecord(now, before, kind, now.Namespace, now.Name, resource, "", admission.Update, &metav1.UpdateOptions{}, false, by)
	return &admission.VersionedAttributes{Attributes: record, VersionedObject: now, VersionedOldObject: before, VersionedKind: kind}
}

// TestLeases: an agent writes what it does, for its own node, and nothing else.
func TestLeases(t *testing.T) {
	v := leases(t)
	const only, parts = "the agent may only write Leases multibond-host-N", "of a Lease the agent may only write"
	for name, test := range map[string]struct {
		change func(*coordinationv1.Lease)
		want   string
	}{
		"its own":                {func(*coordinationv1.Lease) {}, ""},
		"the highest":            {func(l *coordinationv1.Lease) { l.Name = "multibond-host-65535" }, ""},
		"higher":                 {func(l *coordinationv1.Lease) { l.Name = "multibond-host-65536" }, only},
		"much higher":            {func(l *coordinationv1.Lease) { l.Name = "multibond-host-100000000000000000000" }, only},
		"another name":           {func(l *coordinationv1.Lease) { l.Name = "leader" }, only},
		"another holder":         {func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = new("n2") }, only},
		"an earlier Node":        {func(l *coordinationv1.Lease) { l.OwnerReferences[0].UID = "u0" }, only},
		"all that it may tell":   {func(l *coordinationv1.Lease) { l.Annotations["multibond.io/nics"] = strings.Repeat("x", 4096) }, ""},
		"more":                   {func(l *coordinationv1.Lease) { l.Annotations["multibond.io/nics"] = strings.Repeat("x", 4097) }, parts},
		"nothing":                {func(l *coordinationv1.Lease) { l.Annotations = nil }, ""},
		"another annotation":     {func(l *coordinationv1.Lease) { l.Annotations["a"] = "b" }, parts},
		"another label":          {func(l *coordinationv1.Lease) { l.Labels["a"] = "b" }, parts},
		"another value":          {func(l *coordinationv1.Lease) { l.Labels["app.kubernetes.io/name"] = "b" }, parts},
		"a label less":           {func(l *coordinationv1.Lease) { delete(l.Labels, "app.kubernetes.io/name") }, parts},
		"what keeps it for ever": {func(l *coordinationv1.Lease) { l.Finalizers = []string{"example.com/stays"} }, parts},
		"a time":                 {func(l *coordinationv1.Lease) { l.Spec.LeaseDurationSeconds = new(int32(5)) }, parts},
		"another host's wish":    {func(l *coordinationv1.Lease) { l.Spec.PreferredHolder = new("n2") }, parts},
	} {
		t.Run(name, func(t *testing.T) {
			now, changed := writtenLease(t), writtenLease(t)
			test.change(changed)
			for _, got := range []string{refusal(t, v, writes(nil, changed)), refusal(t, v, writes(now, changed))} {
				if test.want == "" {
					assert.Empty(t, got)
				} else {
					assert.Contains(t, got, test.want)
				}
			}
		})
	}

	people := writtenLease(t)
	people.Annotations["example.com/note"], people.Labels["example.com/rack"] = "people", "7"
	now := people.DeepCopy()
	now.Annotations["multibond.io/nics"] = "[]"
	assert.Empty(t, refusal(t, v, writes(people, now)), "what people have added is no obstacle")
	delete(now.Annotations, "example.com/note")
	assert.Contains(t, refusal(t, v, writes(people, now)), parts)
	others := writtenLease(t)
	others.Spec.HolderIdentity = new("n2")
	assert.Contains(t, refusal(t, v, writes(others, writtenLease(t))), "the agent may not change the Lease of another node")
}

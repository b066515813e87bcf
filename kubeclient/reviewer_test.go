package kubeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
)

// reviewerOf has the NADs of judgeOf. Those of claims name a template.
func reviewerOf(configs map[string]string) Reviewer {
	judge := judgeOf(configs)
	return Reviewer{Cluster: func() (c agentapi.Cluster) { return c }, NAD: func(_ context.Context, name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		nad, err := judge.NAD(name)
		if name.Name == "claims" || name.Name == "claim" {
			metav1.SetMetaDataAnnotation(&nad.ObjectMeta, ClaimTemplateAnnotation, "two.vfs")
		}
		if name.Name == "others" {
			metav1.SetMetaDataAnnotation(&nad.ObjectMeta, ClaimTemplateAnnotation, "others")
		}
		if name.Name == "file" {
			metav1.SetMetaDataAnnotation(&nad.ObjectMeta, ResourceAnnotation, "intel.com/f")
		}
		return nad, err
	}}
}

// admitted returns a pod after the review, which must not refuse it, and its warnings.
func admitted(t *testing.T, r Reviewer, pod map[string]any) (after map[string]any, warnings []string) {
	t.Helper()
	raw, err := json.Marshal(pod)
	require.NoError(t, err)
	review := r.ReviewPod(t.Context(), raw, "demo")
	require.NoError(t, review.Err)
	text, err := json.Marshal(review.Patch)
	require.NoError(t, err)
	if review.Patch != nil {
		patch, err := jsonpatch.DecodePatch(text)
		require.NoError(t, err)
		raw, err = patch.Apply(raw)
		require.NoError(t, err, "%s", text)
	}
	require.NoError(t, json.Unmarshal(raw, &after))
	return after, review.Warnings
}

// written returns a pod as its author writes it.
func written(networks string, spec map[string]any) map[string]any {
	return map[string]any{"metadata": map[string]any{"name": "p", "annotations": map[string]any{NetworksAnnotation: networks}}, "spec": spec}
}

// TestReviewPodInjects: a pod gets what its networks need, in the form that it is written in,
// and nothing the second time.
func TestReviewPodInjects(t *testing.T) {
	r := reviewerOf(map[string]string{
		"two":    `{"type": "multibond", "name": "n", "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`,
		"claims": `{"type": "multibond", "name": "n", "links": [{"request": "vfs/a"}, {"request": "vfs/b"}]}`,
		"claim":  `{"type": "multibond", "name": "n", "links": [{"request": "a"}, {"request": "b"}]}`,
		"others": `{"type": "multibond", "name": "n", "links": [{"request": "vfs/c"}, {"request": "vfs/d"}]}`,
		"file":   ``,
	})
	type m = map[string]any
	type l = []any
	one := m{"intel.com/a": "1", "intel.com/b": "1"}
	template := func(name string) m { return m{"name": name, "resourceClaimTemplateName": "two.vfs"} }
	has := func(claim string) m { return m{"name": "c", "resources": m{"claims": l{m{"name": claim}}}} }
	for name, test := range map[string]struct {
		networks     string
		before, want m
	}{
		"nothing":            {"two", m{"containers": l{m{"name": "c"}}}, m{"containers": l{m{"name": "c", "resources": m{"limits": one, "requests": one}}}}},
		"as the API has it":  {"two", m{"containers": l{m{"name": "c", "resources": m{}}}}, m{"containers": l{m{"name": "c", "resources": m{"limits": one, "requests": one}}}}},
		"what is newer":      {"two", m{"containers": l{m{"name": "c", "resources": m{"new": l{1.0}, "limits": m{"cpu": "2"}}}}}, m{"containers": l{m{"name": "c", "resources": m{"new": l{1.0}, "limits": m{"cpu": "2", "intel.com/a": "1", "intel.com/b": "1"}, "requests": one}}}}},
		"claims":             {"claims", m{"containers": l{m{"name": "c"}}}, m{"containers": l{m{"name": "c", "resources": m{"claims": l{m{"name": "vfs"}}}}}, "resourceClaims": l{template("vfs")}}},
		"without a name":     {"claim", m{"containers": l{m{"name": "c"}}}, m{"containers": l{m{"name": "c", "resources": m{"claims": l{m{"name": "two-vfs"}}}}}, "resourceClaims": l{template("two-vfs")}}},
		"another claim":      {"claims", m{"containers": l{m{"name": "c"}}, "resourceClaims": l{m{"name": "gpu", "new": 1.0}}}, m{"containers": l{m{"name": "c", "resources": m{"claims": l{m{"name": "vfs"}}}}}, "resourceClaims": l{m{"name": "gpu", "new": 1.0}, template("vfs")}}},
		"a claim of its own": {"claims", m{"containers": l{m{"name": "c"}, has("vfs")}, "resourceClaims": l{m{"name": "vfs", "resourceClaimName": "mine"}}}, nil},
		"under another name": {"claim", m{"containers": l{has("other")}, "resourceClaims": l{template("other")}}, nil},
		"in no container":    {"claim", m{"containers": l{m{"name": "c"}}, "resourceClaims": l{template("other")}}, m{"containers": l{has("other")}, "resourceClaims": l{template("other")}}},
		"for a step before":  {"claim", m{"initContainers": l{has("other")}, "containers": l{m{"name": "c"}}, "resourceClaims": l{template("other")}}, nil},
		"its own of two":     {"claims,others", m{"containers": l{has("vfs")}, "resourceClaims": l{m{"name": "vfs", "resourceClaimName": "mine"}}}, nil},
		"a file's":           {"file", m{"containers": l{m{"name": "c"}}}, m{"containers": l{m{"name": "c", "resources": m{"limits": m{"intel.com/f": "1"}, "requests": m{"intel.com/f": "1"}}}}}},
		"unseen":             {"other/unseen", m{"containers": l{m{"name": "c"}}}, nil},
		"no network":         {"", m{"containers": l{m{"name": "c"}}}, nil},
		"the host's network": {"two", m{"containers": l{m{"name": "c"}}, "hostNetwork": true}, nil},
	} {
		after, warnings := admitted(t, r, written(test.networks, test.before))
		if test.want == nil {
			test.want = test.before
		}
		assert.Equal(t, test.want, after["spec"], name)
		assert.Empty(t, warnings, name)
		again, _ := admitted(t, r, after)
		assert.Equal(t, after, again, "%s: again", name)
	}
}

// TestReviewPodRefuses: a pod whose ADD fails on every node is refused, with its codes; beside
// Multus it is warned of.
func TestReviewPodRefuses(t *testing.T) {
	const links = `"links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]`
	r := reviewerOf(map[string]string{
		"lacp":    `{"type": "multibond", "name": "n", "mode": "802.3ad", ` + links + `}`,
		"plain":   `{"type": "macvlan", "name": "n"}`,
		"claimed": `{"type": "multibond", "name": "n", "links": [{"request": "a"}, {"request": "b"}]}`,
		"claims":  `{"type": "multibond", "name": "n", "links": [{"request": "vfs/a"}, {"request": "vfs/b"}]}`,
		"others":  `{"type": "multibond", "name": "n", "links": [{"request": "vfs/c"}]}`,
		"memory":  `{"type": "multibond", "name": "n", "links": [{"resourceName": "memory"}, {"resourceName": "intel.com/a"}]}`,
	})
	for networks, want := range map[string]code.Code{
		"lacp": code.LACPOverVFs, "nobody": code.NoNAD, `[{"name": "plain"`: code.NotJSON, "plain@much-too-long-a-name": code.BadInterface,
		"claimed": code.FewDevices, "memory": code.FewDevices, "claims,others": code.AmbiguousRequest, "others,claims": code.AmbiguousRequest,
	} {
		raw, err := json.Marshal(written(networks, map[string]any{"containers": []any{map[string]any{"name": "c"}}}))
		require.NoError(t, err)
		assert.Equal(t, []code.Code{want}, code.Of(r.ReviewPod(t.Context(), raw, "demo").Err), networks)
		lenient := r
		lenient.WarnPods = true
		review := lenient.ReviewPod(t.Context(), raw, "demo")
		assert.NoError(t, review.Err, networks)
		require.Len(t, review.Warnings, 1, networks)
		assert.Contains(t, review.Warnings[0], want.String())
	}
	pod := written(`[{"name": "plain", "bandwidth": {"ingressRate": 1000}}]`, map[string]any{"containers": []any{map[string]any{"name": "c"}}})
	_, warnings := admitted(t, r, pod)
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "networks[0]: network demo/plain: ")
	assert.Contains(t, warnings[0], code.NoCapability.String())
	assert.Error(t, r.ReviewPod(t.Context(), []byte(`{"spec": 1}`), "demo").Err)
}

// TestReviewPodManyNADs: one pod does not have the API server asked for any number of NADs.
func TestReviewPodManyNADs(t *testing.T) {
	configs := map[string]string{"plain": `{"type": "macvlan", "name": "n"}`}
	var networks []string
	for bond := range maxNetworks {
		var links []string
		for link := range 32 {
			links = append(links, fmt.Sprintf(`{"network": "of%d-%d"}`, bond, link))
			configs[fmt.Sprintf("of%d-%d", bond, link)] = configs["plain"]
		}
		configs[fmt.Sprintf("b%d", bond)] = `{"type": "multibond", "name": "n", "links": [` + strings.Join(links, ", ") + `]}`
		networks = append(networks, fmt.Sprintf("b%d", bond))
	}
	r := reviewerOf(configs)
	find, asked := r.NAD, 0
	r.NAD = func(ctx context.Context, name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		asked++
		return find(ctx, name)
	}
	review := func(networks []string) Review {
		raw, err := json.Marshal(written(strings.Join(networks, ","), map[string]any{"containers": []any{map[string]any{"name": "c"}}}))
		require.NoError(t, err)
		asked = 0
		return r.ReviewPod(t.Context(), raw, "demo")
	}
	assert.NotErrorIs(t, review(networks[:3]).Err, errManyNADs)
	assert.Equal(t, 99, asked)
	assert.Equal(t, errManyNADs, review(networks).Err)
	assert.Equal(t, maxReads, asked)
	r.WarnPods = true
	assert.Equal(t, []string{code.Text(errManyNADs)}, review(networks).Warnings)
}

// TestReviewNAD: what is wrong with a NAD is refused, what is doubtful is a warning, and so is
// a network that may come later.
func TestReviewNAD(t *testing.T) {
	r := reviewerOf(map[string]string{"plain": `{"type": "macvlan"}`})
	review := func(config string) Review {
		return r.ReviewNAD(t.Context(), &nettypes.NetworkAttachmentDefinition{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "n"}, Spec: nettypes.NetworkAttachmentDefinitionSpec{Config: config}})
	}
	right := review(`{"type": "multibond", "name": "n", "links": [{"network": "plain"}, {"network": "other/unseen"}]}`)
	assert.NoError(t, right.Err)
	assert.Empty(t, right.Warnings)
	wrong := review(`{"type": "multibond", "name": "n", "miimon": "often", "links": [{"resource": "intel.com/a"}, {"name": "e1"}]}`)
	assert.Equal(t, []code.Code{code.UnknownKey, code.BadValue}, code.Of(wrong.Err))
	doubtful := review(`{"type": "multibond", "name": "n", "color": "red", "links": [{"resourceName": "intel.com/a"}, {"network": "later"}]}`)
	assert.NoError(t, doubtful.Err)
	require.Len(t, doubtful.Warnings, 2)
	assert.Contains(t, doubtful.Warnings[0], "color")
	assert.Equal(t, "network demo/later, which a link names, does not exist yet ["+code.NoNAD.String()+"]", doubtful.Warnings[1])
}

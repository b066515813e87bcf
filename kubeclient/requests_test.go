package kubeclient

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

func TestRequestsByClaim(t *testing.T) {
	one := Container{Requests: map[string][]string{"a/vf": {"a1"}, "b/vf": {"b1"}, "b/fast": {"c1"}}}
	for name, test := range map[string]struct {
		containers []Container
		request    string
		want, err  string
	}{
		"claim and request":             {[]Container{one}, "b/vf", "b1", ""},
		"a request of one claim only":   {[]Container{one}, "fast", "c1", ""},
		"a request of two claims":       {[]Container{one}, "vf", "", "network n: request vf of pod demo/p is one of a/vf, b/vf"},
		"two claims of two containers":  {[]Container{{Requests: map[string][]string{"b/vf": {"b1"}}}, {Requests: map[string][]string{"a/vf": {"a1"}}}}, "vf", "", "is one of a/vf, b/vf"},
		"one claim of two names":        {[]Container{{Requests: map[string][]string{"a/vf": {"a1"}}}, {Requests: map[string][]string{"a/vf": {"a1"}, "b/vf": {"a1"}}}}, "vf", "a1", ""},
		"a claim without a name":        {[]Container{{Requests: map[string][]string{"vf": {"a1"}, "b/vf": {"b1"}}}}, "vf", "a1", ""},
		"the end of a name is no match": {[]Container{{Requests: map[string][]string{"a/x-vf": {"a1"}}}}, "vf", "", "network n needs 1 x request vf, pod demo/p has 0"},
		"another claim's request":       {[]Container{one}, "a/fast", "", "network n needs 1 x request a/fast, pod demo/p has 0"},
	} {
		needs := []Need{{Network: "n", Wants: []Want{{Request: test.request}}}}
		got, err := Allocate("demo/p", test.containers, needs, noPF)
		assert.Equal(t, test.request, needs[0].Wants[0].Request, "%s: the caller's stays", name)
		if test.err != "" {
			assert.ErrorContains(t, err, test.err, name)
			continue
		}
		assert.NoError(t, err, name)
		assert.Equal(t, [][]string{{test.want}}, got, name)
	}
}

// TestClaimsOfOneTemplate: both claims have a request vf, one of them with alternatives.
func TestClaimsOfOneTemplate(t *testing.T) {
	r := newRig(t)
	r.api.Put(nadResource, "demo", "claimed", nadObject(`{"type":"multibond","links":[{"request":"right/vf"},{"request":"left/vf"}]}`))
	r.api.Put(nadResource, "demo", "unclear", nadObject(`{"type":"multibond","links":[{"request":"vf","count":2}]}`))
	for claim, result := range map[string]map[string]any{
		"p-left-x1":  {"request": "vf", "driver": "sriov", "pool": "n1", "device": "0000-01-10-2"},
		"p-right-x2": {"request": "vf/fast", "driver": "sriov", "pool": "n1", "device": "pci-0000-02-10-2"},
	} {
		r.api.Put(claimResource, "demo", claim, map[string]any{"status": map[string]any{"allocation": map[string]any{"devices": map[string]any{"results": []any{result}}}}})
	}
	for _, network := range []string{"claimed", "unclear"} {
		pod := podObject("uid-"+network, map[string]any{NetworksAnnotation: network})
		pod["spec"].(map[string]any)["resourceClaims"] = []any{
			map[string]any{"name": "left", "resourceClaimTemplateName": "vf"}, map[string]any{"name": "right", "resourceClaimTemplateName": "vf"},
		}
		pod["status"] = map[string]any{"resourceClaimStatuses": []any{
			map[string]any{"name": "left", "resourceClaimName": "p-left-x1"}, map[string]any{"name": "right", "resourceClaimName": "p-right-x2"},
		}}
		r.api.Put(podResource, "demo", network, pod)
		r.kubelet.Give("demo", network, nil)
	}
	r.start()
	got, err := r.client().Lookup(t.Context(), lookupOf("demo", "claimed", "uid-claimed"))
	require.NoError(t, err)
	assert.Equal(t, []string{"0000:02:10.2", "0000:01:10.2"}, got.Attachments[0].Devices)
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "unclear", "uid-unclear"))
	refused(t, err, cnierror.Node, "network demo/unclear: request vf of pod demo/unclear is one of left/vf, right/vf")
}

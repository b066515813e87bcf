package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient"
)

func equal(a, b *corev1.Pod) bool { return equality.Semantic.DeepEqual(a, b) }

// nads are the networks of the pods below, in their namespace demo: name, resource, config.
var nads = [][3]string{
	{"bond", "", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`},
	{"counted", "", `{"type": "multibond", "name": "x", "links": [{"count": 2, "resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`},
	{"same", "", `{"type": "multibond", "links": [{"resourceName": "intel.com/a", "count": 1}, {"resourceName": "intel.com/a"}, {"resourceName": "intel.com/a"}]}`},
	{"each", "", `{"type": "multibond", "attach": "each", "links": [{"resourceName": "intel.com/a", "count": 2}], "ipam": [{"type": "static"}, {"type": "dhcp"}]}`},
	{"list", "intel.com/unused", `{"name": "l", "plugins": [
		{"links": [{"resourceName": "intel.com/b"}, {"resourceName": "intel.com/a"}], "type": "multibond"},
		{"type": "tuning", "sysctl": {"a": "}{"}, "links": [{"resourceName": "intel.com/b"}]}]}`},
	{"deviceinfo", "", `{"type": "multibond", "minLinks": 1, "links": [{"deviceID": "0000:3b:02.0"}, {"resourceName": "intel.com/b", "name": "x"}, {"request": "claim/vf"}]}`},
	{"pool", "", `{"type": "multibond", "allow": ["count"], "links": [{"pool": {"names": ["ens*"]}, "count": 2, "config": {"type": "macvlan"}}, {"resourceName": "intel.com/a"}]}`},
	{"of-other", "", `{"type": "multibond", "links": [{"network": "plain"}, {"network": "demo/plain-b", "count": 2}]}`},
	{"of-far", "", `{"type": "multibond", "links": [{"network": "far/plain"}, {"resourceName": "intel.com/b"}]}`},
	{"of-nobody", "", `{"type": "multibond", "links": [{"network": "nobody"}, {"resourceName": "intel.com/b"}]}`},
	{"words", "", `{"type": "multibond", "name": "links", "links": [{"config": {"type": "macvlan", "links": [{"resourceName": "intel.com/a"}], "args": {"cni": {"x": {"y": ["\"resourceName\": \"intel.com/a\""]}}}}},
		{"resourceName": "intel.com/b"}], "args": {"links": [{"resourceName": "intel.com/a"}]}}`},
	{"lines", "", "{\n  \"type\" : \"multibond\",\n  \"links\" :\n\t[\n {\n \"count\" : 2 ,\n\"resourceName\"\t:\t\"intel.com/a\"\n}\n]\n}\n"},
	{"nulls", "", `{"type": "multibond", "links": [{"resourceName": null, "name": "eth1", "count": null}, {"resourceName": "intel.com/a", "pool": null}]}`},
	{"bondcni", "intel.com/a", `{"type": "bond", "links": [{"name": "net1"}, {"name": "net2"}], "linksInContainer": true}`},
	{"plain", "intel.com/a", `{"type": "sriov", "vlan": 5}`},
	{"plain-b", "intel.com/b", `{"plugins": [{"type": "sriov"}, {"type": "tuning"}]}`},
	{"marker", "bridge.network.kubevirt.io/br1", `{"type": "bridge", "bridge": "br1"}`},
	{"nothing", "", `{"type": "macvlan", "links": [{"resourceName": "intel.com/a"}]}`},
	{"dotted.name", "intel.com/c.d-e", `{"type": "host-device"}`},
}

func object(namespace string, nad [3]string) *unstructured.Unstructured {
	metadata := map[string]any{"name": nad[0], "namespace": namespace}
	if nad[1] != "" {
		metadata["annotations"] = map[string]any{kubeclient.ResourceAnnotation: nad[1]}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": metadata, "spec": map[string]any{"config": nad[2]},
	}}
}

// all are the NADs of the pod's namespace.
func all() (out []*unstructured.Unstructured) {
	for _, nad := range nads {
		out = append(out, object("demo", nad))
	}
	return out
}

// resolver finds all NADs, and one of another namespace.
func resolver() kubeclient.Resolver {
	return kubeclient.Resolver{NAD: func(ref types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		i := slices.IndexFunc(nads, func(nad [3]string) bool { return nad[0] == ref.Name })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s", ref)
		}
		return &nettypes.NetworkAttachmentDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: ref.Name, Annotations: map[string]string{kubeclient.ResourceAnnotation: nads[i][1]}},
			Spec:       nettypes.NetworkAttachmentDefinitionSpec{Config: nads[i][2]},
		}, nil
	}}
}

// newPod is a pod of containers that ask for these resources already.
func newPod(networks string, containers ...corev1.ResourceList) *corev1.Pod {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "demo"}}
	if networks != "" {
		p.Annotations = map[string]string{kubeclient.NetworksAnnotation: networks}
	}
	for i, amounts := range containers {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i)}
		c.Resources.Limits, c.Resources.Requests = amounts, amounts.DeepCopy()
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

func amounts(of ...any) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(of); i += 2 {
		out[corev1.ResourceName(of[i].(string))] = *resource.NewQuantity(int64(of[i+1].(int)), resource.DecimalSI)
	}
	return out
}

// held is what the containers of a pod have in all, of resources of devices. Those of an init
// container that ends are used again.
func held(t testing.TB, p *corev1.Pod) map[string]int {
	out := map[string]int{}
	containers := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		assert.True(t, equality.Semantic.DeepEqual(c.Resources.Limits, c.Resources.Requests), "container %s: %v", c.Name, c.Resources)
		for name, quantity := range c.Resources.Limits {
			if name != corev1.ResourceCPU {
				out[string(name)] += int(quantity.Value())
			}
		}
	}
	return out
}

// annotations are in both forms, with all forms of a reference.
var annotations = []string{
	`bond`, `bond@bond0`, `demo/bond`, `demo/bond@bond0`, ` bond @ bond0 , plain `, `bond,bond@x`, `plain,plain,demo/plain@y,plain-b`,
	`counted`, `same`, `each`, `list`, `deviceinfo`, `pool`, `of-other`, `of-other,of-other,plain`, `plain-b,of-other`, `words`, `lines`, `nulls`,
	`bondcni`, `marker`, `nothing`, `dotted.name`, `bond,counted,same,plain,marker,nothing`,
	`[{"name": "bond"}]`, `[{"name": "bond", "interface": "bond0"}, {"name":"bond","namespace":"demo"}]`,
	"[\n{\"interface\": \"x\",\n\"name\" :\t\"plain\"}\n]", `[{"Name": "plain", "NameSpace": "demo"}, {"name": "plain-b", "namespace": ""}]`, `[]`,
	`[{"name": "plain", "namespace": null, "ips": ["10.1.1.1/24"], "mac": "02:00:00:00:00:01"}]`,
	`[{"name": "pool", "cni-args": {"count": 4, "name": "bond", "deep": {"deeper": [{"name": "bond"}, "{\"name\": \"bond\"}"]}}}, {"name": "plain"}]`,
}

// TestInject compares what the policy gives to pods with what the agent counts, for all NADs
// of the namespace, in several orders, for pods that have asked for some of it already.
func TestInject(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	orders := orders(all())
	for _, annotation := range annotations {
		want, err := kubeclient.Resources(types.NamespacedName{Namespace: "demo", Name: "p"}, annotation, resolver())
		require.NoError(t, err, annotation)
		for name, make := range pods {
			for i, order := range orders {
				before := make(annotation)
				after := m.admit(t, before.DeepCopy(), order)
				had := held(t, before)
				for r, n := range want {
					had[r] = max(had[r], n)
				}
				require.Equal(t, had, held(t, after), "%s, %s, order %d: %s", annotation, name, i, after.Annotations)
				require.Equal(t, after, m.admit(t, after.DeepCopy(), orders[(i+1)%len(orders)]), "%s, %s: again", annotation, name)
			}
		}
	}
}

// TestInjectLikeWebhook: the webhook gives each pod what the policy gives it. Neither adds
// anything after the other.
func TestInjectLikeWebhook(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	pods := maps.Clone(pods)
	pods["asks for a half"] = func(networks string) *corev1.Pod {
		return newPod(networks, nil, corev1.ResourceList{"intel.com/a": resource.MustParse("500m")})
	}
	for _, annotation := range slices.Concat(annotations, []string{"bond,nobody", "nobody,plain-b", "bond,of-nobody"}) {
		for name, make := range pods {
			policy, webhook := m.admit(t, make(annotation), all()), reviewed(t, make(annotation))
			assert.Equal(t, policy.Spec, webhook.Spec, "%s, %s", annotation, name)
			assert.Equal(t, policy, reviewed(t, policy.DeepCopy()), "%s, %s: after the policy", annotation, name)
			assert.Equal(t, webhook.Spec, m.admit(t, webhook.DeepCopy(), all()).Spec, "%s, %s: after the webhook", annotation, name)
		}
	}
}

// reviewed is a pod after the webhook.
func reviewed(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	raw, err := json.Marshal(pod)
	require.NoError(t, err)
	r := kubeclient.Reviewer{
		NAD: func(_ context.Context, ref types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
			return resolver().NAD(ref)
		},
		Cluster:  func() (c agentapi.Cluster) { return c },
		WarnPods: true, // some of the networks are odd
	}
	if patch := r.ReviewPod(t.Context(), raw, "demo").Patch; patch != nil {
		text, err := json.Marshal(patch)
		require.NoError(t, err)
		operations, err := jsonpatch.DecodePatch(text)
		require.NoError(t, err)
		raw, err = operations.Apply(raw)
		require.NoError(t, err)
	}
	out := &corev1.Pod{}
	require.NoError(t, json.Unmarshal(raw, out))
	return out
}

// orders are some of the orders of a list: as it is, backwards, and from its middle.
func orders[T any](list []T) [][]T {
	back := slices.Clone(list)
	slices.Reverse(back)
	return [][]T{list, back, slices.Concat(list[len(list)/2:], list[:len(list)/2])}
}

// pods have asked for something already, or not.
var pods = map[string]func(networks string) *corev1.Pod{
	"asks for nothing": func(networks string) *corev1.Pod { return newPod(networks, nil) },
	"asks for CPUs":    func(networks string) *corev1.Pod { return newPod(networks, amounts("cpu", 2), nil) },
	"asks for one":     func(networks string) *corev1.Pod { return newPod(networks, amounts("intel.com/a", 1)) },
	"asks for all": func(networks string) *corev1.Pod {
		return newPod(networks, nil, amounts("intel.com/a", 40, "intel.com/b", 40))
	},
	"asks in two": func(networks string) *corev1.Pod {
		return newPod(networks, nil, amounts("intel.com/a", 1), amounts("intel.com/a", 1))
	},
	"asks in an init container": func(networks string) *corev1.Pod {
		p := newPod(networks, nil)
		p.Spec.InitContainers = newPod("", amounts("intel.com/a", 1)).Spec.Containers
		return p
	},
	"asks in a sidecar": func(networks string) *corev1.Pod {
		p := newPod(networks, nil)
		p.Spec.InitContainers = newPod("", amounts("intel.com/a", 1)).Spec.Containers
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers[0].RestartPolicy = &always
		return p
	},
}

// TestInjectUntouched has pods that the policy leaves as they are.
func TestInjectUntouched(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	host, static := newPod("bond", nil), newPod("bond", nil)
	host.Spec.HostNetwork = true
	static.Annotations[corev1.MirrorPodAnnotationKey] = "x"
	for name, pod := range map[string]*corev1.Pod{
		"no annotation": newPod("", nil), "another annotation": {ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": "b"}}, Spec: newPod("", nil).Spec},
		"on the host's network": host, "static": static, "no such network": newPod("nosuch, other/bond, bon, bond2", nil),
		"not a list": newPod(`{"name": "bond"}`, nil), "half a list": newPod(`[{"name": "bond"}`, nil), "nested too deep": newPod(`[{"name": "bond", "cni-args": `+nested(9)+`}]`, nil),
		"another namespace": newPod(`[{"name": "bond", "namespace": "other"}]`, nil),
	} {
		assert.Equal(t, pod, m.admit(t, pod.DeepCopy(), all()), name)
	}
}

// TestInjectOtherNamespaces has pods with networks of a namespace that another binding adds.
func TestInjectOtherNamespaces(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	both := all()
	for _, nad := range nads {
		both = append(both, object("far", nad))
	}
	for _, annotation := range []string{
		"far/bond", "far/bond,bond", `[{"name": "bond", "namespace": "far"}, {"name": "plain"}]`, "of-far", "far/of-other", "far/of-other,of-other,far/plain,plain", "far/nothing",
	} {
		want, err := kubeclient.Resources(types.NamespacedName{Namespace: "demo", Name: "p"}, annotation, resolver())
		require.NoError(t, err)
		for _, order := range orders(both) {
			after := m.admit(t, newPod(annotation, nil), order)
			require.Equal(t, want, held(t, after), "%s: %s", annotation, after.Annotations)
			require.Equal(t, after, m.admit(t, after.DeepCopy(), both), "%s: again", annotation)
		}
	}
}

// nested returns an object that has objects within it, down to so many levels.
func nested(levels int) string {
	return strings.Repeat(`{"x": `, levels) + "1" + strings.Repeat("}", levels)
}

// TestInjectUnseen has networks of which the policy sees a part, or not as JSON. What it cannot
// see is missing, and is reported when the network is attached.
func TestInjectUnseen(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	for _, test := range []struct {
		nad  [3]string
		want map[string]int
	}{
		{[3]string{"n", "", `{"type": "multibond", "links": [{"network": "far/plain"}, {"resourceName": "intel.com/b"}]}`}, map[string]int{"intel.com/b": 1}},
		{[3]string{"n", "", `{"type": "multibond", "links": [{"resourceName": "intel.com/b", "config": ` + nested(9) + `}]}`}, map[string]int{}},
		{[3]string{"n", "intel.com/a", `{"type": "multibond", "args": ` + nested(9) + `}`}, map[string]int{}},
		{[3]string{"n", "intel.com/a", `{"type": "sriov", "args": ` + nested(9) + `}`}, map[string]int{"intel.com/a": 1}},
		{[3]string{"n", "intel.com/a", ``}, map[string]int{"intel.com/a": 1}}, // a file of the node has its configuration
		{[3]string{"n", "intel.com/a", `{"type": "sriov"`}, map[string]int{"intel.com/a": 1}},
		{[3]string{"n", "no resource", `{"type": "sriov"}`}, map[string]int{}},
		{[3]string{"n", "cpu", `{"type": "sriov"}`}, map[string]int{}},
		{[3]string{"n", "", `{"type": "multibond", "links": [{"resourceName": "no resource"}, {"resourceName": "memory"}, {"resourceName": "x/y\"}"}]}`}, map[string]int{}},
	} {
		after := m.admit(t, newPod("n", nil), []*unstructured.Unstructured{object("demo", test.nad)})
		assert.Equal(t, test.want, held(t, after), test.nad)
	}
	bare := object("demo", [3]string{"n", "intel.com/a", ""})
	delete(bare.Object, "spec")
	assert.Equal(t, map[string]int{"intel.com/a": 1}, held(t, m.admit(t, newPod("n", nil), []*unstructured.Unstructured{bare})), "without a spec")
}

// TestInjectCopied has pods that were made from another one, with what was noted in it.
func TestInjectCopied(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	first := m.admit(t, newPod("bond,plain,of-other", nil), all())
	assert.Equal(t, first, m.admit(t, first.DeepCopy(), all()), "the same again")
	bare := newPod("bond,plain,of-other", nil)
	bare.Annotations = first.Annotations
	assert.Equal(t, held(t, first), held(t, m.admit(t, bare, all())), "only its annotations")
	other := newPod("dotted.name", nil)
	other.Annotations["multibond.io/resources"] = first.Annotations["multibond.io/resources"]
	assert.Equal(t, map[string]int{"intel.com/c.d-e": 1}, held(t, m.admit(t, other, all())), "another network")
	strange := newPod("plain", nil)
	strange.Annotations["multibond.io/resources"] = "what is this? a:b=c plain:intel.com/a=7"
	assert.Equal(t, map[string]int{"intel.com/a": 1}, held(t, m.admit(t, strange, all())), "what others wrote")
}

// TestInjectBesideInjector does what the network-resources-injector does, a webhook that the API
// server calls after the policies: in the first container it sets each resource that NADs name by
// annotation to the number of references to these. The policy is then evaluated again.
func TestInjectBesideInjector(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	for _, annotation := range annotations {
		want, err := kubeclient.Resources(types.NamespacedName{Namespace: "demo", Name: "p"}, annotation, resolver())
		require.NoError(t, err)
		elements, err := kubeclient.ParseNetworks(annotation, "demo", []string{"eth0"})
		require.NoError(t, err)
		sets := map[string]int{}
		for _, e := range elements {
			i := slices.IndexFunc(nads, func(nad [3]string) bool { return nad[0] == e.Network.Name })
			if resource := nads[i][1]; resource != "" {
				sets[resource]++
			}
		}
		pod := m.admit(t, newPod(annotation, nil), all())
		for resource, n := range sets {
			setFirst(pod, resource, n)
			want[resource] = max(want[resource], n) // of a bond: Multibond itself asks for none
		}
		assert.Equal(t, want, held(t, m.admit(t, pod, all())), annotation)
	}
}

func setFirst(p *corev1.Pod, name string, n int) {
	c := &p.Spec.Containers[0].Resources
	for _, list := range []*corev1.ResourceList{&c.Limits, &c.Requests} {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[corev1.ResourceName(name)] = *resource.NewQuantity(int64(n), resource.DecimalSI)
	}
}

// TestInjectCost checks that the largest things that a pod and a NAD are likely to have are well
// below the API server's limits.
func TestInjectCost(t *testing.T) {
	m := newMutator(t, onlyMutating(t, injectFile))
	var links, refs []string
	for i := range 32 {
		links = append(links, fmt.Sprintf(`{"resourceName": "intel.com/sriov_pf%d", "config": {"plugins": [{"type": "sriov", "args": {"cni": {"x": "%040d"}}}]}}`, i, i))
		refs = append(refs, fmt.Sprintf(`{"name": "bond-%d", "interface": "bond%d", "ips": ["10.56.217.%d/24"], "mac": "02:00:00:00:00:%02x", "cni-args": {"x": {"y": "%040d"}}}`, i, i, i, i, i))
	}
	large := object("demo", [3]string{"bond-7", "", `{"type": "multibond", "links": [` + strings.Join(links, ", ") + `]}`})
	pod := newPod("["+strings.Join(refs, ", ")+"]", nil)
	cost := m.cost(t, pod, large)
	t.Logf("an annotation of %d bytes, a configuration of %d: %d of %d", len(pod.Annotations[kubeclient.NetworksAnnotation]), len(large.Object["spec"].(map[string]any)["config"].(string)), cost, celconfig.RuntimeCELCostBudget)
	assert.Less(t, cost, int64(celconfig.RuntimeCELCostBudget)/4)
	assert.Len(t, held(t, m.mutate(t, pod, large)), 32)
	usual := m.cost(t, newPod("bond@bond0", nil), all()[0])
	other := m.cost(t, newPod("bond@bond0", nil), all()[3])
	t.Logf("the usual: %d; for a NAD that the pod does not name: %d", usual, other)
}

// BenchmarkInject is what a pod's creation takes longer in a namespace of 18 NADs.
func BenchmarkInject(b *testing.B) {
	m := newMutator(b, onlyMutating(b, injectFile))
	for name, networks := range map[string]string{"one bond": "bond@bond0", "three bonds": "bond,counted,list", "no annotation": ""} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				m.admit(b, newPod(networks, nil), all())
			}
		})
	}
}

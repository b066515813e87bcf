package kubeclient

import (
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
)

// judgeOf has NADs of the namespace demo. Those of other namespaces cannot be seen.
func judgeOf(configs map[string]string) Judge {
	return Judge{NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		config, there := configs[name.Name]
		switch {
		case name.Namespace != "demo":
			return nil, ErrUnseen
		case !there:
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: nadResource}, name.Name)
		}
		return &nettypes.NetworkAttachmentDefinition{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Spec: nettypes.NetworkAttachmentDefinitionSpec{Config: config}}, nil
	}}
}

func judgedPod(annotation string, limits map[string]string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "p", Annotations: map[string]string{NetworksAnnotation: annotation}}}
	list := corev1.ResourceList{}
	for name, count := range limits {
		list[corev1.ResourceName(name)] = resource.MustParse(count)
	}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{Limits: list}}}
	return pod
}

// TestJudge: what ADD finds wrong on every node is found without one.
func TestJudge(t *testing.T) {
	const links = `"links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]`
	j := judgeOf(map[string]string{
		"right":   `{"type": "multibond", "name": "n", ` + links + `}`,
		"each":    `{"type": "multibond", "name": "n", "attach": "each", ` + links + `, "ipam": {"type": "multibond", "subnet": "10.0.0.0/16", "hostBlock": 6, "interfaceBlock": 1}}`,
		"lacp":    `{"type": "multibond", "name": "n", "mode": "802.3ad", ` + links + `}`,
		"pool":    `{"type": "multibond", "name": "n", "links": [{"pool": {"vendor": "15b3"}, "count": 2, "config": {"type": "host-device"}}]}`,
		"claims":  `{"type": "multibond", "name": "n", "links": [{"request": "vf", "count": 2}]}`,
		"shared":  `{"type": "multibond", "name": "n", "macPolicy": "shared", ` + links + `}`,
		"near":    `{"type": "multibond", "name": "n", "near": "devices", ` + links + `}`,
		"hosts":   `{"type": "multibond", "name": "n", "links": [{"name": "ens1"}, {"name": "ens2"}]}`,
		"inpod":   `{"type": "bond", "name": "n", "mode": "active-backup", "miimon": "100", "failOverMac": 1, "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`,
		"plain":   `{"type": "macvlan", "name": "n"}`,
		"of":      `{"type": "multibond", "name": "n", "links": [{"network": "plain"}, {"network": "other/unseen"}]}`,
		"missing": `{"type": "multibond", "name": "n", "links": [{"network": "nobody"}, {"network": "plain"}]}`,
		"empty":   ``,
		"garbage": `{`,
	})
	for name, want := range map[string][]code.Code{
		"lacp": {code.LACPOverVFs}, "missing": {code.NoNAD}, "garbage": {code.NotJSON},
		"right": nil, "each": nil, "pool": nil, "claims": nil, "shared": nil, "near": nil, "hosts": nil, "inpod": nil, "plain": nil, "of": nil, "empty": nil,
	} {
		nad, err := j.NAD(types.NamespacedName{Namespace: "demo", Name: name})
		require.NoError(t, err)
		one := j.One(nad)
		assert.Equal(t, want, code.Of(one.Err), "%s: %v", name, one.Err)
		assert.Empty(t, one.Warnings, name)
		assert.Equal(t, name == "empty", one.Unseen)
	}

	two := map[string]string{"intel.com/a": "1", "intel.com/b": "1"}
	for _, test := range []struct {
		annotation string
		limits     map[string]string
		enough     bool
		want       []code.Code
	}{
		{"right@bond0", two, false, nil},
		{"right@bond0", nil, false, []code.Code{code.FewDevices}},
		{"right@bond0", nil, true, nil},
		{"right, right", map[string]string{"intel.com/a": "2", "intel.com/b": "1"}, false, []code.Code{code.FewDevices}},
		{"claims", nil, false, []code.Code{code.FewDevices}},
		{"claims", nil, true, nil},
		{"lacp", two, false, []code.Code{code.LACPOverVFs}},
		{"nobody", nil, false, []code.Code{code.NoNAD}},
		{"other/unseen, of, plain, pool", nil, false, nil},
		{"right@much-too-long-a-name", two, false, []code.Code{code.BadInterface}},
		{`[{"name": "each", "default-route": []}]`, two, false, []code.Code{code.EachDefaultRoute}},
	} {
		all, err := j.Pod(judgedPod(test.annotation, test.limits), test.enough)
		codes := code.Of(err)
		for _, one := range all {
			codes = append(codes, code.Of(one.Err)...)
		}
		assert.Equal(t, test.want, codes, "%s: %v", test.annotation, err)
	}
}

// TestJudgeCluster: the cluster's configuration holds for pods: isolation, networks of every
// pod, which can be files of nodes, and what is an error if it is strict.
func TestJudgeCluster(t *testing.T) {
	j := judgeOf(map[string]string{"plain": `{"type": "macvlan"}`})
	j.Cluster = agentapi.Cluster{Isolated: true, Strict: true, Network: "main", Defaults: []string{"file"}, Namespace: "demo"}
	_, err := j.Pod(judgedPod("other/x", nil), false)
	assert.Equal(t, []code.Code{code.Isolated}, code.Of(err))
	all, err := j.Pod(judgedPod(`[{"name": "plain", "bandwidth": {"ingressRate": 1000}}]`, nil), false)
	require.NoError(t, err)
	require.Len(t, all, 3)
	assert.Equal(t, []code.Code{code.NoCapability}, code.Of(all[2].Err))
}

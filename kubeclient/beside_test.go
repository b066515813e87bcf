package kubeclient

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// besideNADs are those of the cluster and more.
var besideNADs = func() map[string]string {
	all := maps.Clone(cluster)
	all["demo/counted"] = `intel.com/a {"type":"multibond","links":[{"resourceName":"intel.com/a","count":2}]}`
	all["demo/broken"] = `intel.com/a {"plugins":7}`
	all["demo/three"] = `{"type":"multibond","links":[{"resourceName":"intel.com/a"},{"resourceName":"intel.com/a"},{"resourceName":"intel.com/a"}],"minLinks":2}`
	return all
}()

// beside resolves the network of one interface of a pod with an annotation.
func beside(t *testing.T, r Resolver, annotations map[string]string, ifName string, containers ...Container) ([]string, error) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "p", Annotations: annotations}}
	networks, err := networksOf(pod, agentapi.Lookup{Secondary: true, IfName: ifName})
	if err != nil {
		return nil, err
	}
	one, err := Beside(named("demo", "p"), networks, ifName, r, Node{Containers: gives(containers...), PF: letterPF, InfoFile: func(Element) string { return "" }})
	return one.Devices, err
}

func networks(annotation string) map[string]string {
	return map[string]string{NetworksAnnotation: annotation}
}

// TestBeside: no bond gets a device that Multus gives to a network of its own, whichever of
// them comes first.
func TestBeside(t *testing.T) {
	a := func(devices ...string) Container { return has("intel.com/a", devices...) }
	for _, test := range []struct {
		name        string
		annotations map[string]string
		containers  []Container
		want        map[string]string // by interface
	}{
		{"a bond before a network", networks("pair@bond0,vf@net2"), []Container{a("d3", "b2", "c1")}, map[string]string{"bond0": "[c1 d3]"}},
		{"and after it", networks("vf@net1,pair@bond0"), []Container{a("d3", "b2", "c1")}, map[string]string{"bond0": "[c1 d3]"}},
		{"between two", networks("vf,pair@bond0,vf"), []Container{a("d4", "c3", "b2", "a1")}, map[string]string{"bond0": "[c3 d4]"}},
		{"two bonds", networks("pair@bond0,vf,pair@bond1"), []Container{a("a1", "b1", "b2", "c1", "c2")}, map[string]string{"bond0": "[b1 c1]", "bond1": "[b2 c2]"}},
		{"a bond whose NAD names the resource", networks("counted@bond0,vf@net2"), []Container{a("a1", "b2", "c3")}, map[string]string{"bond0": "[a1 c3]"}},
		{"Multus sorts the devices of all containers", networks("vf,pair@bond0"), []Container{a("d1", "c1"), a("a1")}, map[string]string{"bond0": "[c1 d1]"}},
		{"more networks than devices", networks("vf,vf,vf,bond-net1@bond0"), []Container{a("a1", "a2", "a3", "a4"), has("intel.com/b", "b1")}, map[string]string{"bond0": "[a4 b1]"}},
		{"the network that a pod asks for in place of the default one", map[string]string{DefaultNetworkAnnotation: "demo/vf", NetworksAnnotation: "vf,pair@bond0"},
			[]Container{a("a1", "b2", "c3")}, map[string]string{"bond0": "[b2 c3]"}},
		{"devices that the pod names", networks(`[{"name": "lan", "deviceID": "b2"}, {"name": "pair", "interface": "bond0"}]`), []Container{a("a1", "b2", "c3")}, map[string]string{"bond0": "[a1 c3]"}},
		{"fewer links than wanted", networks("three@bond0,vf"), []Container{a("a1", "b2", "c3")}, map[string]string{"bond0": "[b2 c3]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for ifName, want := range test.want {
				got, err := beside(t, Resolver{NAD: nads(besideNADs)}, test.annotations, ifName, test.containers...)
				require.NoError(t, err, ifName)
				assert.Equal(t, want, fmt.Sprint(got), ifName)
			}
		})
	}
	_, err := beside(t, Resolver{NAD: nads(besideNADs)}, networks("pair@bond0,vf"), "bond0", a("a1", "a2"))
	assert.EqualError(t, err, "network demo/pair needs 2 x intel.com/a, pod demo/p has 2 (a1, a2), of which other networks take 1 (request 3 x intel.com/a in resources.limits of its containers)")
	assert.Equal(t, uint(cnierror.Node), cnierror.Code(err))
}

// TestBesideOthers: what is wrong or unusual with another network of the pod does not keep
// the bond from being attached. Its device stays its own.
func TestBesideOthers(t *testing.T) {
	tooLarge := errors.New("spec.config: has 200000 bytes, want at most 131072")
	away := cnierror.With(cnitypes.ErrTryAgainLater, errors.New("the API server is away"))
	r := Resolver{NAD: func(ref types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		switch ref.Name {
		case "large":
			nad := &nettypes.NetworkAttachmentDefinition{}
			nad.Annotations = map[string]string{ResourceAnnotation: "intel.com/a"}
			return nad, tooLarge
		case "away":
			return nil, away
		}
		return nads(besideNADs)(ref)
	}}
	devices := has("intel.com/a", "a1", "b2", "c3")
	for name, test := range map[string]struct{ other, want string }{
		"a configuration that is too large":  {`{"name": "large"}`, "[b2 c3]"},
		"a configuration that is none":       {`{"name": "broken"}`, "[b2 c3]"},
		"a bond with a device":               {`{"name": "counted", "deviceID": "x9"}`, "[b2 c3]"},
		"no such NAD":                        {`{"name": "nothing"}`, "[a1 b2]"},
		"a name that no NAD has":             {`{"name": "No_Name"}`, "[a1 b2]"},
		"not even an object":                 {`7`, "[a1 b2]"},
		"a value that we refuse":             {`{"name": "vf", "mac": 7}`, "[b2 c3]"},
		"a capability that nothing supports": {`{"name": "vf", "bandwidth": {"ingressRate": 1}}`, "[b2 c3]"},
		"another default route":              {`{"name": "vf", "default-route": ["nowhere"]}`, "[b2 c3]"},
	} {
		for _, annotation := range []string{
			`[` + test.other + `, {"name": "pair", "interface": "bond0"}]`,
			`[{"name": "pair", "interface": "bond0"}, ` + test.other + `]`,
		} {
			annotations := map[string]string{DefaultNetworkAnnotation: "two, networks", NetworksAnnotation: annotation}
			got, err := beside(t, r, annotations, "bond0", devices)
			require.NoError(t, err, "%s: %s", name, annotation)
			assert.Equal(t, test.want, fmt.Sprint(got), "%s: %s", name, annotation)
		}
	}
	for annotation, want := range map[string]string{
		`away,pair@bond0`: "networks[0]: network demo/away: the API server is away",
		`vf,large@bond0`:  "networks[1]: network demo/large: " + tooLarge.Error(),
		`[{"name": "vf"}, {"name": "pair", "interface": "bond0", "mac": 7}]`: "networks[1].mac: ",
		`vf@bond0,pair@bond0`: "networks[1].interface: is bond0, which is also the name of networks[0]",
		`[{"name":`:           "networks: is not valid JSON",
	} {
		_, err := beside(t, r, networks(annotation), "bond0", devices)
		assert.ErrorContains(t, err, want, annotation)
	}
}

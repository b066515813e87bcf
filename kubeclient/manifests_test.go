package kubeclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	klabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// manifests is the folder that an administrator applies. It is tested here as far as
// that is possible without a cluster.
const manifests = "../deploy"

// objectKinds are the types as which objects are read, strictly.
var objectKinds = map[string]func() any{
	"Namespace": func() any { return &corev1.Namespace{} }, "ServiceAccount": func() any { return &corev1.ServiceAccount{} },
	"ConfigMap": func() any { return &corev1.ConfigMap{} }, "Pod": func() any { return &corev1.Pod{} },
	"ClusterRole": func() any { return &rbacv1.ClusterRole{} }, "ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
	"DaemonSet":                        func() any { return &appsv1.DaemonSet{} },
	"Deployment":                       func() any { return &appsv1.Deployment{} },
	"Service":                          func() any { return &corev1.Service{} },
	"PodDisruptionBudget":              func() any { return &policyv1.PodDisruptionBudget{} },
	"ValidatingWebhookConfiguration":   func() any { return &admissionv1.ValidatingWebhookConfiguration{} },
	"MutatingWebhookConfiguration":     func() any { return &admissionv1.MutatingWebhookConfiguration{} },
	"ValidatingAdmissionPolicy":        func() any { return &admissionv1.ValidatingAdmissionPolicy{} },
	"ValidatingAdmissionPolicyBinding": func() any { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
	"MutatingAdmissionPolicy":          func() any { return &admissionv1.MutatingAdmissionPolicy{} },
	"MutatingAdmissionPolicyBinding":   func() any { return &admissionv1.MutatingAdmissionPolicyBinding{} },
	"Role":                             func() any { return &rbacv1.Role{} },
	"RoleBinding":                      func() any { return &rbacv1.RoleBinding{} },
	"SecurityContextConstraints":       func() any { return &map[string]any{} },
	"CustomResourceDefinition":         func() any { return &map[string]any{} },
	"NetworkAttachmentDefinition":      func() any { return &map[string]any{} },
	"Secret":                           func() any { return &corev1.Secret{} },
	"ResourceClaimTemplate":            func() any { return &resourcev1.ResourceClaimTemplate{} },
	"PodMonitor":                       func() any { return &map[string]any{} }, // tests/monitoring reads them strictly
	"PrometheusRule":                   func() any { return &map[string]any{} },
	"FlowSchema":                       func() any { return &flowcontrolv1.FlowSchema{} },
	"SriovNetworkNodePolicy":           func() any { return &sriovPolicy{} },
	"SriovNetwork":                     func() any { return &sriovNetwork{} },
}

// objects returns all objects of a file.
func objects(t *testing.T, file string) []any {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return decode(t, text, file)
}

// decode returns all objects of a text.
func decode(t *testing.T, text []byte, file string) (out []any) {
	t.Helper()
	for part := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var head struct{ Kind string }
		require.NoError(t, yaml.Unmarshal(part, &head), file)
		require.Contains(t, objectKinds, head.Kind, file)
		object := objectKinds[head.Kind]()
		assert.NoError(t, yaml.UnmarshalStrict(part, object), file)
		out = append(out, object)
	}
	return out
}

// onlyObject returns the object of type T of a file.
func onlyObject[T any](t *testing.T, file string) T {
	t.Helper()
	all := objects(t, file)
	i := slices.IndexFunc(all, func(o any) bool { _, is := o.(T); return is })
	require.GreaterOrEqual(t, i, 0, "%s has none", file)
	return all[i].(T)
}

// TestFiles checks that every file has only known fields, and that the kustomization
// of its folder names it.
func TestFiles(t *testing.T) {
	t.Chdir(manifests)
	for _, dir := range []string{".", "dra", "inject", "monitoring", "monitoring/metrics", "validate", "webhook"} {
		text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
		require.NoError(t, err)
		var k struct{ Resources []string }
		require.NoError(t, yaml.Unmarshal(text, &k))
		var files []string
		all, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
		for _, file := range all {
			if filepath.Base(file) != "kustomization.yaml" {
				files = append(files, filepath.Base(file))
				objects(t, file)
			}
		}
		slices.Sort(k.Resources)
		assert.Equal(t, files, k.Resources, "the resources of %s", dir)
	}
}

// TestRights lists everything that the agent may do.
func TestRights(t *testing.T) {
	t.Chdir(manifests)
	var got []string
	rules := append(onlyObject[*rbacv1.ClusterRole](t, "rbac.yaml").Rules, onlyObject[*rbacv1.Role](t, "rbac.yaml").Rules...)
	for _, r := range rules {
		got = append(got, strings.Join(r.APIGroups, ",")+" "+strings.Join(r.Resources, ",")+" "+strings.Join(r.Verbs, ","))
	}
	want := []string{"k8s.cni.cncf.io network-attachment-definitions get,list,watch", " pods get,list,watch", " pods/status patch", " events create", "coordination.k8s.io leases list,watch,create,patch"}
	assert.Equal(t, want, got)
}

// TestPowers checks that containers get nothing of the node except their mounts.
func TestPowers(t *testing.T) {
	for _, settings := range []string{"", "components: [../deploy/uninstall]"} {
		spec := all[*appsv1.DaemonSet](render(t, settings))[0].Spec.Template.Spec
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			s := c.SecurityContext
			where := "container " + c.Name
			assert.False(t, *s.Privileged, where)
			assert.False(t, *s.AllowPrivilegeEscalation, where)
			assert.True(t, *s.ReadOnlyRootFilesystem, where)
			want := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
			if c.Name == "install" || c.Name == "uninstall" {
				want.Add = []corev1.Capability{"DAC_OVERRIDE"} // for directories of other users
			}
			assert.Equal(t, want, s.Capabilities, where)
			assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, s.SeccompProfile.Type, where)
		}
	}
}

// TestMounts lists everything that containers reach of the node and of the API. Only the
// agent has a token, and nobody has the directory in which device plugins register.
func TestMounts(t *testing.T) {
	got := map[string]string{}
	for _, settings := range []string{"", "components: [../deploy/uninstall]"} {
		spec := all[*appsv1.DaemonSet](render(t, settings))[0].Spec.Template.Spec
		require.NotNil(t, spec.AutomountServiceAccountToken)
		assert.False(t, *spec.AutomountServiceAccountToken, "every container would have the token")
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			got[c.Name] = mountsOf(t, spec, c)
		}
	}
	want := map[string]string{
		"install": "cluster:ro /opt/cni/bin /etc/cni/net.d",
		"agent": "cluster:ro token:ro /run/multibond /var/lib/kubelet/pod-resources:ro /sys:ro /etc/cni/net.d:ro " +
			"/opt/cni/bin:ro /var/lib/cni/multibond:ro /var/run/k8s.cni.cncf.io/devinfo:ro",
		"uninstall": "begun /var/lib/cni/multibond:ro cluster:ro /opt/cni/bin /etc/cni/net.d",
	}
	assert.Equal(t, want, got)
}

// mountsOf returns the volumes that a container mounts: the node's path, or the name of
// a volume that is not the node's.
func mountsOf(t *testing.T, spec corev1.PodSpec, c corev1.Container) string {
	t.Helper()
	var out []string
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		require.GreaterOrEqual(t, i, 0, "there is no volume %s", m.Name)
		one := m.Name
		if p := spec.Volumes[i].HostPath; p != nil {
			one = p.Path
		}
		if m.ReadOnly {
			one += ":ro"
		}
		out = append(out, one)
	}
	return strings.Join(out, " ")
}

// TestCheckpointComponent checks that the component gives the checkpoint to the agent, and
// nothing to another container.
func TestCheckpointComponent(t *testing.T) {
	t.Chdir(manifests)
	text, err := os.ReadFile("checkpoint/kustomization.yaml")
	require.NoError(t, err)
	var k struct{ Patches []struct{ Patch string } }
	require.NoError(t, yaml.Unmarshal(text, &k))
	require.Len(t, k.Patches, 1)
	var patch appsv1.DaemonSet
	require.NoError(t, yaml.UnmarshalStrict([]byte(k.Patches[0].Patch), &patch))
	spec := patch.Spec.Template.Spec
	require.Len(t, spec.Containers, 1)
	assert.Equal(t, "agent", spec.Containers[0].Name)
	assert.Equal(t, "/var/lib/kubelet/device-plugins:ro", mountsOf(t, spec, spec.Containers[0]))
}

// TestRollout checks that no node is without an agent while agents are replaced: two can run
// beside each other, and nothing but the new agent's readiness ends the old one.
func TestRollout(t *testing.T) {
	t.Chdir(manifests)
	set := onlyObject[*appsv1.DaemonSet](t, "daemonset.yaml").Spec
	assert.Equal(t, "0", set.UpdateStrategy.RollingUpdate.MaxUnavailable.String())
	assert.NotEqual(t, "0", set.UpdateStrategy.RollingUpdate.MaxSurge.String())
	for _, c := range set.Template.Spec.Containers {
		assert.Empty(t, c.Ports, "the scheduler would not place two agents on a node")
		assert.Nil(t, c.LivenessProbe, "the port may be another program's")
	}
}

// TestImagesAreTagged checks that no manifest names an image that a node may have in another
// version already: applying it again would change nothing.
func TestImagesAreTagged(t *testing.T) {
	t.Chdir(manifests)
	spec := onlyObject[*appsv1.DaemonSet](t, "daemonset.yaml").Spec.Template.Spec
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		_, tag, _ := strings.Cut(c.Image, ":")
		assert.NotContains(t, []string{"", "latest"}, tag, c.Name)
	}
}

// TestPlacement checks that what runs on each node is kept off those that it cannot run on: a
// release has an image for two architectures, and make image for one.
func TestPlacement(t *testing.T) {
	const arch = "kubernetes.io/arch"
	everything := "components: [../deploy/keep, ../deploy/monitoring"
	for _, test := range []struct {
		settings string
		labels   klabels.Set
		want     bool
	}{
		{everything + "]", klabels.Set{arch: "amd64"}, true},
		{everything + "]", klabels.Set{arch: "arm64"}, true},
		{everything + "]", klabels.Set{arch: "s390x"}, false},
		{everything + "]", klabels.Set{arch: "amd64", "type": "virtual-kubelet"}, false},
		{everything + "]", klabels.Set{arch: "amd64", "eks.amazonaws.com/compute-type": "fargate"}, false},
		{everything + ", ../deploy/without/arm64]", klabels.Set{arch: "amd64"}, true},
		{everything + ", ../deploy/without/arm64]", klabels.Set{arch: "arm64"}, false},
		{everything + ", ../deploy/without/amd64]", klabels.Set{arch: "amd64"}, false},
		{everything + ", ../deploy/without/amd64]", klabels.Set{arch: "arm64"}, true},
	} {
		sets := all[*appsv1.DaemonSet](render(t, test.settings))
		require.Len(t, sets, 3)
		for _, set := range sets {
			assert.Equal(t, test.want, placement(t, set).Matches(test.labels), "%s: %s: %s", test.settings, set.Name, test.labels)
		}
	}
}

// placement selects the nodes that a DaemonSet's pods may run on.
func placement(t *testing.T, set *appsv1.DaemonSet) klabels.Selector {
	t.Helper()
	operators := map[corev1.NodeSelectorOperator]selection.Operator{corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn}
	selector := klabels.NewSelector()
	terms := set.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	require.Len(t, terms, 1, "nodes need to match one term only")
	for _, e := range terms[0].MatchExpressions {
		one, err := klabels.NewRequirement(e.Key, operators[e.Operator], e.Values)
		require.NoError(t, err)
		selector = selector.Add(*one)
	}
	return selector
}

// TestClusterConfig checks that the plugin accepts what the runtime passes to it.
func TestClusterConfig(t *testing.T) {
	t.Chdir(manifests)
	assert.Empty(t, clusterOf(t, onlyObject[*corev1.ConfigMap](t, "config.yaml")).Warnings)
}

// clusterOf returns the configuration that the plugin gets from the runtime.
func clusterOf(t *testing.T, m *corev1.ConfigMap) netconf.Cluster {
	t.Helper()
	var list struct {
		Name, CNIVersion string
		Plugins          []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(m.Data["00-multibond.conflist"]), &list))
	list.Plugins[0]["name"], list.Plugins[0]["cniVersion"] = list.Name, list.CNIVersion
	c, err := netconf.ParseCluster(strictjson.Encode(list.Plugins[0]))
	require.NoError(t, err)
	return c
}

// TestDRAExample: the links of the example name requests of the pod's claim, whose constraints
// are about attributes that Kubernetes defines (KEP-4381, KEP-6072).
func TestDRAExample(t *testing.T) {
	t.Chdir(manifests)
	const file = "examples/dra.yaml"
	requests := func(template *resourcev1.ResourceClaimTemplate) (names []string) {
		for _, r := range template.Spec.Spec.Devices.Requests {
			names = append(names, r.Name)
		}
		return names
	}
	for _, object := range objects(t, file) {
		template, is := object.(*resourcev1.ResourceClaimTemplate)
		if !is {
			continue
		}
		assert.NotEmpty(t, template.Spec.Spec.Devices.Constraints, template.Name)
		for _, c := range template.Spec.Spec.Devices.Constraints {
			assert.Subset(t, requests(template), c.Requests, template.Name)
			assert.Contains(t, []resourcev1.FullyQualifiedName{"resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"}, *c.MatchAttribute)
		}
	}
	pod, template := onlyObject[*corev1.Pod](t, file), onlyObject[*resourcev1.ResourceClaimTemplate](t, file)
	claim := pod.Spec.ResourceClaims[0]
	assert.Equal(t, template.Name, *claim.ResourceClaimTemplateName)
	nad := *onlyObject[*map[string]any](t, file)
	assert.Equal(t, nad["metadata"].(map[string]any)["name"], pod.Annotations[NetworksAnnotation])
	var config struct{ Links []struct{ Request string } }
	require.NoError(t, json.Unmarshal([]byte(nad["spec"].(map[string]any)["config"].(string)), &config))
	require.Len(t, config.Links, 2)
	for _, l := range config.Links {
		of, request, _ := strings.Cut(l.Request, "/")
		assert.Equal(t, claim.Name, of)
		assert.Contains(t, requests(template), request)
	}
}

// sriovPolicy and sriovNetwork have the fields of the SR-IOV Network Operator's objects that
// the examples use (its CRDs of 2026).
type sriovPolicy struct {
	metav1.TypeMeta
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ResourceName string
		NodeSelector map[string]string
		NICSelector  struct{ PFNames []string } `json:"nicSelector"`
		NumVFs       int                        `json:"numVfs"`
		MTU          int
		DeviceType   string
	}
}

type sriovNetwork struct {
	metav1.TypeMeta
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ResourceName, NetworkNamespace, LinkState, IPAM string
		VLAN                                            int
	}
}

// made returns the NetworkAttachmentDefinition that the operator makes of a network: without
// an ipam it writes an empty one.
func (n sriovNetwork) made(t *testing.T) Network {
	t.Helper()
	text := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "type": "sriov", "vlan": %d, "link_state": %q, "ipam": {}}`, n.Name, n.Spec.VLAN, n.Spec.LinkState)
	config, err := ParseConfig([]byte(text), n.Name)
	require.NoError(t, err)
	return Network{Name: types.NamespacedName{Namespace: n.Spec.NetworkNamespace, Name: n.Name}, Resource: "openshift.io/" + n.Spec.ResourceName, Config: config}
}

// TestSriovOperatorExamples: the networks of the examples ask for what their policies make, and
// a bond takes the networks that the operator makes as its links.
func TestSriovOperatorExamples(t *testing.T) {
	t.Chdir(manifests)
	resources, pfs := map[string]bool{}, map[string]bool{}
	for _, object := range objects(t, "examples/sriov-operator.yaml") {
		if p, is := object.(*sriovPolicy); is {
			assert.Equal(t, "netdevice", p.Spec.DeviceType)
			assert.NotEmpty(t, p.Spec.NodeSelector)
			resources["openshift.io/"+p.Spec.ResourceName], pfs[p.Spec.NICSelector.PFNames[0]] = true, true
		}
	}
	assert.Len(t, pfs, 2)
	pod := onlyObject[*corev1.Pod](t, "examples/sriov-operator.yaml")
	for name := range pod.Spec.Containers[0].Resources.Limits {
		assert.True(t, resources[string(name)], name)
	}

	made := map[types.NamespacedName]Network{}
	for _, object := range objects(t, "examples/sriov-networks.yaml") {
		if n, is := object.(*sriovNetwork); is {
			assert.Contains(t, resources, "openshift.io/"+n.Spec.ResourceName)
			network := n.made(t)
			made[network.Name] = network
		}
	}
	for file, namespace := range map[string]string{"examples/sriov-operator.yaml": "default", "examples/sriov-networks.yaml": "demo"} {
		config, err := ParseConfig([]byte((*onlyObject[*map[string]any](t, file))["spec"].(map[string]any)["config"].(string)), "bond")
		require.NoError(t, err)
		_, err = ReadBond(Network{Name: types.NamespacedName{Namespace: namespace, Name: "bond"}, Config: config}, func(name types.NamespacedName) (Network, error) {
			require.Contains(t, made, name)
			return made[name], nil
		})
		assert.NoError(t, err, file)
		for resource := range resources {
			assert.True(t, file == "examples/sriov-networks.yaml" || strings.Contains(string(config.text), resource), resource)
		}
	}
}

// TestFlowSchemaExample: the example is about the agents of the manifests.
func TestFlowSchemaExample(t *testing.T) {
	t.Chdir(manifests)
	schema := onlyObject[*flowcontrolv1.FlowSchema](t, "examples/flow-schema.yaml")
	account := onlyObject[*corev1.ServiceAccount](t, "rbac.yaml")
	subject := schema.Spec.Rules[0].Subjects[0].ServiceAccount
	assert.Equal(t, []string{account.Namespace, account.Name}, []string{subject.Namespace, subject.Name})
	assert.Less(t, schema.Spec.MatchingPrecedence, int32(9000), "the API server's own schema for all service accounts would win")
}

// TestExamples checks that the plugin accepts the example.
func TestExamples(t *testing.T) {
	t.Chdir(manifests)
	all, _ := filepath.Glob("examples/*.yaml")
	for _, file := range all {
		objects(t, file)
	}
	n := *onlyObject[*map[string]any](t, "examples/bond.yaml")
	config := n["spec"].(map[string]any)["config"].(string)
	got, err := netconf.ParseNetwork([]byte(config), "bond0")
	require.NoError(t, err)
	assert.Empty(t, got.Warnings)
}

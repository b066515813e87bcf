package kubeclient

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/strictjson"
)

// manifests is what a cluster's administrator applies, which is tested here as
// far as that is possible without a cluster.
const manifests = "../deploy"

// objectKinds are the types that the objects are read as, strictly.
var objectKinds = map[string]func() any{
	"Namespace": func() any { return &corev1.Namespace{} }, "ServiceAccount": func() any { return &corev1.ServiceAccount{} },
	"ConfigMap": func() any { return &corev1.ConfigMap{} }, "Pod": func() any { return &corev1.Pod{} },
	"ClusterRole": func() any { return &rbacv1.ClusterRole{} }, "ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
	"DaemonSet":                        func() any { return &appsv1.DaemonSet{} },
	"ValidatingAdmissionPolicy":        func() any { return &admissionv1.ValidatingAdmissionPolicy{} },
	"ValidatingAdmissionPolicyBinding": func() any { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
	"CustomResourceDefinition":         func() any { return &map[string]any{} },
	"NetworkAttachmentDefinition":      func() any { return &map[string]any{} },
}

// objects reads all objects of a file.
func objects(t *testing.T, file string) (out []any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for part := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var head struct{ Kind string }
		if err := yaml.Unmarshal(part, &head); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if objectKinds[head.Kind] == nil {
			t.Fatalf("%s: kind %q is not known here", file, head.Kind)
		}
		object := objectKinds[head.Kind]()
		if err := yaml.UnmarshalStrict(part, object); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		out = append(out, object)
	}
	return out
}

// onlyObject is the one object of type T of a file.
func onlyObject[T any](t *testing.T, file string) T {
	t.Helper()
	for _, o := range objects(t, file) {
		if one, is := o.(T); is {
			return one
		}
	}
	t.Fatalf("%s has none", file)
	panic("not reached")
}

// TestFiles: every file is strictly what it says, and is named by the
// kustomization beside it.
func TestFiles(t *testing.T) {
	t.Chdir(manifests)
	for _, dir := range []string{".", "dra", "uninstall"} {
		text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var k struct{ Resources []string }
		if err := yaml.Unmarshal(text, &k); err != nil {
			t.Fatal(err)
		}
		var files []string
		all, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
		for _, file := range all {
			if filepath.Base(file) != "kustomization.yaml" {
				files = append(files, filepath.Base(file))
				objects(t, file)
			}
		}
		slices.Sort(k.Resources)
		if diff := cmp.Diff(files, k.Resources); diff != "" {
			t.Errorf("%s: files and resources:\n%s", dir, diff)
		}
	}
}

// TestRights: what the agent may do, and nothing else.
func TestRights(t *testing.T) {
	t.Chdir(manifests)
	var got []string
	for _, r := range onlyObject[*rbacv1.ClusterRole](t, "rbac.yaml").Rules {
		got = append(got, strings.Join(r.APIGroups, ",")+" "+strings.Join(r.Resources, ",")+" "+strings.Join(r.Verbs, ","))
	}
	want := []string{"k8s.cni.cncf.io network-attachment-definitions get,list,watch", " pods get,list,watch", " pods/status patch", " events create"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestPowers: no container has more of the node than its mounts.
func TestPowers(t *testing.T) {
	t.Chdir(manifests)
	for _, file := range []string{"daemonset.yaml", "uninstall/daemonset.yaml"} {
		spec := onlyObject[*appsv1.DaemonSet](t, file).Spec.Template.Spec
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			s := c.SecurityContext
			if *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
				len(s.Capabilities.Add) > 0 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: container %s: %+v", file, c.Name, s)
			}
		}
	}
}

// TestClusterConfig is one that the plugin takes as the runtime hands it on.
func TestClusterConfig(t *testing.T) {
	t.Chdir(manifests)
	var list struct {
		Name, CNIVersion string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal([]byte(onlyObject[*corev1.ConfigMap](t, "config.yaml").Data["00-multibond.conflist"]), &list); err != nil {
		t.Fatal(err)
	}
	list.Plugins[0]["name"], list.Plugins[0]["cniVersion"] = list.Name, list.CNIVersion
	c, err := delegate.ParseCluster(strictjson.Encode(list.Plugins[0]))
	if err != nil || len(c.Warnings) > 0 {
		t.Errorf("%v, %v", err, c.Warnings)
	}
}

// TestExamples: our example is a network that the plugin takes.
func TestExamples(t *testing.T) {
	t.Chdir(manifests)
	all, _ := filepath.Glob("examples/*.yaml")
	for _, file := range all {
		objects(t, file)
	}
	n := *onlyObject[*map[string]any](t, "examples/bond.yaml")
	config := n["spec"].(map[string]any)["config"].(string)
	if got, err := delegate.ParseNetwork([]byte(config), "bond0"); err != nil || len(got.Warnings) > 0 {
		t.Errorf("%v, %v", err, got.Warnings)
	}
}

//go:build linux

// The plugin, with which this compares, is Linux's.

package written

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/cmd/multibondctl/explain"
	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/kubeclient"
)

const root = "../../.."

// TestSameVerdict: for each NAD and each pod of the project's examples and tests, validate,
// plan, the webhook and an ADD find the same problems. What only a node can tell does not count.
func TestSameVerdict(t *testing.T) {
	wrong, right := 0, 0
	for name, s := range verdictCases(t) {
		for i := range s.pods {
			only := &Set{nads: s.nads, pods: s.pods[i : i+1], Whole: true}
			p := &only.pods[0]
			p.future = false // admission has had its say
			added := add(t, only, p)
			assert.Equal(t, added, errorsOf(only.Plans()[0].Findings), "plan: %s, %s", name, p.Object.Name)
			ofPod := slices.DeleteFunc(only.Report().Findings, func(f Finding) bool { return f.Kind != p.Kind })
			assert.Equal(t, len(added) > 0, len(errorsOf(ofPod)) > 0, "validate: %s, %s: ADD has %v", name, p.Object.Name, added)
			if i < len(s.nads) && s.nads[i].Object.Name == p.Object.Name { // a pod of addPods
				alone := s.judge(agentapi.Cluster{}).One(&s.nads[i].NetworkAttachmentDefinition)
				assert.Equal(t, added, everywhere(code.Of(alone.Err)), "validate: %s, NAD %s", name, p.Object.Name)
				review(t, s, &s.nads[i], added, name)
			}
			raw, err := json.Marshal(p.Pod)
			require.NoError(t, err)
			reviewed := reviewer(only).ReviewPod(t.Context(), raw, p.Namespace)
			assert.Equal(t, without(added, code.FewDevices), everywhere(code.Of(reviewed.Err)), "webhook: %s, %s", name, p.Object.Name)
			if len(added) > 0 {
				wrong++
			} else {
				right++
			}
		}
	}
	assert.Greater(t, wrong, 50)
	assert.Greater(t, right, 100)
}

// reviewer is what the webhook judges the objects of a set with.
func reviewer(s *Set) kubeclient.Reviewer {
	judge := s.judge(agentapi.Cluster{})
	return kubeclient.Reviewer{Cluster: func() (c agentapi.Cluster) { return c }, NAD: func(_ context.Context, name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		return judge.NAD(name)
	}}
}

// review compares what the webhook finds with the errors of an ADD. A network that a link
// names, and that is not there, is a warning to it; then it looks at the others, too.
func review(t *testing.T, s *Set, n *nad, added []code.Code, where string) {
	reviewed := reviewer(s).ReviewNAD(t.Context(), &n.NetworkAttachmentDefinition)
	found := everywhere(code.Of(reviewed.Err))
	if !slices.Contains(added, code.NoNAD) {
		assert.Equal(t, added, found, "webhook: %s, NAD %s", where, n.Object.Name)
		return
	}
	assert.Subset(t, found, without(added, code.NoNAD), "webhook: %s, NAD %s", where, n.Object.Name)
	assert.Contains(t, strings.Join(reviewed.Warnings, "\n"), code.NoNAD.String(), "webhook: %s, NAD %s", where, n.Object.Name)
}

func without(codes []code.Code, one code.Code) (out []code.Code) {
	for _, c := range codes {
		if c != one {
			out = append(out, c)
		}
	}
	return out
}

// errorsOf returns the codes of errors that do not depend on the node, sorted.
func errorsOf(findings []Finding) []code.Code {
	var codes []code.Code
	for _, f := range findings {
		if f.Level == Error {
			codes = append(codes, f.Code)
		}
	}
	return everywhere(codes)
}

// onAnyNode are those codes of 5xx that do not depend on the node.
var onAnyNode = []code.Code{code.LACPOverVFs, code.ForcedState, code.OtherVLAN}

// everywhere returns the codes that do not depend on the node, sorted, each once.
func everywhere(codes []code.Code) []code.Code {
	var out []code.Code
	for _, c := range codes {
		if (c/100 != 5 || slices.Contains(onAnyNode, c)) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

// add returns the codes of an ADD of the pod: by the agent's resolving, the compiler, and the
// host's survey of a fake kernel with the devices that the pod asks for.
func add(t *testing.T, s *Set, p *pod) []code.Code {
	k := bondfake.New()
	judge := s.judge(agentapi.Cluster{})
	pf := map[string]string{}
	card := func(vf string) {
		if _, there := pf[vf]; !there && pciForm.MatchString(vf) {
			n := len(pf)
			pf[vf] = fmt.Sprintf("0009:%02x:00.0", n)
			k.AddPF(pf[vf], fmt.Sprintf("pf%d", n), vf)
		}
	}
	for _, n := range s.nads {
		for _, vf := range pciForm.FindAllString(n.Spec.Config, -1) {
			card(strings.ToLower(vf))
		}
	}
	devices := kubeclient.Container{Name: "app", Resources: map[string][]string{}, Requests: map[string][]string{}}
	kind := 0
	order := kubeclient.ContainerOrder(&p.Pod)
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		if !slices.Contains(order, c.Name) {
			continue
		}
		for name, count := range c.Resources.Limits {
			kind++
			for i := range count.Value() {
				vf := fmt.Sprintf("0008:%02x:%02x.0", kind, i)
				card(vf)
				devices.Resources[string(name)] = append(devices.Resources[string(name)], vf)
			}
		}
	}
	if len(p.Spec.ResourceClaims) > 0 { // whose devices only the API knows
		for _, n := range s.nads {
			for _, request := range requestForm.FindAllStringSubmatch(n.Spec.Config, -1) {
				kind++
				for i := range netconf.MaxLinks {
					vf := fmt.Sprintf("0008:%02x:%02x.0", kind, i)
					card(vf)
					devices.Requests[request[1]] = append(devices.Requests[request[1]], vf)
				}
			}
		}
	}
	elements, err := kubeclient.ParseNetworks(p.Annotations[kubeclient.NetworksAnnotation], p.Namespace, []string{"eth0"})
	if err != nil {
		return everywhere(code.Of(err))
	}
	attachments, err := kubeclient.Attachments(types.NamespacedName{Namespace: p.Namespace, Name: p.Pod.Name}, elements, kubeclient.Resolver{NAD: judge.NAD}, kubeclient.Node{
		Containers: func() ([]kubeclient.Container, error) { return []kubeclient.Container{devices}, nil }, Sys: k.Sys(),
		PF: func(device string) string { return pf[device] }, InfoFile: func(kubeclient.Element) string { return "" },
	})
	if err != nil {
		return everywhere(code.Of(err))
	}
	var codes []code.Code
	for _, a := range attachments {
		n, err := netconf.ParseAttachment(agentapi.Attachment{IfName: a.Element.Interface, Config: a.Config, Bond: a.Bond, Devices: a.Devices}, nil)
		if err == nil {
			h := delegate.Host{Kernel: k, Sys: k.Sys(), Runner: allThere{}, Store: record.Store{Dir: t.TempDir()}, Path: []string{"/opt/cni/bin"}}
			_, _, err = h.DryRun(plan.Request{ContainerID: "c1", IfName: a.Element.Interface, Network: n, DefaultRoute: a.Element.DefaultRoute, HostIndex: new(int), Near: &agentapi.Near{}})
		}
		codes = append(codes, code.Of(err)...)
	}
	return everywhere(codes)
}

var pciForm = regexp.MustCompile(`[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]`)

var requestForm = regexp.MustCompile(`"request": *"([^"]+)"`)

// allThere has every plugin. None is executed.
type allThere struct{ invoke.Runner }

func (allThere) Find(plugin string, _ []string) (string, error) { return "/opt/cni/bin/" + plugin, nil }

func (allThere) EndOrphans(context.Context, string) error { return nil }

// verdictCases returns sets with pods, by where they are written.
func verdictCases(t *testing.T) map[string]*Set {
	cases := map[string]*Set{}
	conformance, err := filepath.Glob(root + "/tests/conformance/testdata/*/*.txtar")
	require.NoError(t, err)
	scripts, err := filepath.Glob("../testdata/script/*.txtar")
	require.NoError(t, err)
	require.Greater(t, len(conformance), 50)
	for _, file := range append(conformance, scripts...) {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		cases[file] = fromArchive(t, archive)
	}
	examples, err := filepath.Glob(root + "/deploy/examples/*.yaml")
	require.NoError(t, err)
	for _, file := range examples {
		cases[file], err = Read([]string{file}, nil, "default")
		require.NoError(t, err)
	}
	for _, page := range explain.Pages {
		if page.In == explain.Network {
			cases[page.Code.String()+" wrong"] = fromExample(t, page.Mistake)
			cases[page.Code.String()+" right"] = fromExample(t, page.Remedy)
		}
	}
	for name, s := range cases {
		cases[name].nads = slices.DeleteFunc(s.nads, func(n nad) bool { return strings.TrimSpace(n.Spec.Config) == "" })
		if s.pods == nil {
			s.addPods(t)
		}
		s.pods = slices.DeleteFunc(s.pods, func(p pod) bool { return len(p.Spec.Containers) == 0 })
	}
	return cases
}

// fromArchive returns the NADs of a case of tests/conformance, or the objects of a script.
func fromArchive(t *testing.T, a *txtar.Archive) *Set {
	s := &Set{}
	for _, file := range a.Files {
		words := strings.Fields(file.Name)
		if words[0] == "nad" && len(words) > 1 {
			namespace, name, _ := strings.Cut(words[1], "/")
			n := nad{Object: Object{Kind: "NAD", Name: words[1]}}
			n.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
			if len(words) > 2 {
				n.Annotations = map[string]string{kubeclient.ResourceAnnotation: words[2]}
			}
			n.Spec.Config = string(file.Data)
			s.nads = append(s.nads, n)
		}
		if !strings.HasSuffix(file.Name, ".yaml") {
			continue
		}
		all, err := parseManifests(file.Name, file.Data)
		if err != nil {
			continue // it is to be broken
		}
		for _, m := range all {
			_, err := s.add(m, "default")
			require.NoError(t, err)
		}
	}
	return s
}

// fromExample returns a NAD with the keys of an example.
func fromExample(t *testing.T, example string) *Set {
	fields := map[string]json.RawMessage{}
	require.NoError(t, json.Unmarshal([]byte(`{"cniVersion": "1.0.0", "name": "n", "type": "multibond", "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`), &fields))
	var keys map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(example), &keys))
	maps.Copy(fields, keys)
	maps.DeleteFunc(fields, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
	config, err := json.Marshal(fields)
	require.NoError(t, err)
	n := nad{Object: Object{Kind: "NAD", Name: "demo/n"}}
	n.ObjectMeta = metav1.ObjectMeta{Namespace: "demo", Name: "n"}
	n.Spec.Config = string(config)
	return &Set{nads: []nad{n}}
}

// addPods adds a pod for each NAD, which has enough devices.
func (s *Set) addPods(t *testing.T) {
	judge := s.judge(agentapi.Cluster{})
	for _, n := range s.nads {
		p := pod{Object: Object{Kind: "Pod", Name: n.Object.Name}}
		name := types.NamespacedName{Namespace: n.Namespace, Name: n.ObjectMeta.Name}
		p.ObjectMeta = metav1.ObjectMeta{Namespace: n.Namespace, Name: "p", Annotations: map[string]string{kubeclient.NetworksAnnotation: n.ObjectMeta.Name + "@bond0"}}
		limits := corev1.ResourceList{}
		if wants, err := kubeclient.Resources(name, n.ObjectMeta.Name, kubeclient.Resolver{NAD: judge.NAD}); err == nil {
			for resource, count := range wants {
				limits[corev1.ResourceName(resource)] = *apiresource.NewQuantity(int64(count), apiresource.DecimalSI)
			}
		}
		p.Spec.Containers = []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{Limits: limits}}}
		s.pods = append(s.pods, p)
	}
}

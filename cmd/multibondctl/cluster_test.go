package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/multibond/multibond/kubeclient"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// resources maps the kinds of objects in scripts to what the API server calls them.
var resources = map[string]string{"Pod": kubefake.Pods, "DaemonSet": kubefake.Sets, "Event": kubefake.Events, "NetworkAttachmentDefinition": kubefake.NADs,
	"Deployment": kubefake.Deployments, "ReplicaSet": kubefake.ReplicaSets, "ConfigMap": kubefake.ConfigMaps}

// scriptCluster is the API server of a script.
const scriptCluster = "cluster"

// cluster puts the objects of files into the cluster: "cluster FILE...". What an agent tells
// of its node is written as YAML, under "node", what a pod's status says of its networks
// under "networks".
func cluster(ts *testscript.TestScript, neg bool, args []string) {
	api := ts.Value(scriptCluster).(*kubefake.API)
	for _, file := range args {
		for part := range strings.SplitSeq(ts.ReadFile(file), "\n---\n") {
			object := map[string]any{}
			ts.Check(yaml.Unmarshal([]byte(part), &object))
			meta := object["metadata"].(map[string]any)
			for key, annotation := range map[string]string{"node": kubeclient.NodeAnnotation, "networks": nettypes.NetworkStatusAnnot} {
				if value, has := object[key]; has {
					text, err := yaml.Marshal(value)
					ts.Check(err)
					text, err = yaml.YAMLToJSON(text)
					ts.Check(err)
					annotations, _ := meta["annotations"].(map[string]any)
					meta["annotations"] = kubefake.Merge(annotations, map[string]any{annotation: string(bytes.TrimSpace(text))})
					delete(object, key)
				}
			}
			api.Put(resources[object["kind"].(string)], meta["namespace"].(string), meta["name"].(string), object)
		}
	}
}

// forbid makes the API server refuse requests: "forbid 'list events'".
func forbid(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(scriptCluster).(*kubefake.API).Refusing(args[0], http.StatusForbidden)
}

// withCluster returns what gives each script an API server without objects.
func withCluster(t *testing.T) func(*testscript.Env) error {
	return func(env *testscript.Env) error {
		api := kubefake.NewAPI(t)
		env.Values[scriptCluster] = api
		config := filepath.Join(env.WorkDir, "kubeconfig")
		env.Setenv("KUBECONFIG", config)
		env.Setenv("HOME", env.WorkDir)
		return os.WriteFile(config, fmt.Appendf(nil, kubeconfig, api.Address), 0o600)
	}
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://%s"}}]
contexts: [{name: c, context: {cluster: c, namespace: demo}}]
current-context: c
`

// TestLargeCluster: pods are asked for in protobuf, and those without networks are not kept.
func TestLargeCluster(t *testing.T) {
	var accepts string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accepts = r.Header.Get("Accept")
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	code, _, _ := toolOn(t, &kubefake.API{Address: strings.TrimPrefix(server.URL, "http://")}, "list")
	assert.Equal(t, exitUnknown, code)
	assert.Equal(t, "application/vnd.kubernetes.protobuf,application/json", accepts)

	pending := onNode("demo", "pending", "n1")
	pending.Status.Phase = corev1.PodPending
	kept := withNetworks([]corev1.Pod{onNode("demo", "plain", "n1"), attached("a", "n1", "10.0.0.1"), pending})
	require.Len(t, kept, 2)
	assert.Equal(t, []string{"a", "pending"}, []string{kept[0].Name, kept[1].Name})
}

func uidOf(i int) types.UID { return types.UID(fmt.Sprint("uid-", i)) }

// TestEventPages: events are asked for in pages, and all of them are seen.
func TestEventPages(t *testing.T) {
	s := newState()
	api := kubefake.NewAPI(t)
	s.put(t, api)
	for i := range 2*pageSize + 1 {
		s.fails(fmt.Sprint("failure ", i))
	}
	for i, ev := range s.events {
		ev.Name, ev.InvolvedObject.UID = fmt.Sprintf("new.%05d", i), uidOf(i)
		put(t, api, kubefake.Events, ev.ObjectMeta, ev)
	}
	last := s.pods[len(s.pods)-1]
	last.UID = uidOf(2 * pageSize)
	put(t, api, kubefake.Pods, last.ObjectMeta, last)
	api.Requests()
	code, stdout, _ := toolOn(t, api, "status")
	assert.Equal(t, exitWrong, code)
	assert.Equal(t, 3, api.Requests()["list events"])
	assert.Contains(t, stdout, fmt.Sprint("failure ", 2*pageSize))
}

// TestUsersOf: a bond with two links on one PF is one user of it, and PFs of other nodes with
// the same name are others.
func TestUsersOf(t *testing.T) {
	bonds := []bondView{
		{Namespace: "demo", Pod: "a", Bond: "bond0", Node: "n1", Links: []linkView{{PF: "p1"}, {PF: "p1"}}},
		{Namespace: "demo", Pod: "b", Bond: "bond0", Node: "n2", Links: []linkView{{PF: "p1"}, {PF: "p2"}}},
	}
	assert.Equal(t, pfUsers{{"n1", "p1"}: {"demo/a bond0"}, {"n2", "p1"}: {"demo/b bond0"}, {"n2", "p2"}: {"demo/b bond0"}}, usersOf(bonds))
}

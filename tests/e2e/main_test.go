// Package e2e tests Multibond as users have it: installed by its manifest on a
// real cluster, with real VFs. One cluster serves all tests, one after the
// other. Each leaves the node as it was, which is compared: every VF and what
// its PF keeps for it, Records, addresses.
//
// With -nodes 2 the cluster has two nodes, for TestTwoNodes, which needs them. The reports of
// that run are in build/report/nodes.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/cluster"
	"github.com/multibond/multibond/tests/lab"
)

// c is the cluster of all tests.
var c *cluster.Cluster

var nodes = flag.Int("nodes", 1, "how many nodes the cluster has, 1 or 2")

// report is what build/report/e2e.json gets.
var report struct {
	Kubernetes string         `json:"kubernetes"`
	Tests      []testReport   `json:"tests"`
	APICalls   map[string]int `json:"apiCallsOfTheAgent"` // per ADD and per DEL
	PodStart   map[string]any `json:"podStartSeconds"`    // from creation to Ready, median and all

	// How long the plugin took to say that the agent is away, its start included.
	AgentAway map[string]int64 `json:"agentAwayMilliseconds"`
}

type testReport struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Passed  bool    `json:"passed"`
}

func TestMain(m *testing.M) {
	flag.Parse()
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if c, err = cluster.Start(ctx, cluster.Options{Nodes: *nodes, Log: os.Stderr}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Deploy(ctx); err != nil {
		return 1, err
	}
	report.APICalls, report.PodStart = map[string]int{}, map[string]any{}
	if report.Kubernetes, err = c.Kubectl(ctx, "", "version"); err != nil {
		return 1, err
	}
	status = m.Run()
	return status, errors.Join(awaitNamespaces(), writeReport(), writeDoctored())
}

// awaitNamespaces waits until the namespaces of all tests are gone, which no test
// does: the namespace controller sleeps 5 seconds before it begins.
func awaitNamespaces() error {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	_, err := c.Kubectl(ctx, "", "delete", "namespace", "-l", ofTest, "--timeout=5m")
	return err
}

const ofTest = "multibond.test/e2e" // a label

func writeReport() error {
	text, err := json.MarshalIndent(report, "", "  ")
	return errors.Join(err, os.MkdirAll(reportDir(), 0o755), os.WriteFile(filepath.Join(reportDir(), "e2e.json"), text, 0o644))
}

// reportDir is another one with two nodes, so that no run overwrites the reports of the other.
func reportDir() string {
	dir := filepath.Join(lab.Root(), "build", "report")
	if *nodes > 1 {
		dir = filepath.Join(dir, "nodes")
	}
	return dir
}

// scene is one test: a namespace of its own, and the node as it was before.
type scene struct {
	*testing.T
	namespace string
	before    []string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	began := time.Now()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "", "'", "").Replace(t.Name()))
	s := &scene{T: t, namespace: name, before: node(t)}
	s.pipe(fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q, "labels": {%q: ""}}}`, name, ofTest), "create", "-f", "-")
	// No pod is accepted before. After the API server was away its controllers take half a minute.
	s.kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=5m")
	t.Cleanup(func() {
		s.Logf("%s", c.Events(context.WithoutCancel(t.Context()), name))
		s.deletePods()
		s.kubectl("delete", "namespace", name, "--wait=false")
		s.wantBefore()
		report.Tests = append(report.Tests, testReport{t.Name(), time.Since(began).Seconds(), !t.Failed()})
	})
	return s
}

// deletePods deletes all pods of the test, and waits until the kubelet has ended them: with
// a grace period the API server waits for it.
func (s *scene) deletePods() {
	s.Helper()
	s.kubectl("-n", s.namespace, "delete", "statefulsets,pods", "--all", "--grace-period=1", "--timeout=5m")
}

// kubectl runs kubectl, which must work.
func (s *scene) kubectl(args ...string) string {
	s.Helper()
	return s.pipe("", args...)
}

func (s *scene) pipe(stdin string, args ...string) string {
	s.Helper()
	out, err := c.Kubectl(context.WithoutCancel(s.Context()), stdin, args...)
	require.NoError(s, err)
	return out
}

// apply creates objects in the test's namespace.
func (s *scene) apply(objects ...string) {
	s.Helper()
	s.pipe(strings.Join(objects, "\n---\n"), "-n", s.namespace, "apply", "-f", "-")
}

func (s *scene) ready(pods ...string) {
	s.Helper()
	args := []string{"-n", s.namespace, "wait", "--for=condition=Ready", "--timeout=5m"}
	for _, pod := range pods {
		args = append(args, "pod/"+pod)
	}
	s.kubectl(args...)
}

func (s *scene) exec(pod string, command ...string) string {
	s.Helper()
	return s.kubectl(append([]string{"-n", s.namespace, "exec", pod, "--"}, command...)...)
}

func (s *scene) remove(pods ...string) {
	s.Helper()
	s.kubectl(append([]string{"-n", s.namespace, "delete", "pod", "--timeout=5m"}, pods...)...)
}

// status is a pod's network-status.
func (s *scene) status(pod string) (entries []map[string]any) {
	s.Helper()
	text := s.kubectl("-n", s.namespace, "get", "pod", pod, "-o", `jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}`)
	require.NoError(s, json.Unmarshal([]byte(text), &entries), "network-status %q", text)
	return entries
}

// interfaces are the names of the interfaces in a pod's network-status.
func (s *scene) interfaces(pod string) (names []string) {
	s.Helper()
	for _, entry := range s.status(pod) {
		names = append(names, fmt.Sprint(entry["interface"]))
	}
	return names
}

// wantEvent waits for an event of a pod whose message has all the words.
func (s *scene) wantEvent(pod, reason string, words ...string) {
	s.Helper()
	s.eventually(func() error {
		out := s.kubectl("-n", s.namespace, "get", "events", "--field-selector", "involvedObject.name="+pod+",reason="+reason, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
		for _, word := range words {
			if !strings.Contains(out, word) {
				return fmt.Errorf("events %s of %s have no %q:\n%s", reason, pod, word, out)
			}
		}
		return nil
	})
}

// eventually waits until ok, with a limit that only a broken thing reaches.
func (s *scene) eventually(ok func() error) {
	s.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func (s *scene) wantBefore() {
	s.Helper()
	s.eventually(func() error {
		if diff := cmp.Diff(s.before, node(s.T)); diff != "" {
			return fmt.Errorf("the node is not as before (-before +after):\n%s\n%s", diff, s.refusals())
		}
		return nil
	})
}

// refusals is what the runtime has lately said of DELs that failed.
func (s *scene) refusals() string {
	out, _ := c.On(context.WithoutCancel(s.Context()), "sh", "-c", "grep -h 'failed (delete)' /var/log/node/containerd | tail -3")
	return out
}

func node(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	lines, err := c.State(ctx)
	require.NoError(t, err)
	return lines
}

// nad is a NetworkAttachmentDefinition.
func nad(name, config string) string {
	text, _ := json.Marshal(config)
	return fmt.Sprintf(`{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": %q}, "spec": {"config": %s}}`, name, text)
}

// bondNAD is a network of a bond over a VF of each PF.
func bondNAD(name, subnet string) string {
	return nad(name, fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "type": "multibond", "miimon": 100,
		"links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
		"ipam": {"type": "host-local", "subnet": %q, "gateway": %q}}`, name, subnet, strings.Replace(subnet, ".0/", ".1/", 1)[:len(subnet)-3]))
}

// followedNAD is a list: a bond, and tuning after it.
func followedNAD(name, subnet string) string {
	return nad(name, fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [
		{"type": "multibond", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}], "ipam": {"type": "host-local", "subnet": %q}},
		{"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}]}`, name, subnet))
}

// pod is a pod of containers that have so many VFs of each of two PFs.
func pod(name, networks string, vfs ...int) string {
	return podWith(name, map[string]string{"k8s.v1.cni.cncf.io/networks": networks}, vfs...)
}

func podWith(name string, annotations map[string]string, vfs ...int) string {
	return string(encode(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "annotations": annotations}, "spec": podSpec(vfs...),
	}))
}

// gated returns a pod that waits for its bonds.
func gated(pod string) string {
	var object map[string]any
	if err := json.Unmarshal([]byte(pod), &object); err != nil {
		panic(err)
	}
	object["spec"].(map[string]any)["readinessGates"] = []any{map[string]any{"conditionType": "multibond.io/BondHealthy"}}
	return string(encode(object))
}

// endless ends when it is told to, which sleep, as the first process, does not.
var endless = []string{"sh", "-c", "trap exit TERM; sleep 1000000 & wait"}

func podSpec(vfs ...int) map[string]any {
	var containers []map[string]any
	for i, n := range vfs {
		container := map[string]any{"name": fmt.Sprintf("c%d", i), "image": cluster.ToolsImage, "command": endless}
		if n > 0 {
			amounts := map[string]any{"intel.com/sriov_pf1": n, "intel.com/sriov_pf2": n}
			container["resources"] = map[string]any{"requests": amounts, "limits": amounts}
		}
		containers = append(containers, container)
	}
	return map[string]any{"containers": containers, "terminationGracePeriodSeconds": 0, "dnsPolicy": "Default"}
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

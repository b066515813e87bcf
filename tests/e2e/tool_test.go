package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// doctored is what build/report/doctor.json gets: by which command and in which of its lines
// kubectl multibond has named each fault of this cluster.
var doctored []namedFault

type namedFault struct {
	Fault string `json:"fault"`
	By    string `json:"namedBy"`
	Line  int    `json:"line"`
	Text  string `json:"text"`

	// Beside is how many other faults the command has named, before this one or after it.
	Beside int `json:"beside"`
}

// viewer lets a user of that name view, and no more.
const viewer = `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "viewer"},
 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
 "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "viewer"}]}`

// compileTool compiles kubectl multibond, once, and returns its path.
var compileTool = sync.OnceValues(func() (string, error) {
	file := filepath.Join(lab.Root(), "build", "e2e-kubectl-multibond")
	cmd := exec.Command("go", "build", "-trimpath", "-gcflags=all=-dwarf=false", "-o", file, "./cmd/multibondctl")
	cmd.Dir, cmd.Env = lab.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	_, err := c.Kubectl(context.Background(), viewer, "apply", "-f", "-")
	return file, err
})

// tool runs kubectl multibond as who may view.
func (s *scene) tool(args ...string) (code int, out string) {
	s.Helper()
	return s.adminTool(append([]string{"--as", "viewer"}, args...)...)
}

// adminTool runs kubectl multibond as the administrator.
func (s *scene) adminTool(args ...string) (code int, out string) {
	s.Helper()
	file, err := compileTool()
	require.NoError(s, err)
	cmd := exec.CommandContext(context.WithoutCancel(s.Context()), file, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+s.TempDir())
	text, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		require.NoError(s, err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// wantNamed waits until a command names a fault within its first three lines.
func (s *scene) wantNamed(fault, by, words string) {
	s.Helper()
	s.eventually(func() error {
		code, out := s.tool(by)
		for i, line := range strings.Split(out, "\n")[:3] {
			if strings.Contains(line, words) && code == 1 {
				doctored = append(doctored, namedFault{fault, by, i + 1, line, 0})
				return nil
			}
		}
		return fmt.Errorf("%s ends with %d and does not name %q within three lines:\n%s", by, code, words, out)
	})
}

func writeDoctored() error {
	text, err := json.MarshalIndent(doctored, "", "  ")
	return errors.Join(err, os.WriteFile(filepath.Join(reportDir(), "doctor.json"), text, 0o644))
}

// TestTool: kubectl multibond, with no right but to view, shows the bond of a pod and its
// node. The administrator drills and checks with it, also by pods of its own. Faults that
// this test does not make are named in the tests that make them.
func TestTool(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	s.eventually(func() error {
		code, out := s.tool("list", "-n", s.namespace)
		if want := `p +bond0 +active-backup +bond0-1 +2/2 +\w+,\w+ +\w+ +up`; code != 0 || !assert.Regexp(new(assert.CollectT), want, out) {
			return fmt.Errorf("list ends with %d:\n%s", code, out)
		}
		return nil
	})
	for _, args := range []string{"status", "list -A -o wide", "describe p -n " + s.namespace, "doctor"} {
		s.eventually(func() error { // a test before this one may have restarted the agent
			code, out := s.tool(strings.Fields(args)...)
			if code != 0 {
				return fmt.Errorf("%s ends with %d:\n%s", args, code, out)
			}
			t.Logf("$ kubectl multibond %s\n%s", args, out)
			return nil
		})
	}
	bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
	code, out := s.tool("bundle", "-f", bundle)
	assert.Zero(t, code, out)
	t.Logf("$ kubectl multibond bundle\n%s", out)
	list, err := exec.Command("tar", "tzf", bundle).CombinedOutput()
	require.NoError(t, err, "%s", list)
	assert.Contains(t, string(list), "multibond/logs/")

	s.apply(pod("peer", "bond-net1@bond0", 1))
	s.ready("peer")
	peer := s.status("peer")[1]["ips"].([]any)[0].(string)
	s.eventually(func() error { // the VFs of a pod that has just started lose packets for a while
		if code, out = s.adminTool("drill", "p", "-n", s.namespace, "-y", "--for", "2s", "--target", peer); code != 0 {
			return fmt.Errorf("drill ends with %d: %s", code, out)
		}
		return nil
	})
	assert.Contains(t, out, "no more was lost than")
	t.Logf("$ kubectl multibond drill p\n%s", out)
	code, out = s.adminTool("check", "-n", s.namespace)
	assert.Zero(t, code, out)
	assert.Regexp(t, "bond0 +"+s.namespace+"/peer +"+peer+" +0/5 +[0-9.]+ ms .* ok", out)
	t.Logf("$ kubectl multibond check\n%s", out)
	s.remove("peer")
	s.wantChecked()
	s.wantFaults()
}

// wantChecked: a network is checked by pods of the check's own, two of them on the only node.
// They measure what a ping does not, and are gone then.
func (s *scene) wantChecked() {
	s.Helper()
	code, out := s.adminTool("check", s.namespace+"/bond-net1", "--throughput=1s")
	require.Zero(s, code, out)
	assert.Regexp(s, `127\.0\.0\.1 \(1\) +127\.0\.0\.1 \(2\) +1/1 +[0-9.]+ +0/5 +[0-9.]+ ms +1500 +[0-9.]+ [MG]bit/s +ok`, out)
	s.Logf("$ kubectl multibond check %s/bond-net1 --throughput=1s\n%s", s.namespace, out)
	assert.Equal(s, "pod/p\n", s.kubectl("-n", s.namespace, "get", "pods", "-o", "name"), "pods that are left")
}

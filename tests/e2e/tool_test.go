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
}

// viewer is an account that may view, and no more.
const viewer = `{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "viewer", "namespace": "multibond-system"}}
---
{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "multibond-viewer"},
 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
 "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": "multibond-system"}]}`

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
	file, err := compileTool()
	require.NoError(s, err)
	cmd := exec.CommandContext(context.WithoutCancel(s.Context()), file, append([]string{"--as", "system:serviceaccount:multibond-system:viewer"}, args...)...)
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
				doctored = append(doctored, namedFault{fault, by, i + 1, line})
				return nil
			}
		}
		return fmt.Errorf("%s ends with %d and does not name %q within three lines:\n%s", by, code, words, out)
	})
}

func writeDoctored() error {
	text, err := json.MarshalIndent(doctored, "", "  ")
	return errors.Join(err, os.WriteFile(filepath.Join(lab.Root(), "build", "report", "doctor.json"), text, 0o644))
}

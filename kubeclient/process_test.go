package kubeclient

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// The environment of an agent in a process of its own, which executes the test binary
// again.
const (
	processHost = "MULTIBOND_TEST_API"
	processDir  = "MULTIBOND_TEST_DIR"
)

// agentProcess is the main function of that process.
func agentProcess(host, dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	agent, err := newAgent(processOptions(dir), &rest.Config{Host: host, BearerToken: nodeToken("n1", "u1")})
	if err == nil {
		agent.publisher.firstWait, agent.publisher.lastWait, agent.publisher.longestWait = 5*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
		err = agent.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func processOptions(dir string) Options {
	return Options{
		Node: "n1", Socket: filepath.Join(dir, "run/agent.sock"), StateDir: filepath.Join(dir, "queue"), Peer: os.Getuid(),
		HostsFile: filepath.Join(dir, "run/hosts.json"),
		Machine:   nodeFiles(), Log: slog.New(slog.DiscardHandler),
	}
}

// process is an agent that can be killed.
type process struct {
	cmd *exec.Cmd
	dir string
}

// startProcess starts an agent and waits until it is ready.
func startProcess(t testing.TB, api *kubefake.API, dir string) process {
	t.Helper()
	p := process{exec.Command(os.Args[0]), dir}
	p.cmd.Env = append(os.Environ(), processHost+"=http://"+api.Address, processDir+"="+dir)
	p.cmd.Stderr = os.Stderr
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	eventually(t, func(c *assert.CollectT) { require.NoError(c, p.client().Ready(context.Background())) })
	return p
}

func (p process) client() agentapi.Client {
	return agentapi.Client{Socket: processOptions(p.dir).Socket, Timeout: 2 * time.Minute}
}

func (p process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// memory returns the value of key in the status of the process, in KiB.
func (p process) memory(t testing.TB, key string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	_, rest, _ := bytes.Cut(status, []byte(key+":"))
	var kib float64
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(t, err)
	return kib
}

// TestKilledAgentLosesNothing checks that whatever an agent accepted is published,
// even if it is killed.
func TestKilledAgentLosesNothing(t *testing.T) {
	const pods = 10
	api, dir := kubefake.NewAPI(t), kubefake.ShortDir(t)
	name := func(i int) string { return fmt.Sprint("p", i) }
	for i := range pods {
		api.Put(podResource, "demo", name(i), podObject("uid-"+name(i), nil))
	}
	p := startProcess(t, api, dir)
	errs := make([]error, pods)
	var running sync.WaitGroup
	for i := range pods {
		running.Go(func() {
			report := attachedReport()
			report.Pod = agentapi.Pod{Namespace: "demo", Name: name(i), UID: "uid-" + name(i)}
			_, errs[i] = p.client().Publish(t.Context(), report)
		})
		if i == pods/2 {
			p.kill()
		}
	}
	running.Wait()
	startProcess(t, api, dir)
	eventually(t, func(c *assert.CollectT) { require.Zero(c, queue{dir: processOptions(dir).StateDir}.length()) })
	for i := range pods {
		meta := api.Object(podResource, "demo", name(i))["metadata"].(map[string]any)
		annotations, _ := meta["annotations"].(map[string]any)
		if errs[i] != nil {
			assert.ErrorIs(t, errs[i], agentapi.ErrNoAgent)
		} else {
			assert.NotNil(t, annotations[nettypes.NetworkStatusAnnot], name(i))
		}
	}
}

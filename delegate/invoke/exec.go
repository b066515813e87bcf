package invoke

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

// Exec runs plugins as programs. It does not use the CNI project's library, which links
// an HTTP stack and a tracing library: they would add 2 MB to a binary that starts twice
// per pod.
type Exec struct {
	Env     []string      // of every plugin
	Timeout time.Duration // of one plugin; a Call can have less
}

// maxOutput is the most that is kept of a plugin's output, in bytes.
const maxOutput = 4 << 20

// Find looks for the plugin in the directories of path, in order. A name that leads out of
// them is that of no plugin.
func (Exec) Find(plugin string, path []string) (string, error) {
	if plugin != filepath.Base(plugin) {
		return "", fmt.Errorf("CNI plugin %.200q is no name of a file: %w", plugin, fs.ErrNotExist)
	}
	for _, dir := range path {
		file := filepath.Join(dir, plugin)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("CNI plugin %s is not in %s: %w", plugin, strings.Join(path, ", "), fs.ErrNotExist)
}

// Start starts one plugin. At the end of the time limit, or of ctx, the plugin is killed
// with everything that it has started. It is also killed if this process ends; EndOrphans
// ends what it has started then.
func (e Exec) Start(ctx context.Context, c Call) (wait func() (json.RawMessage, error)) {
	notExecuted := func(err error) func() (json.RawMessage, error) {
		err = fmt.Errorf("%s %s: %w: %w", c.Type, c.Command, ErrNotExecuted, err)
		return func() (json.RawMessage, error) { return nil, err }
	}
	program, err := e.Find(c.Type, c.Path)
	if err != nil {
		return notExecuted(err)
	}
	timeout := e.Timeout
	if c.Timeout > 0 {
		timeout = min(timeout, c.Timeout)
	}
	limit, cancel := context.WithTimeout(ctx, timeout)
	var stdout, stderr limited
	cmd := exec.CommandContext(limit, program)
	cmd.Env = append(append([]string{}, e.Env...),
		"CNI_COMMAND="+c.Command, "CNI_CONTAINERID="+c.ContainerID, "CNI_NETNS="+c.Netns,
		"CNI_IFNAME="+c.IfName, "CNI_ARGS="+c.Args, "CNI_PATH="+strings.Join(c.Path, ":"), containerEnv+"="+c.ContainerID)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Config), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second

	// Pdeathsig follows the thread that started the plugin, not the process.
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		cancel()
		return notExecuted(err)
	}
	return func() (json.RawMessage, error) {
		defer runtime.UnlockOSThread()
		defer cancel()
		err := cmd.Wait()
		switch {
		case !stdout.full && (err == nil || errors.Is(err, exec.ErrWaitDelay) && limit.Err() == nil):
			// A process that the plugin has left behind may hold its output open.
			return stdout.kept, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%s %s was killed because the whole call ran out of time: %w", c.Type, c.Command, ctx.Err())
		case limit.Err() != nil:
			return nil, fmt.Errorf("%s %s did not finish within %s and was killed: %w", c.Type, c.Command, timeout, limit.Err())
		case stdout.full || stderr.full:
			return nil, fmt.Errorf("%s %s printed more than %d bytes", c.Type, c.Command, maxOutput)
		}
		return nil, pluginError(c, err, stdout.kept, stderr.kept)
	}
}

// pluginError returns what a failed plugin said: its CNI error, else its output.
func pluginError(c Call, err error, stdout, stderr []byte) error {
	var said types.Error
	if json.Unmarshal(stdout, &said) == nil && said.Msg != "" {
		return fmt.Errorf("%s %s: %w", c.Type, c.Command, &said)
	}
	output := strings.TrimSpace(string(stderr) + " " + string(stdout))
	if output == "" {
		output = "it printed nothing"
	}
	const most = 500
	if len(output) > most {
		output = strings.ToValidUTF8(output[:most], "") + "..."
	}
	return fmt.Errorf("%s %s: %w: %s", c.Type, c.Command, err, output)
}

// limited keeps what is written to it, up to maxOutput.
type limited struct {
	kept []byte
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	n, err := l.ReadFrom(bytes.NewReader(p))
	return int(n), err
}

// ReadFrom is what io.Copy calls. Without it io.Copy takes a buffer of 32 KiB for
// each output, which was half of the memory of an ADD of eight networks.
func (l *limited) ReadFrom(r io.Reader) (int64, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(maxOutput-len(l.kept)+1)))
	if len(l.kept)+len(data) > maxOutput {
		l.full = true
		return 0, io.ErrShortBuffer
	}
	l.kept = append(l.kept, data...)
	return int64(len(data)), err
}

package delegate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Call is one execution of a CNI plugin (CNI specification, section 2).
type Call struct {
	Command     string // ADD, DEL, CHECK
	ContainerID string
	Netns       string
	IfName      string
	Args        string   // CNI_ARGS
	Path        []string // CNI_PATH
	Type        string
	Config      json.RawMessage
}

// Runner executes CNI plugins. The error of a plugin that was executed and
// refused is a *types.Error with the plugin's own code and words.
type Runner interface {
	// Find returns the plugin's program. The error is compatible with
	// errors.Is(err, fs.ErrNotExist).
	Find(plugin string, path []string) (string, error)
	// Run executes the plugin and returns what it printed.
	Run(ctx context.Context, c Call) (json.RawMessage, error)
}

// Exec runs plugins as programs. The library that the CNI project has for
// this is not used: it links an HTTP stack and a tracing library, which
// would double the size of a binary that starts twice per pod.
type Exec struct {
	Env     []string      // handed on to every plugin
	Timeout time.Duration // of one plugin
}

// maxOutput bounds what is kept of a plugin's output.
const maxOutput = 4 << 20

// Find looks for the plugin in the directories of path, in order.
func (Exec) Find(plugin string, path []string) (string, error) {
	for _, dir := range path {
		file := filepath.Join(dir, plugin)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("CNI plugin %s is in none of %s: %w", plugin, strings.Join(path, ", "), fs.ErrNotExist)
}

// Run executes one plugin, which ends with this process and at the latest
// after the time limit, with everything that it has started.
func (e Exec) Run(ctx context.Context, c Call) (json.RawMessage, error) {
	program, err := e.Find(c.Type, c.Path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	var stdout, stderr limited
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(append([]string{}, e.Env...),
		"CNI_COMMAND="+c.Command, "CNI_CONTAINERID="+c.ContainerID, "CNI_NETNS="+c.Netns,
		"CNI_IFNAME="+c.IfName, "CNI_ARGS="+c.Args, "CNI_PATH="+strings.Join(c.Path, ":"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Config), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second

	// Pdeathsig follows the thread that started the plugin, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s %s did not end within %s and was killed", c.Type, c.Command, e.Timeout)
	case err == nil:
		return stdout.Bytes(), nil
	}
	return nil, pluginError(c, err, stdout.Bytes(), stderr.Bytes())
}

// pluginError is what a failed plugin said: its CNI error, else its output.
func pluginError(c Call, err error, stdout, stderr []byte) error {
	var said types.Error
	if json.Unmarshal(stdout, &said) == nil && said.Msg != "" {
		return fmt.Errorf("%s %s: %w", c.Type, c.Command, &said)
	}
	output := strings.TrimSpace(string(stderr) + " " + string(stdout))
	if output == "" {
		output = "it said nothing"
	}
	const most = 500
	if len(output) > most {
		output = strings.ToValidUTF8(output[:most], "") + "..."
	}
	return fmt.Errorf("%s %s: %w: %s", c.Type, c.Command, err, output)
}

// limited keeps the beginning of what is written to it, and refuses more
// than any plugin has reason to say.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxOutput {
		return 0, errors.New("the plugin printed too much")
	}
	return l.Buffer.Write(p)
}

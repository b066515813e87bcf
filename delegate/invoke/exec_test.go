package invoke

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script makes a plugin "p" of a shell script, and an execution of it.
func script(t *testing.T, body string) Call {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p"), []byte("#!/bin/sh\n"+body), 0o755))
	return Call{
		Command: "ADD", ContainerID: "c1", Netns: "/run/netns/p1", IfName: "bond0-1", Args: "A=b;C=d",
		Path: []string{"/nonexistent", dir}, Type: "p", Config: json.RawMessage(`{"name": "n"}`),
	}
}

var shell = Exec{Env: os.Environ(), Timeout: 10 * time.Minute}

// TestExecBeside: Start returns while the plugin runs.
func TestExecBeside(t *testing.T) {
	meanwhile := filepath.Join(t.TempDir(), "meanwhile")
	wait := shell.Start(t.Context(), script(t, "while [ ! -e "+meanwhile+" ]; do sleep 0.01; done; echo done"))
	require.NoError(t, os.WriteFile(meanwhile, nil, 0o600))
	out, err := wait()
	assert.NoError(t, err)
	assert.Equal(t, "done\n", string(out))
}

// TestFindStaysInside: no name leads to a program outside of the plugins' directories.
func TestFindStaysInside(t *testing.T) {
	c := script(t, "echo executed")
	dir := c.Path[1]
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	for _, name := range []string{filepath.Join(dir, "p"), "sub/../p", "./p", "../" + filepath.Base(dir) + "/p", "p/", "/", "..", "."} {
		c.Type, c.Path = name, []string{dir, filepath.Join(dir, "sub"), "/"}
		out, err := shell.Start(t.Context(), c)()
		assert.ErrorIs(t, err, ErrNotExecuted, name)
		assert.ErrorIs(t, err, fs.ErrNotExist, name)
		assert.Empty(t, out, name)
	}
}

// TestExecSays: a plugin gets what the CNI specification says, and nothing that the runtime
// gave to us.
func TestExecSays(t *testing.T) {
	c := script(t, `echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $CNI_PATH $OURS"; cat`)
	e := Exec{Env: []string{"PATH=" + os.Getenv("PATH"), "OURS=ours", "CNI_COMMAND=DEL", "CNI_IFNAME=bond0", "CNI_ARGS=X=y"}, Timeout: time.Minute}
	out, err := e.Start(t.Context(), c)()
	require.NoError(t, err)
	assert.Equal(t, "ADD c1 /run/netns/p1 bond0-1 A=b;C=d /nonexistent:"+c.Path[1]+" ours\n"+`{"name": "n"}`, string(out))
	c.Args = ""
	out, err = e.Start(t.Context(), c)()
	assert.NoError(t, err)
	assert.Contains(t, string(out), "bond0-1  /nonexistent:")
	// A plugin that does not read its input has not failed.
	c.Config = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	require.NoError(t, os.WriteFile(filepath.Join(c.Path[1], "p"), []byte("#!/bin/sh\nexec true\n"), 0o755))
	_, err = e.Start(t.Context(), c)()
	assert.NoError(t, err)
}

func TestExecErrors(t *testing.T) {
	for _, test := range []struct {
		name, body string
		text       string
		said       *types.Error
	}{
		{"a CNI error", `echo '{"cniVersion": "1.0.0", "code": 7, "msg": "no", "details": "really"}'; exit 1`, "p ADD: no; really",
			&types.Error{Code: 7, Msg: "no", Details: "really"}},
		{"a CNI error and more on stderr", `echo debug >&2; echo '{"code": 11, "msg": "later"}'; exit 3`, "p ADD: later", &types.Error{Code: 11, Msg: "later"}},
		{"an error without a text", `echo '{"code": 7}'; exit 1`, `p ADD: exit status 1: {"code": 7}`, nil},
		{"garbage", `echo oh dear; exit 2`, "p ADD: exit status 2: oh dear", nil},
		{"stderr", `echo oh dear >&2; exit 1`, "p ADD: exit status 1: oh dear", nil},
		{"both", `echo out; echo err >&2; exit 1`, "p ADD: exit status 1: err\n out", nil},
		{"nothing", `exit 1`, "p ADD: exit status 1: it printed nothing", nil},
		{"a signal", `kill -SEGV $$`, "p ADD: signal: segmentation fault: it printed nothing", nil},
		{"a page", `head -c 1000 /dev/zero | tr '\0' x; exit 1`, "p ADD: exit status 1: " + strings.Repeat("x", 500) + "...", nil},
		{"a book", `head -c 5000000 /dev/zero`, "p ADD printed more than 4194304 bytes", nil},
		{"a book, and something that stays behind", `sleep 5 >/dev/null & head -c 5000000 /dev/zero; exit 0`, "p ADD printed more than 4194304 bytes", nil},
		{"a book of errors", `head -c 5000000 /dev/zero >&2`, "p ADD printed more than 4194304 bytes", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := shell.Start(t.Context(), script(t, test.body))()
			require.EqualError(t, err, test.text)
			require.Nil(t, out)
			var said *types.Error
			errors.As(err, &said)
			assert.Equal(t, test.said, said, "errors.As to *types.Error")
			assert.NotErrorIs(t, err, ErrNotExecuted)
		})
	}
}

// TestExecNotExecuted: a plugin that was not executed has done nothing.
func TestExecNotExecuted(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, file string) error
		text  func(c Call) string
		found bool
	}{
		{"not there", func(_ *testing.T, file string) error { return os.Remove(file) }, notFound, false},
		{"not executable", func(_ *testing.T, file string) error { return os.Chmod(file, 0o644) }, notFound, false},
		{"a directory", func(_ *testing.T, file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o755)) }, notFound, false},
		{"no program", func(t *testing.T, file string) error { return os.WriteFile(file, []byte("\x00"), 0o755) }, func(c Call) string {
			return "p ADD: it was not executed: fork/exec " + c.Path[1] + "/p: exec format error"
		}, true},
		{"no interpreter", func(t *testing.T, file string) error { return os.WriteFile(file, []byte("#!/nonexistent\n"), 0o755) }, func(c Call) string {
			return "p ADD: it was not executed: fork/exec " + c.Path[1] + "/p: no such file or directory"
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := script(t, "")
			require.NoError(t, test.spoil(t, filepath.Join(c.Path[1], "p")))
			_, err := shell.Start(t.Context(), c)()
			assert.EqualError(t, err, test.text(c))
			assert.ErrorIs(t, err, ErrNotExecuted)
			_, err = shell.Find("p", c.Path)
			if test.found {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, fs.ErrNotExist)
			}
		})
	}
}

func notFound(c Call) string {
	return "p ADD: it was not executed: CNI plugin p is not in /nonexistent, " + c.Path[1] + ": file does not exist"
}

// TestExecFindsFirst: directories are searched in order.
func TestExecFindsFirst(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(a+"/p", nil, 0o644))
	require.NoError(t, os.WriteFile(b+"/p", nil, 0o755))
	file, err := (Exec{}).Find("p", []string{a, b})
	assert.NoError(t, err)
	assert.Equal(t, b+"/p", file)
}

// TestExecTime: at the end of its time a plugin is killed with its whole process group,
// even if it ignores signals or has left its output to a child. The test gives it more
// time until it has started its child.
func TestExecTime(t *testing.T) {
	const stubborn = `trap '' TERM
(trap '' TERM; : > "$CNI_ARGS"; exec sleep 1000) &
sleep 1000
`
	for _, test := range []struct {
		name, text string
		run        func(c Call, limit time.Duration) error
	}{
		{"its own", "p ADD did not finish within %s and was killed: context deadline exceeded", func(c Call, limit time.Duration) error {
			_, err := Exec{Env: os.Environ(), Timeout: limit}.Start(t.Context(), c)()
			return err
		}},
		{"that of all", "p ADD was killed because the whole call ran out of time: context deadline exceeded", func(c Call, limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := Exec{Env: os.Environ(), Timeout: time.Hour}.Start(ctx, c)()
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := script(t, stubborn) // before another's fork can keep it open
			t.Parallel()
			c.Args = filepath.Join(t.TempDir(), "begun")
			for limit := 300 * time.Millisecond; ; limit *= 4 {
				err := test.run(c, limit)
				require.EqualError(t, err, strings.Replace(test.text, "%s", limit.String(), 1))
				assert.NotErrorIs(t, err, ErrNotExecuted)
				require.Eventually(t, func() bool { return !anyHas(t, "CNI_ARGS="+c.Args) }, 2*time.Minute, 5*time.Millisecond, "its group is still alive")
				if _, err := os.Stat(c.Args); err == nil {
					return
				}
			}
		})
	}
}

// anyHas reports whether a process has a variable in its environment, which a zombie
// has not.
func anyHas(t *testing.T, variable string) bool {
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range processes {
		environ, err := os.ReadFile(file)
		if err == nil && slices.Contains(strings.Split(string(environ), "\x00"), variable) {
			return true
		}
	}
	return false
}

// TestExecLeavesChild: a plugin that has succeeded has succeeded, even if a child still has
// its output.
func TestExecLeavesChild(t *testing.T) {
	c := script(t, "echo '{}'; sleep 100 & echo $$ > \"$CNI_ARGS\"\n")
	c.Args = filepath.Join(t.TempDir(), "pid")
	t.Parallel()
	out, err := shell.Start(t.Context(), c)()
	assert.NoError(t, err)
	assert.Equal(t, "{}\n", string(out))
	pid, err := os.ReadFile(c.Args)
	require.NoError(t, err)
	if group, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil && group > 1 {
		syscall.Kill(-group, syscall.SIGKILL)
	}
}

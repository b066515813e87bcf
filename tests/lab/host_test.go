package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab/internal/agent"
)

// local is a client of an agent in this process. What it returns ends the stream.
func local(t *testing.T) (*client, func()) {
	host, guest := net.Pipe()
	c := newClient(host)
	var both sync.WaitGroup
	both.Go(func() { c.receive(func(err error) error { return fmt.Errorf("the end: %w", err) }) })
	both.Go(func() { agent.Serve(guest) })
	end := sync.OnceFunc(func() {
		guest.Close()
		host.Close()
		both.Wait()
	})
	t.Cleanup(end)
	<-c.ready
	return c, end
}

func TestProtocolManyAtOnce(t *testing.T) {
	c, _ := local(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			text := strings.Repeat(fmt.Sprintln(i), 5000)
			out, err := c.run(t.Context(), Cmd{Args: []string{"sh", "-c", "cat; echo end >&2; exit $X"},
				Stdin: []byte(text), Env: []string{fmt.Sprint("X=", i)}})
			assert.NoError(t, err)
			assert.Equal(t, i, out.Exit)
			assert.True(t, string(out.Stdout) == text, "command %d: %d bytes", i, len(out.Stdout))
			assert.Equal(t, "end\n", string(out.Stderr))
		})
	}
	all.Wait()
}

func TestProtocolStreams(t *testing.T) {
	c, _ := local(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	p, err := c.start(Cmd{Args: []string{"sh", "-c", "echo one; read x; echo never"}, Stdin: nil, Stdout: w})
	require.NoError(t, err)
	line, err := bufio.NewReader(r).ReadString('\n')
	assert.NoError(t, err)
	assert.Equal(t, "one\n", line)
	p.Kill()
	p.Wait()
}

func TestProtocolContextKills(t *testing.T) {
	c, _ := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.run(ctx, Cmd{Args: []string{"sleep", "1000"}})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// A daemon keeps its parent's output open. Its parent's end is the end all the same.
func TestProtocolDaemon(t *testing.T) {
	c, _ := local(t)
	out, err := c.run(t.Context(), Cmd{Args: []string{"sh", "-c", "sleep 30 & echo started"}})
	assert.NoError(t, err)
	assert.Equal(t, "started\n", string(out.Stdout))
	assert.Zero(t, out.Exit)
}

func TestProtocolEnd(t *testing.T) {
	c, end := local(t)
	p, err := c.start(Cmd{Args: []string{"sleep", "1000"}})
	require.NoError(t, err)
	end()
	_, err = p.Wait()
	assert.ErrorContains(t, err, "the end", "the command that ran")
	_, err = c.start(Cmd{Args: []string{"true"}})
	assert.ErrorContains(t, err, "the end", "the next command")
}

func TestParseGoTest(t *testing.T) {
	r := parseGoTest(Output{Stdout: []byte(`=== RUN   TestA
=== RUN   TestA/sub
--- PASS: TestA (0.00s)
    --- PASS: TestA/sub (0.00s)
=== RUN   TestB
    x_test.go:3: wants more
--- SKIP: TestB (0.00s)
=== RUN   TestC
--- FAIL: TestC (0.10s)
FAIL
`)})
	assert.Equal(t, []string{"TestA", "TestA/sub"}, r.Passed)
	assert.Equal(t, []string{"TestB"}, r.Skipped)
	assert.Equal(t, []string{"TestC"}, r.Failed)
	for name, r := range map[string]GoTestResult{
		"failed":      {Passed: []string{"TestA"}, Failed: []string{"TestC"}},
		"skipped":     {Passed: []string{"TestA"}, Skipped: []string{"TestB"}},
		"none":        {},
		"exit status": {Passed: []string{"TestA"}, Output: Output{Exit: 2}},
	} {
		assert.Error(t, r.verdict(), name)
	}
	assert.NoError(t, GoTestResult{Passed: []string{"TestA"}}.verdict())
}

func TestVersion(t *testing.T) {
	assert.Equal(t, "6.12", newest([]string{"6.1", "6.12"}))
	assert.Positive(t, slices.Compare(version("6.12"), version("6.1")))
}

func TestSRIOV(t *testing.T) {
	files := map[string]string{"bin/multibond": "/m"}
	t.Setenv("SRIOV", "")
	assert.Equal(t, files, withSRIOV(files))
	t.Setenv("SRIOV", "/s")
	assert.Equal(t, map[string]string{"bin/multibond": "/m", "bin/sriov": "/s"}, withSRIOV(files))
	assert.Equal(t, map[string]string{"bin/multibond": "/m"}, files, "the caller's own")
	other := map[string]string{"bin/sriov": "/other"}
	assert.Equal(t, other, withSRIOV(other), "a caller that names one")
}

// TestArch: a guest of another architecture has nothing in common with that of amd64.
func TestArch(t *testing.T) {
	t.Setenv("LAB_ARCH", "")
	assert.Equal(t, filepath.Join(Root(), "build", "lab"), Dir())
	assert.Equal(t, filepath.Join(Root(), "build"), Programs())
	assert.Contains(t, arguments(Options{PFs: 1}, "/share"), "q35")
	t.Setenv("LAB_ARCH", "arm64")
	assert.Equal(t, filepath.Join(Root(), "build", "lab-arm64"), Dir())
	assert.Equal(t, filepath.Join(Root(), "build", "arm64"), Programs())
	assert.Contains(t, Environ(), "GOARCH=arm64")
	assert.Contains(t, arguments(Options{PFs: 1}, "/share"), "virt,gic-version=3,highmem-mmio=off")
}

func TestConsoleTail(t *testing.T) {
	var c console
	fmt.Fprint(&c, strings.Repeat("x", consoleSize), "\r\none\r\ntwo\r\n")
	assert.Equal(t, "one\ntwo", c.tail(2))
	assert.LessOrEqual(t, len(c.buf), consoleSize)
}

// A share lives as long as somebody holds it.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	held, left := filepath.Join(parent, "held"), filepath.Join(parent, "left")
	for _, dir := range []string{held, left} {
		require.NoError(t, os.Mkdir(dir, 0o755))
	}
	f, err := lock(held, 0)
	require.NoError(t, err)
	defer f.Close()
	sweep(parent)
	got, err := filepath.Glob(parent + "/*")
	require.NoError(t, err)
	assert.Equal(t, []string{held}, got)
}

// TestQEMUDiesToo kills a process that started a child the way QEMU is started.
func TestQEMUDiesToo(t *testing.T) {
	if os.Getenv("LAB_TEST_PARENT") != "" {
		cmd := exec.Command("sleep", "1000")
		_, err := startQEMU(cmd)
		fmt.Println(cmd.Process.Pid, err)
		time.Sleep(time.Hour)
	}
	parent := exec.Command(os.Args[0], "-test.run", "^TestQEMUDiesToo$")
	parent.Env = append(os.Environ(), "LAB_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	parent.Process.Kill()
	parent.Wait()
	for end := time.Now().Add(2 * time.Minute); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the child outlives its parent")
		}
	}
}

// alive tells a process from one that is gone, or that only waits to be reaped.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ") && syscall.Kill(pid, 0) == nil
}

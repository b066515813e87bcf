package lab

import (
	"bufio"
	"context"
	"errors"
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
			if err != nil || out.Exit != i || string(out.Stdout) != text || string(out.Stderr) != "end\n" {
				t.Errorf("command %d: exit %d, %d bytes, %q, %v", i, out.Exit, len(out.Stdout), out.Stderr, err)
			}
		})
	}
	all.Wait()
}

func TestProtocolStreams(t *testing.T) {
	c, _ := local(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	p, err := c.start(Cmd{Args: []string{"sh", "-c", "echo one; read x; echo never"}, Stdin: nil, Stdout: w})
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line != "one\n" {
		t.Errorf("got %q, %v", line, err)
	}
	p.Kill()
	p.Wait()
}

func TestProtocolContextKills(t *testing.T) {
	c, _ := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.run(ctx, Cmd{Args: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A daemon keeps its parent's output open. Its parent's end is the end all the same.
func TestProtocolDaemon(t *testing.T) {
	c, _ := local(t)
	out, err := c.run(t.Context(), Cmd{Args: []string{"sh", "-c", "sleep 30 & echo started"}})
	if err != nil || string(out.Stdout) != "started\n" || out.Exit != 0 {
		t.Errorf("got %q, exit %d, %v", out.Stdout, out.Exit, err)
	}
}

func TestProtocolEnd(t *testing.T) {
	c, end := local(t)
	p, err := c.start(Cmd{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	end()
	if _, err := p.Wait(); err == nil || !strings.Contains(err.Error(), "the end") {
		t.Errorf("the command that ran: %v", err)
	}
	if _, err := c.start(Cmd{Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "the end") {
		t.Errorf("the next command: %v", err)
	}
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
	if !slices.Equal(r.Passed, []string{"TestA", "TestA/sub"}) || !slices.Equal(r.Skipped, []string{"TestB"}) ||
		!slices.Equal(r.Failed, []string{"TestC"}) {
		t.Errorf("got %v, %v, %v", r.Passed, r.Skipped, r.Failed)
	}
	for name, r := range map[string]GoTestResult{
		"failed":      {Passed: []string{"TestA"}, Failed: []string{"TestC"}},
		"skipped":     {Passed: []string{"TestA"}, Skipped: []string{"TestB"}},
		"none":        {},
		"exit status": {Passed: []string{"TestA"}, Output: Output{Exit: 2}},
	} {
		if r.verdict() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := (GoTestResult{Passed: []string{"TestA"}}).verdict(); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	if got := newest([]string{"6.1", "6.12"}); got != "6.12" {
		t.Error(got)
	}
	if slices.Compare(version("6.12"), version("6.1")) <= 0 {
		t.Error("6.12 is not newer than 6.1")
	}
}

func TestConsoleTail(t *testing.T) {
	var c console
	fmt.Fprint(&c, strings.Repeat("x", consoleSize), "\r\none\r\ntwo\r\n")
	if got := c.tail(2); got != "one\ntwo" {
		t.Errorf("got %q", got)
	}
	if n := len(c.buf); n > consoleSize {
		t.Errorf("keeps %d bytes", n)
	}
}

// A share lives as long as somebody holds it.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	held, left := filepath.Join(parent, "held"), filepath.Join(parent, "left")
	for _, dir := range []string{held, left} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f, err := lock(held, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sweep(parent)
	if got, _ := filepath.Glob(parent + "/*"); !slices.Equal(got, []string{held}) {
		t.Errorf("left are %v", got)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	parent.Process.Kill()
	parent.Wait()
	for end := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
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

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is "multibond keep" as it runs on a node. It is killed, and started again.
type keeper struct {
	report *Report
	inside bool // it may enter the pods' network namespaces, as of deploy/keep-inside
	mutex  sync.Mutex
	cmd    *exec.Cmd      // nil: it is away
	heard  chan struct{}  // closed when all that it has said was read
	killer sync.WaitGroup // of what is to kill it, and to start it again
	over   chan struct{}  // closed when it is not to be killed any more in this round
	said   []string       // in this round
	wrong  []string       // what it must never do
}

// forget begins a round.
func (k *keeper) forget() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.said, k.over = nil, make(chan struct{})
}

// become has it run as one of the two components, deploy/keep or deploy/keep-inside.
func (k *keeper) become(inside bool) error {
	if k.inside == inside {
		return nil
	}
	k.end()
	k.inside = inside
	return k.start()
}

// start starts it, unless it runs. Its parent is a thread that does nothing else: one that
// traces the plugin waits for all of its own children.
func (k *keeper) start() error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.cmd != nil {
		return nil
	}
	cmd, started := exec.Command("/proc/self/exe", k.arguments()...), make(chan error)
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	k.cmd, k.heard = cmd, make(chan struct{})
	go func(heard chan<- struct{}) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(heard)
		err := cmd.Start()
		if started <- err; err == nil {
			k.listen(cmd, said)
		}
	}(k.heard)
	if err = <-started; err != nil {
		k.cmd = nil
	}
	return err
}

// arguments are those of keep.
func (k *keeper) arguments() []string {
	all := []string{"keep", "-agent", agentSocket}
	if k.inside {
		all = append(all, "-netns", "/run/netns")
	}
	return all
}

// becomeKeep executes keep in place of this program, with the capabilities that its
// component has. Root has those of its bounding set (capabilities(7)).
func becomeKeep(arguments []string) {
	runtime.LockOSThread()
	has := []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BROADCAST}
	if slices.Contains(arguments, "-netns") {
		has = append(has, unix.CAP_SYS_ADMIN)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if !slices.Contains(has, c) {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // a kernel may not know the last ones
		}
	}
	program := binDir + "/multibond"
	err := unix.Exec(program, append([]string{program}, arguments...), os.Environ())
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// listen reads what it says until it ends. It must not end by itself.
func (k *keeper) listen(cmd *exec.Cmd, said io.Reader) {
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		k.hear(lines.Text())
	}
	_ = cmd.Wait()
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.cmd == cmd {
		k.cmd = nil
		k.wrong = append(k.wrong, fmt.Sprintf("keep ended by itself, %s: %s", cmd.ProcessState, strings.Join(k.said, "\n")))
	}
}

// lines are what it has said in this round.
func (k *keeper) lines() []string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return slices.Clone(k.said)
}

func (k *keeper) hear(line string) {
	if verbose {
		fmt.Fprintln(os.Stderr, "faults:", line)
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.said = append(k.said, line)
	if strings.HasSuffix(line, " is back in "+bondName) {
		k.report.LinksBack++
	}
}

// kill kills it at once, and notes what it was at.
func (k *keeper) kill() {
	if place := whereKeepWas(); k.end() {
		k.mutex.Lock()
		defer k.mutex.Unlock()
		k.report.KeepKills[place]++
	}
}

// end kills it, and waits for its end. It reports whether it ran.
func (k *keeper) end() bool {
	k.mutex.Lock()
	cmd, heard := k.cmd, k.heard
	if k.cmd = nil; cmd != nil {
		_ = cmd.Process.Kill()
	}
	k.mutex.Unlock()
	if cmd != nil {
		<-heard
	}
	return cmd != nil
}

// killLater kills it, when it is time and the operation's time after that has passed, and
// starts it again when it was away for long enough.
func (k *keeper) killLater(o Operation, isTime func() bool) {
	k.mutex.Lock()
	over := k.over
	k.mutex.Unlock()
	k.killer.Go(func() {
		for !isTime() {
			select {
			case <-over:
				return
			case <-time.After(3 * time.Millisecond):
			}
		}
		time.Sleep(time.Duration(o.At) * time.Millisecond)
		k.kill()
		time.Sleep(time.Duration(o.Away) * time.Millisecond)
		_ = k.start() // settle tries it again
	})
}

// settle ends a round: it is not killed any more, and runs. It returns what went wrong.
func (k *keeper) settle() (wrong []string) {
	close(k.over)
	k.killer.Wait()
	if err := k.start(); err != nil {
		wrong = append(wrong, err.Error())
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	wrong = append(wrong, k.wrong...)
	k.wrong = nil
	return wrong
}

// records are the texts of all Records.
func records() (all [][]byte) {
	files, _ := filepath.Glob(stateDir + "/*.json")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			all = append(all, text)
		}
	}
	return all
}

// works are the keys of Records by which they say what keep has begun and not ended.
var works = []struct{ key, what string }{
	{`"returning":`, "a link was returning"}, {`"relayed":`, "a VF was without its carrier"}, {`"downed":`, "a link was down in its pod"},
}

// isAtWork reports whether keep has begun something.
func isAtWork() bool {
	all := bytes.Join(records(), nil)
	return slices.ContainsFunc(works, func(w struct{ key, what string }) bool { return bytes.Contains(all, []byte(w.key)) })
}

// whereKeepWas says what keep was at by the Records.
func whereKeepWas() string {
	all := bytes.Join(records(), nil)
	for _, w := range works {
		if bytes.Contains(all, []byte(w.key)) {
			return w.what
		}
	}
	if len(all) > 0 {
		return "there were Records"
	}
	return "there was no Record"
}

// probe is the demo's eye in the guest: it sends echo requests and watches files
// of sysfs, until it gets SIGTERM, or tells when a command began and ended. It
// sees the network namespace that it was started in. Its output is one
// [event.Event] per line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/demo/event"
)

func main() {
	to := flag.String("ping", "", "address to send echo requests to")
	every := flag.Duration("every", 10*time.Millisecond, "time between echo requests")
	late := flag.Duration("late", time.Second, "how long to wait for answers after SIGTERM")
	var watch [][]string
	flag.Func("watch", "files below /sys/class/net, separated by commas; each flag of this kind has its own thread", func(s string) error {
		watch = append(watch, strings.Split(s, ","))
		return nil
	})
	wire := flag.String("listen", "", "interface on which to listen for announcements of addresses")
	poll := flag.Duration("poll", 5*time.Millisecond, "time between two reads of a file")
	flag.Parse()

	tell := newTeller(os.Stdout)
	go tell.keepFlushing(200 * time.Millisecond)
	var err error
	if flag.NArg() > 0 {
		err = run(tell, flag.Args())
	} else {
		err = observe(tell, *to, *every, *late, watch, *poll, *wire)
	}
	tell.flush()
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// observe pings, watches and listens until SIGTERM.
func observe(tell *teller, to string, every, late time.Duration, watch [][]string, poll time.Duration, wire string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	errs := make(chan error)
	begin := func(f func() error) { go func() { errs <- f() }() }
	for _, files := range watch {
		begin(func() error { return watchFiles(ctx, tell, files, poll) })
	}
	begin(func() error { return ping(ctx, tell, to, every, late) })
	begin(func() error { return listen(ctx, tell, wire) })
	tell.now(event.Event{Kind: event.Ready, Value: strconv.Itoa(os.Getpid())})
	for range len(watch) + 2 {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// run tells the moments before and after a command, whose output is passed on
// as errors are.
func run(tell *teller, args []string) error {
	line := strings.Join(args, " ")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	tell.now(event.Event{Kind: event.Began, Value: line})
	err := cmd.Run()
	tell.now(event.Event{Kind: event.Ended, Value: line})
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// teller writes events, from any goroutine. It writes what has gathered a few
// times a second: on an emulated processor, a write per event would slow down
// what is measured.
type teller struct {
	mu  sync.Mutex
	buf *bufio.Writer
	out *json.Encoder
}

func newTeller(w io.Writer) *teller {
	buf := bufio.NewWriter(w)
	return &teller{buf: buf, out: json.NewEncoder(buf)}
}

// tell takes an event that has its time. Nobody is there to be told that nobody
// listens any more.
func (t *teller) tell(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.out.Encode(e)
}

func (t *teller) now(e event.Event) {
	e.At = now()
	t.tell(e)
}

func (t *teller) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.buf.Flush()
}

// keepFlushing never ends.
func (t *teller) keepFlushing(every time.Duration) {
	for range time.Tick(every) {
		t.flush()
	}
}

// now is the time; every Linux has that clock.
func now() int64 {
	at, err := event.Now()
	if err != nil {
		panic(err)
	}
	return at
}

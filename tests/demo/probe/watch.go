package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/tests/demo/event"
)

// watchFiles tells what files below /sys/class/net say, at first and whenever one
// says something else. They are read in the order given, and told of in the
// opposite one with one time: so where the kernel changes the last before the
// first, no look comes between in a way that shows it the other way round.
func watchFiles(ctx context.Context, tell *teller, names []string, every time.Duration) error {
	files := make([]*file, 0, len(names))
	for _, name := range names {
		f, err := openFile(name)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		look(tell, files)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func look(tell *teller, files []*file) {
	var news []event.Event
	for _, f := range files {
		if f.changed() {
			news = append(news, event.Event{Kind: event.Seen, What: f.name, Value: f.value})
		}
	}
	at := now()
	for _, e := range slices.Backward(news) {
		e.At = at
		tell.tell(e)
	}
}

// file is one that stays open: looking it up anew costs several times the read.
// It is read by system calls alone, since Go's files would wait for it in epoll.
type file struct {
	name  string
	fd    int
	read  bool
	value string
}

func openFile(name string) (*file, error) {
	path := filepath.Join("/sys/class/net", name)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.New(path + ": " + err.Error())
	}
	return &file{name: name, fd: fd}, nil
}

// changed reads the file and says whether its value is new.
func (f *file) changed() bool {
	value := f.text()
	changed := !f.read || value != f.value
	f.read, f.value = true, value
	return changed
}

// text is what the file says: "down" for the carrier of an interface that is set
// down, which is EINVAL to the kernel, and any other error's text.
func (f *file) text() string {
	var buf [256]byte
	n, err := unix.Pread(f.fd, buf[:], 0)
	switch {
	case errors.Is(err, unix.EINVAL):
		return "down"
	case err != nil:
		return err.Error()
	}
	return strings.TrimSpace(string(buf[:n]))
}

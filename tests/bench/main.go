package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Report is build/report/bench.json. Times are in milliseconds.
type Report struct {
	When       string           `json:"when"`
	Processors int              `json:"processors"`
	Kernel     string           `json:"kernel"`
	Rounds     int              `json:"rounds"`
	StartUp    map[string]Stats `json:"startUp"`
	Timeline   []Bar            `json:"timeline"` // of one ADD of eight networks
	Peers      []Peer           `json:"peers"`
	Bursts     []Burst          `json:"bursts"`
	Growth     []Growth         `json:"growth"`
	Memory     map[string]int   `json:"memoryKiB"` // of the daemons, the most that they had
	Error      string           `json:"error,omitempty"`
}

func main() {
	file := flag.String("report", "build/report/bench.json", "where the report goes")
	rounds := flag.Int("rounds", 15, "of each measurement")
	here := flag.Bool("private", false, "for its own use: it is in a mount namespace of its own")
	flag.Parse()
	var err error
	if *here {
		err = measure(*file, *rounds)
	} else {
		err = inPrivate(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(file string, rounds int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	r := Report{When: time.Now().UTC().Format(time.RFC3339), Processors: runtime.NumCPU(), Kernel: strings.TrimSpace(string(release)), Rounds: rounds}
	if err = mountPrivate(); err == nil {
		err = r.onHost(ctx, rounds)
	}
	if err != nil {
		r.Error = err.Error()
	}
	text, _ := json.MarshalIndent(r, "", "  ")
	return errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(text, '\n'), 0o644))
}

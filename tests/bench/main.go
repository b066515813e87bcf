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

// Report is the content of build/report/bench.json. Times are in milliseconds.
type Report struct {
	When         string            `json:"when"`
	Processors   int               `json:"processors"`
	Kernel       string            `json:"kernel"`
	LabKernel    string            `json:"labKernel,omitempty"`
	Versions     map[string]string `json:"versions"`
	Rounds       int               `json:"rounds"`
	StartUp      map[string]Stats  `json:"startUp"`
	StartUpOther Ratio             `json:"startUpOtherRatio,omitzero"` // to the other version's
	StartUpRatio Ratio             `json:"startUpRatio,omitzero"`      // to an empty program's
	Instructions map[string]int    `json:"instructions,omitempty"`     // of the plugin's VERSION, and of an empty program
	PluginBytes  int               `json:"pluginBytes"`
	OtherBytes   int               `json:"otherBytes,omitempty"` // of the other version
	Imports      []Import          `json:"imports"`
	Timeline     []Bar             `json:"timeline"` // of one ADD with eight networks
	Peers        []Peer            `json:"peers"`
	Lab          []LabPeer         `json:"lab"`               // with real VFs
	LeftOut      string            `json:"leftOut,omitempty"` // what was not measured, and why
	Bursts       []Burst           `json:"bursts"`
	Growth       []Growth          `json:"growth"`
	Memory       map[string]int    `json:"memoryKiB"` // of the daemons, at most
	Agent        *AgentFigures     `json:"agent"`
	Error        string            `json:"error,omitempty"`
}

func main() {
	file := flag.String("report", "build/report/bench.json", "`file` for the report")
	rounds := flag.Int("rounds", 15, "`number` of rounds of each measurement; three times as many with delegates that do nothing, five times as many for the start")
	here := flag.Bool("private", false, "internal: the program runs in its own mount namespace")
	guest := flag.Bool("guest", false, "internal: the program runs in the guest of the lab")
	parts := flag.String("parts", "host,lab", "`parts` to measure: host (on this machine, with delegates that do nothing), lab (with real VFs), instructions (of the start of the plugin, which takes minutes)")
	bondCNI := flag.String("bond-cni", "", "static `program` built from bond-cni; with it, Multus attaches the bonds of the lab, too")
	sriov := flag.String("sriov", "", "static `program` built from sriov-cni, for all contenders (default: the lab's)")
	other := flag.String("other", "", "`directory` with multibond and multibond-agent of another version, which is a contender, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *guest:
		err = inGuest(ctx)
	case *here:
		var given programs
		if given, err = readPrograms(*bondCNI, *sriov, *other); err == nil {
			err = measure(ctx, *file, strings.Split(*parts, ","), *rounds, given)
		}
	default:
		err = inPrivate(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure measures the parts and writes the report, with the error if one fails.
func measure(ctx context.Context, file string, parts []string, rounds int, given programs) error {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	r := Report{When: time.Now().UTC().Format(time.RFC3339), Processors: runtime.NumCPU(), Kernel: strings.TrimSpace(string(release)), Rounds: rounds}
	if err = mountPrivate(); err == nil {
		fmt.Println("building the contenders")
		err = install(ctx, given)
	}
	if err == nil {
		r.Versions, err = versions(given)
	}
	all := map[string]func(context.Context, programs) error{"host": r.onHost, "lab": r.inLab, "instructions": r.countInstructions}
	for _, part := range parts {
		if err == nil && all[part] == nil {
			err = fmt.Errorf("there is no part %q", part)
		}
		if err == nil {
			err = all[part](ctx, given)
		}
	}
	if err != nil {
		r.Error = err.Error()
	}
	text, _ := json.MarshalIndent(r, "", "  ")
	err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(text, '\n'), 0o644))
	if len(r.Peers) > 0 {
		err = errors.Join(err, os.WriteFile(strings.TrimSuffix(file, ".json")+".svg", []byte(picture(r.Peers)), 0o644))
	}
	if len(r.Lab) > 0 { // the first pod has the smallest bond
		err = errors.Join(err, os.WriteFile(strings.TrimSuffix(file, ".json")+"-timeline.svg", []byte(timelinePicture(r.Lab[0].Timeline)), 0o644))
	}
	return err
}

// Faults is a campaign that nobody steers: in the lab, with real VFs and the real
// sriov-cni, random sandboxes are attached, detached, checked and collected, in
// random order and beside each other, while things go wrong: the plugin is killed
// at a random instant or after a random system call, a DEL is killed at its
// deadline and repeated, as by runtimes, sriov-cni refuses, dies, hangs, prints
// garbage or leaves a VLAN, IPAM fails after its work or hangs, the disk is full or
// read-only, Records are cut short, namespaces go away, the application in the pod
// deletes or renames the bond and its links, or a rule, VFs are made anew, cables are pulled,
// the machine reboots. keep runs beside all that, is killed and started again. A
// bond that has lost nothing but links must be whole then. After each round
// everything is undone as a runtime undoes it, and the whole state compared with
// what it was: PFs, every VF and what its PF keeps for it, bonds and other links,
// rules, routes, addresses, Records, sriov-cni's files. Some sandboxes have bonds,
// others an interface of each link.
//
// A round depends on the seed and its number only, up to the instants at which
// things happen. One that leaks is tried again with fewer operations, and the
// shortest sequence is printed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/lab"
)

func main() {
	kernel := flag.String("kernel", "", "kernel of the guest (default: the newest)")
	plugin := flag.String("plugin", "build/multibond", "the plugin")
	file := flag.String("report", "build/report/faults.json", "file for the report")
	seed := flag.Uint64("seed", 1, "seed of all random choices")
	rounds := flag.Int("rounds", 200, "number of rounds")
	only := flag.Int("only", 0, "number of the only round to run (0: all)")
	verbose := flag.Bool("verbose", false, "print each operation when it begins")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := run(ctx, *kernel, *plugin, fmt.Sprintf("-seed=%d -rounds=%d -only=%d -verbose=%t", *seed, *rounds, *only, *verbose))
	if len(report) > 0 {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(*file), 0o755), os.WriteFile(*file, report, 0o644), summary(report, *file))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		stop()
		os.Exit(1)
	}
}

// run boots the lab and has the driver do the rest there.
func run(ctx context.Context, kernel, plugin, flags string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "multibond-faults-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	driver := filepath.Join(dir, "driver")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", driver, "./tests/faults/driver")
	build.Dir, build.Env = lab.Root(), lab.Environ()
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	const life = 12 * time.Hour // of ROUNDS=10000, and more
	vm, err := lab.Boot(ctx, lab.Options{Kernel: kernel, PFs: 2, VFs: 2, Log: os.Stderr, Timeout: life,
		Files: map[string]string{"bin/multibond": plugin, "bin/faults-driver": driver}})
	if err != nil {
		return nil, err
	}
	defer vm.Close()
	said, says := io.Pipe()
	go obey(vm, said)
	out, err := vm.Run(ctx, lab.Cmd{Args: []string{"sh", "-c", "exec /opt/cni/bin/faults-driver " + flags}, Stderr: says, Timeout: life})
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("the campaign exited with status %d", out.Exit)
	}
	return out.Stdout, err
}

// obey pulls and plugs cables as lines of the driver order it. It prints the other lines.
func obey(vm *lab.VM, said io.Reader) {
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var pf int
		var order string
		if n, _ := fmt.Sscanf(lines.Text(), "faults: cable %d %s", &pf, &order); n < 2 {
			fmt.Fprintln(os.Stderr, lines.Text())
		} else if err := vm.Cable(pf, order == "on"); err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err) // the driver waits for it in vain
		}
	}
}

// summary says in lines what the report says.
func summary(report []byte, file string) error {
	var r struct {
		Seed                      uint64
		Rounds, Leaks             int
		LinksBack, BondsWhole     int
		Operations                map[string]int
		KillsByPlace              map[string]int
		KeepKillsByPlace          map[string]int
		SlowestRestoreMS, Seconds float64
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return err
	}
	fmt.Printf("seed %d: %d rounds, %d operations, the plugin killed %d times at %d places, keep %d times, %d links brought back, %d bonds whole again, %d leaks, slowest DEL %.0f ms, %.0f s: %s\n",
		r.Seed, r.Rounds, sum(r.Operations), sum(r.KillsByPlace), len(r.KillsByPlace), sum(r.KeepKillsByPlace), r.LinksBack, r.BondsWhole, r.Leaks, r.SlowestRestoreMS, r.Seconds, file)
	return nil
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

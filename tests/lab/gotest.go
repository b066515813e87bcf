package lab

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"time"
)

// GoTestResult is what a Go test binary did in the guest.
type GoTestResult struct {
	Output                  Output
	Passed, Failed, Skipped []string // tests and subtests
}

var verdict = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+)`)

// GoTest runs a compiled test binary of the host in the guest, verbosely and with
// MULTIBOND_LAB=1, and streams its output to the VM's log. In the guest, all
// that a test can need is there: so a failed test, a skipped one and a run of no
// tests are an error each.
func (vm *VM) GoTest(ctx context.Context, binary string, args ...string) (GoTestResult, error) {
	file := path.Join("test", filepath.Base(binary))
	if err := vm.share.upload(file, binary); err != nil {
		return GoTestResult{}, fmt.Errorf("lab: %w", err)
	}
	// It runs from memory: paging it in through the share is slow.
	script := `cp "$0" /tmp/test.$$ && chmod +x /tmp/test.$$ && exec /tmp/test.$$ -test.v "$@"`
	out, err := vm.Run(ctx, Cmd{
		Args:   append([]string{"sh", "-c", script, path.Join("/lab", file)}, args...),
		Env:    []string{"MULTIBOND_LAB=1"},
		Dir:    "/tmp",
		Stdout: vm.log,
		Stderr: vm.log,
		// The context ends it before, or the VM's own limit.
		Timeout: time.Hour,
	})
	r := parseGoTest(out)
	if err == nil {
		err = r.verdict()
	}
	return r, err
}

func parseGoTest(out Output) GoTestResult {
	r := GoTestResult{Output: out}
	lists := map[string]*[]string{"PASS": &r.Passed, "FAIL": &r.Failed, "SKIP": &r.Skipped}
	for _, m := range verdict.FindAllSubmatch(out.Stdout, -1) {
		list := lists[string(m[1])]
		*list = append(*list, string(m[2]))
	}
	return r
}

func (r GoTestResult) verdict() error {
	switch {
	case len(r.Failed) > 0:
		return fmt.Errorf("lab: failed in the guest: %v", r.Failed)
	case r.Output.Exit != 0:
		return fmt.Errorf("lab: the tests ended with exit status %d: %s", r.Output.Exit, r.Output.Stderr)
	case len(r.Skipped) > 0:
		return fmt.Errorf("lab: skipped in the guest, where nothing may be missing: %v", r.Skipped)
	case len(r.Passed) == 0:
		return fmt.Errorf("lab: no test ran in the guest")
	}
	return nil
}

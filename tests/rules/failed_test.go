package rules

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A run that fails ends with what the failed test said, wherever that stood, and however
// often that test passed elsewhere.
func TestFailed(t *testing.T) {
	awk := exec.Command("awk", "-f", "../failed.awk")
	awk.Stdin = strings.NewReader(`=== RUN   TestA
=== RUN   TestA/one
=== PAUSE TestA/one
=== RUN   TestA/two
a line of two
=== CONT  TestA/one
    a_test.go:3: not as it should be
=== CONT  TestA/two
another one
--- FAIL: TestA (0.20s)
    --- FAIL: TestA/one (0.10s)
    --- PASS: TestA/two (0.10s)
=== RUN   TestB
fine
--- PASS: TestB (0.00s)
=== RUN   TestKernel/6.1
=== RUN   TestKernel/6.12
    lab: booting 6.12
=== NAME  TestKernel/6.1
    === RUN   TestLab
    === RUN   TestLab/drill
        script.go:609: as it should be, with the other sriov-cni
    --- PASS: TestLab (0.1s)
        --- PASS: TestLab/drill (0.1s)
    === RUN   TestLab
=== NAME  TestKernel/6.12
    === RUN   TestLab
=== NAME  TestKernel/6.1
    === RUN   TestLab/drill
=== NAME  TestKernel/6.12
    === RUN   TestLab/drill
=== NAME  TestKernel/6.1
        script.go:609: > drill, on 6.1
=== NAME  TestKernel/6.12
        script.go:609: > drill, on 6.12
=== NAME  TestKernel/6.1
            not as it should be, either
    --- FAIL: TestLab (0.2s)
        --- FAIL: TestLab/drill (0.1s)
=== NAME  TestKernel/6.12
    --- PASS: TestLab (0.2s)
        --- PASS: TestLab/drill (0.1s)
=== NAME  TestKernel/6.1
    kernel_test.go:54: failed in the guest: [TestLab TestLab/drill]
--- FAIL: TestKernel (0.20s)
    --- PASS: TestKernel/6.12 (0.20s)
    --- FAIL: TestKernel/6.1 (0.20s)
--- FAIL: TestC (0.00s)
    c_test.go:8: without -v it comes afterwards
FAIL
`)
	out, err := awk.Output()
	require.NoError(t, err)
	require.Equal(t, `
== the last lines of TestA/one
    a_test.go:3: not as it should be

== the last lines of TestKernel/6.1 TestLab/drill
        script.go:609: > drill, on 6.1
            not as it should be, either

== the last lines of TestKernel/6.1
    kernel_test.go:54: failed in the guest: [TestLab TestLab/drill]

== the last lines of TestC
    c_test.go:8: without -v it comes afterwards
FAIL
`, string(out))
}

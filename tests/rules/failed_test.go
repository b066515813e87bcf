package rules

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A run that fails ends with what the failed test said, wherever that stood, and however
// often that test passed before and afterwards.
func TestFailed(t *testing.T) {
	awk := exec.Command("awk", "-f", "../failed.awk")
	awk.Stdin = strings.NewReader(`=== RUN   TestA
=== RUN   TestA/one
    a_test.go:3: as it should be, on the kernel before
    --- PASS: TestA/one (0.10s)
=== RUN   TestA
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
    a_test.go:9: a subtest failed
=== RUN   TestA
=== RUN   TestA/one
    a_test.go:3: as it should be, on the next kernel
    --- PASS: TestA/one (0.10s)
=== RUN   TestB
fine
--- PASS: TestB (0.00s)
--- FAIL: TestC (0.00s)
    c_test.go:8: without -v it comes afterwards
FAIL
`)
	out, err := awk.Output()
	require.NoError(t, err)
	require.Equal(t, `
== the last lines of TestA/one
    a_test.go:3: not as it should be

== the last lines of TestC
    c_test.go:8: without -v it comes afterwards
FAIL
`, string(out))
}

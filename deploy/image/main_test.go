package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	program, out := filepath.Join(dir, "p"), filepath.Join(dir, "image.tar")
	require.NoError(t, os.WriteFile(program, []byte("program"), 0o600))
	require.NoError(t, run([]string{"-o", out, "-name", "example.org/a:1", "-arch", "arm64", "-entrypoint", "/bin/p", "-file", "/bin/p=" + program}, io.Discard))
	image, err := os.ReadFile(out)
	require.NoError(t, err)
	for _, part := range []string{`"architecture":"arm64"`, `"Entrypoint":["/bin/p"]`, "example.org/a:1"} {
		assert.Contains(t, string(image), part)
	}
}

func TestErrors(t *testing.T) {
	for _, args := range []string{"", "-o x -name y", "-o x -name y -file bin=p", "-o x -name y -file /bin/p", "-o x -name y -file /p=/nonexistent", "-o x -name y -file /p=p more"} {
		assert.Error(t, run(strings.Fields(args), io.Discard), args)
	}
	assert.NoFileExists(t, "x")
}

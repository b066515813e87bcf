package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadPrograms(t *testing.T) {
	dir := t.TempDir()
	text, static := filepath.Join(dir, "text"), filepath.Join(dir, "noop")
	require.NoError(t, os.WriteFile(text, []byte("#!/bin/sh\nexec bond\n"), 0o755))
	require.NoError(t, build(t.Context(), ".", static, "./tests/bench/noop"))

	got, err := readPrograms("", "", "")
	require.NoError(t, err)
	assert.Empty(t, got)

	for path, cause := range map[string]string{
		filepath.Join(dir, "none"): "no such file or directory",
		dir:                        "is a directory",
		text:                       "not an ELF program: bad magic number '[35 33 47 98]' in record at byte 0x0",
		"/bin/sh":                  "the program needs /lib64/ld-linux-x86-64.so.2, which the lab's VM does not have",
		static:                     "the program was built from github.com/multibond/multibond, not from github.com/intel/bond-cni",
	} {
		_, err := readPrograms(path, "", "")
		assert.EqualError(t, err, "-bond-cni "+path+": "+cause+"; give the path of a static program that was built from github.com/intel/bond-cni")
	}

	_, err = readPrograms("/a", "/b", "/c")
	for _, flag := range []string{"-bond-cni /a: ", "-sriov /b: ", "-other /c/multibond: ", "-other /c/multibond-agent: "} {
		assert.ErrorContains(t, err, flag)
	}

	require.NoError(t, os.Rename(static, filepath.Join(dir, "multibond")))
	_, err = readPrograms("", "", dir)
	assert.ErrorContains(t, err, filepath.Join(dir, "multibond-agent")+": no such file")
	require.NoError(t, os.Link(filepath.Join(dir, "multibond"), filepath.Join(dir, "multibond-agent")))
	got, err = readPrograms("", "", dir)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"other", "other-agent"}, slices.Collect(maps.Keys(got)))
}

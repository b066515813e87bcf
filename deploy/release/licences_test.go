package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLicences: each module of a program is named with a licence, and a text that many have
// is there once.
func TestLicences(t *testing.T) {
	info, is := debug.ReadBuildInfo()
	require.True(t, is)
	require.NotEmpty(t, info.Deps, "this test's own modules")
	data, err := release{root: "../.."}.licences(t.Context(), []program{{info: info}, {info: info}})
	require.NoError(t, err)
	text := string(data)
	for _, m := range info.Deps {
		assert.Regexp(t, `(?m)^  `+m.Path+` \S+ (?i:licen[cs]e|copying)`, text)
	}
	assert.Contains(t, text, "  "+standardLibrary+strings.TrimPrefix(info.GoVersion, "go")+" LICENSE\n")
	assert.Contains(t, text, " NOTICE\n", "of go.yaml.in/yaml")
	once := map[string]bool{}
	sections := strings.Split(text, "\n"+strings.Repeat("=", 80)+"\n")[1:]
	for _, section := range sections {
		_, licence, _ := strings.Cut(strings.TrimPrefix(section, "\n"), "\n\n")
		once[licence] = true
	}
	assert.Len(t, once, len(sections))
	assert.Less(t, len(sections), len(info.Deps))
}

// TestModuleWithoutLicence: what must not be passed on is not passed on.
func TestModuleWithoutLicence(t *testing.T) {
	root := t.TempDir()
	dep := filepath.Join(root, "dep")
	require.NoError(t, os.MkdirAll(filepath.Join(dep, "testdata"), 0o700))
	for file, text := range map[string]string{
		"go.mod":     "module example.org/main\n\nrequire example.org/dep v0.0.0\n\nreplace example.org/dep => ./dep\n",
		"dep/go.mod": "module example.org/dep\n", "dep/license.go": "package dep\n", "dep/testdata/LICENSE": "of test data",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, file), []byte(text), 0o600))
	}
	r := release{root: root}
	p := []program{{info: &debug.BuildInfo{GoVersion: "go1.26", Deps: []*debug.Module{{Path: "example.org/dep"}}}}}
	_, err := r.licences(t.Context(), p)
	assert.ErrorContains(t, err, "module example.org/dep v0.0.0 has no licence in")
	require.NoError(t, os.WriteFile(filepath.Join(dep, "Licence.md"), []byte("Do what you like.\r\nReally.\n"), 0o600))
	text, err := r.licences(t.Context(), p)
	require.NoError(t, err)
	assert.Contains(t, string(text), "\n  example.org/dep v0.0.0 Licence.md\n\nDo what you like.\nReally.\n")
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entries lists name, mode and link of each entry of a tar file, and the contents.
func entries(t *testing.T, r io.Reader) (order []string, content map[string]string) {
	t.Helper()
	content = map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return order, content
		}
		require.NoError(t, err)
		data, err := io.ReadAll(in)
		require.NoError(t, err)
		order = append(order, fmt.Sprintf("%s %o %s", h.Name, h.Mode, h.Linkname))
		content[h.Name] = string(data)
	}
}

func build(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	program, out := filepath.Join(dir, "p"), filepath.Join(dir, "image.tar")
	require.NoError(t, os.WriteFile(program, []byte("program"), 0o600))
	err := run([]string{"-o", out, "-name", "example.org/a/b:1", "-entrypoint", "/bin/p", "-file", "/bin/p=" + program, "-link", "/bin/sh=p"}, io.Discard)
	require.NoError(t, err)
	image, err := os.ReadFile(out)
	require.NoError(t, err)
	return image
}

func TestImage(t *testing.T) {
	image := build(t)
	_, content := entries(t, bytes.NewReader(image))
	for name, data := range content {
		if digest, is := strings.CutPrefix(name, "blobs/sha256/"); is {
			assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(data))), digest)
		}
	}
	var index struct {
		Manifests []struct {
			Digest      string
			Size        int
			Annotations map[string]string
		}
	}
	read := func(name string, into any) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(content[name]), into), name)
	}
	path := func(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }
	read("index.json", &index)
	assert.Equal(t, "example.org/a/b:1", index.Manifests[0].Annotations["io.containerd.image.name"])
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	read(path(index.Manifests[0].Digest), &manifest)
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(path(manifest.Config.Digest), &config)
	assert.Equal(t, []string{"/bin/p"}, config.Config.Entrypoint)
	zipped, err := gzip.NewReader(strings.NewReader(content[path(manifest.Layers[0].Digest)]))
	require.NoError(t, err)
	layer, err := io.ReadAll(zipped)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)), config.RootFS.DiffIDs[0])
	order, files := entries(t, bytes.NewReader(layer))
	assert.Equal(t, []string{"bin/ 755 ", "bin/p 755 ", "bin/sh 777 p"}, order)
	assert.Equal(t, "program", files["bin/p"])
	assert.True(t, bytes.Equal(image, build(t)), "the same files make another image")
}

func TestErrors(t *testing.T) {
	for _, args := range []string{"", "-o x -name y", "-o x -name y -file bin=p", "-o x -name y -file /bin/p", "-o x -name y -file /p=/nonexistent", "-o x -name y -file /p=p more"} {
		assert.Error(t, run(strings.Fields(args), io.Discard), args)
	}
	assert.NoFileExists(t, "x")
}

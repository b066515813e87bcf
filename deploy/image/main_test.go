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

	"github.com/google/go-cmp/cmp"
)

// entries reads a tar file: name, mode, type, link and content of each.
func entries(t *testing.T, r io.Reader) (order []string, content map[string]string) {
	t.Helper()
	content = map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return order, content
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, fmt.Sprintf("%s %o %s", h.Name, h.Mode, h.Linkname))
		content[h.Name] = string(data)
	}
}

func build(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	program, out := filepath.Join(dir, "p"), filepath.Join(dir, "image.tar")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run([]string{"-o", out, "-name", "example.org/a/b:1", "-entrypoint", "/bin/p", "-file", "/bin/p=" + program, "-link", "/bin/sh=p"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestImage(t *testing.T) {
	image := build(t)
	_, content := entries(t, bytes.NewReader(image))
	for name, data := range content {
		if digest, is := strings.CutPrefix(name, "blobs/sha256/"); is && digest != fmt.Sprintf("%x", sha256.Sum256([]byte(data))) {
			t.Errorf("blob %s has another content", digest)
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
		if err := json.Unmarshal([]byte(content[name]), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	path := func(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }
	read("index.json", &index)
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != "example.org/a/b:1" {
		t.Errorf("name %q", got)
	}
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
	if diff := cmp.Diff([]string{"/bin/p"}, config.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	zipped, err := gzip.NewReader(strings.NewReader(content[path(manifest.Layers[0].Digest)]))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(layer)); got != config.RootFS.DiffIDs[0] {
		t.Errorf("the layer is %s, the configuration says %s", got, config.RootFS.DiffIDs[0])
	}
	order, files := entries(t, bytes.NewReader(layer))
	if diff := cmp.Diff([]string{"bin/ 755 ", "bin/p 755 ", "bin/sh 777 p"}, order); diff != "" {
		t.Errorf("layer, -want +got:\n%s", diff)
	}
	if files["bin/p"] != "program" {
		t.Errorf("the file is %q", files["bin/p"])
	}
	if !bytes.Equal(image, build(t)) {
		t.Error("the same files make another image")
	}
}

func TestErrors(t *testing.T) {
	for _, args := range []string{"", "-o x -name y", "-o x -name y -file bin=p", "-o x -name y -file /bin/p", "-o x -name y -file /p=/nonexistent", "-o x -name y -file /p=p more"} {
		if err := run(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if _, err := os.Stat("x"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file was written")
	}
}

package oci

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
	"time"

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

// build returns a layout of images for the architectures.
func build(t *testing.T, arches ...string) (layout []byte, digest string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "p")
	require.NoError(t, os.WriteFile(program, []byte("program"), 0o600))
	var images []Image
	for _, arch := range arches {
		images = append(images, Image{
			Arch: arch, Files: [][2]string{{"/bin/p", program}}, Links: [][2]string{{"/bin/sh", "p"}}, Entrypoint: "/bin/p",
			Labels: map[string]string{"org.opencontainers.image.version": "v1"}, Created: time.Unix(1, 0),
		})
	}
	layout, digest, err := Layout("example.org/a/b:1", images...)
	require.NoError(t, err)
	return layout, digest
}

// descriptor is what the specification's descriptors have.
type descriptor struct {
	MediaType, Digest string
	Size              int
	Annotations       map[string]string
	Platform          struct{ OS, Architecture string }
}

// read reads what a descriptor names.
func read(t *testing.T, content map[string]string, d descriptor, into any) {
	t.Helper()
	text := content["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
	require.Len(t, text, d.Size)
	require.NoError(t, json.Unmarshal([]byte(text), into))
}

// top returns the one descriptor of a layout.
func top(t *testing.T, content map[string]string) descriptor {
	t.Helper()
	var index struct{ Manifests []descriptor }
	require.NoError(t, json.Unmarshal([]byte(content["index.json"]), &index))
	require.Len(t, index.Manifests, 1)
	return index.Manifests[0]
}

func TestImage(t *testing.T) {
	image, digest := build(t, "amd64")
	_, content := entries(t, bytes.NewReader(image))
	for name, data := range content {
		if digest, is := strings.CutPrefix(name, "blobs/sha256/"); is {
			assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(data))), digest)
		}
	}
	d := top(t, content)
	assert.Equal(t, digest, d.Digest)
	assert.Equal(t, "example.org/a/b:1", d.Annotations["io.containerd.image.name"])
	checkManifest(t, content, d, "amd64")
	assert.Contains(t, content, "manifest.json")
	again, _ := build(t, "amd64")
	assert.True(t, bytes.Equal(image, again), "the same files make another image")
}

// An index has an image for each architecture, with which runtimes choose.
func TestIndex(t *testing.T) {
	layout, digest := build(t, "amd64", "arm64")
	_, content := entries(t, bytes.NewReader(layout))
	d := top(t, content)
	assert.Equal(t, digest, d.Digest)
	assert.Equal(t, "application/vnd.oci.image.index.v1+json", d.MediaType)
	assert.Equal(t, "example.org/a/b:1", d.Annotations["io.containerd.image.name"])
	var index struct {
		MediaType   string
		Manifests   []descriptor
		Annotations map[string]string
	}
	read(t, content, d, &index)
	assert.Equal(t, d.MediaType, index.MediaType)
	assert.Equal(t, "v1", index.Annotations["org.opencontainers.image.version"])
	require.Len(t, index.Manifests, 2)
	for i, arch := range []string{"amd64", "arm64"} {
		assert.Equal(t, arch, index.Manifests[i].Platform.Architecture)
		assert.Equal(t, "linux", index.Manifests[i].Platform.OS)
		checkManifest(t, content, index.Manifests[i], arch)
	}
	assert.NotContains(t, content, "manifest.json", "older tools would take the one image for all nodes")
}

// checkManifest checks the manifest of an image that build has made.
func checkManifest(t *testing.T, content map[string]string, d descriptor, arch string) {
	t.Helper()
	var manifest struct {
		Config      descriptor
		Layers      []descriptor
		Annotations map[string]string
	}
	read(t, content, d, &manifest)
	assert.Equal(t, "v1", manifest.Annotations["org.opencontainers.image.version"])
	var config struct {
		Architecture, OS, Created string
		Config                    struct {
			Entrypoint []string
			Labels     map[string]string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(t, content, manifest.Config, &config)
	assert.Equal(t, []string{arch, "linux", "1970-01-01T00:00:01Z"}, []string{config.Architecture, config.OS, config.Created})
	assert.Equal(t, []string{"/bin/p"}, config.Config.Entrypoint)
	assert.Equal(t, "v1", config.Config.Labels["org.opencontainers.image.version"])
	require.Len(t, manifest.Layers, 1)
	zipped, err := gzip.NewReader(strings.NewReader(content["blobs/sha256/"+strings.TrimPrefix(manifest.Layers[0].Digest, "sha256:")]))
	require.NoError(t, err)
	layer, err := io.ReadAll(zipped)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)), config.RootFS.DiffIDs[0])
	order, files := entries(t, bytes.NewReader(layer))
	assert.Equal(t, []string{"bin/ 755 ", "bin/p 755 ", "bin/sh 777 p"}, order)
	assert.Equal(t, "program", files["bin/p"])
}

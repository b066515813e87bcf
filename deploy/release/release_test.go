package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// checkout is a repository with what a release reads.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		changelog: "# Changelog\n\n## Unreleased\n\n## v0.3.0\n\n- A bond.\n\n## v0.2.0\n\n## v0.1.0\n\n- Before.\n", "LICENSE": "licence",
		"cmd/multibondctl/kubectl_complete-multibond": "#!/bin/sh\n",
		"deploy/README.md":                            "unchanged: " + unreleased,
		"deploy/kustomization.yaml":                   "resources: [pod.yaml]\n",
		"deploy/pod.yaml":                             "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: " + unreleased + "}]}\n",
		"deploy/beside-multus/kustomization.yaml":     "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: beside-\n",
		"deploy/program.go":                           "package main\n",
		"deploy/chart/Chart.yaml":                     "name: multibond\nversion: 0.0.0-unreleased\nappVersion: unreleased\nannotations:\n  multibond.io/image-digest: \"\"\n",
	} {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	require.NoError(t, os.Symlink("../pod.yaml", filepath.Join(root, "deploy/chart/pod.yaml")))
	for _, args := range []string{"init --quiet", "add .", "-c user.name=a -c user.email=a@example.org -c commit.gpgsign=false commit --quiet --date 2026-01-02T03:04:05Z -m all"} {
		cmd := exec.Command("git", strings.Fields(args)...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "git %s\n%s", args, out)
	}
	return root
}

// fake builds the smallest program, once for this machine, in the place of all.
func fake(t *testing.T) builder {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.org/fake\n"), 0o600))
	out, err := exec.Command("go", "-C", dir, "build", "-ldflags", "-s -w", "-o", "fake", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(filepath.Join(dir, "fake"))
	require.NoError(t, err)
	return func(_ context.Context, _ release, p platform, out string) error {
		err := os.MkdirAll(out, 0o700)
		for _, name := range []string{"multibond", "multibond-agent", "multibondctl" + p.suffix()} {
			err = errors.Join(err, os.WriteFile(filepath.Join(out, name), data, 0o600))
		}
		return err
	}
}

// TestRelease makes the whole release twice, from two clones.
func TestRelease(t *testing.T) {
	var dirs []string
	build := fake(t)
	for range 2 {
		r, err := prepare(t.Context(), checkout(t), "v0.3.0", false)
		require.NoError(t, err)
		r.build, r.log = build, io.Discard
		out := filepath.Join(t.TempDir(), "release")
		require.NoError(t, os.MkdirAll(filepath.Join(out, "of another version"), 0o700))
		require.NoError(t, r.write(t.Context(), out))
		dirs = append(dirs, out)
	}
	require.NoError(t, same(dirs[0], dirs[1]))
	t.Chdir(dirs[0])

	names, err := filepath.Glob("*")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"SHA256SUMS", "deploy.tar.gz", "image.digest", "install-beside-multus.yaml", "install.yaml", "krew-multibond.yaml",
		"kubectl-multibond-darwin-amd64.spdx.json", "kubectl-multibond-darwin-amd64.tar.gz",
		"kubectl-multibond-darwin-arm64.spdx.json", "kubectl-multibond-darwin-arm64.tar.gz",
		"kubectl-multibond-linux-amd64.spdx.json", "kubectl-multibond-linux-amd64.tar.gz",
		"kubectl-multibond-linux-arm64.spdx.json", "kubectl-multibond-linux-arm64.tar.gz",
		"kubectl-multibond-windows-amd64.spdx.json", "kubectl-multibond-windows-amd64.tar.gz",
		"multibond-0.3.0.tgz", "multibond-agent-image.tar",
		"multibond-linux-amd64.spdx.json", "multibond-linux-amd64.tar.gz", "multibond-linux-arm64.spdx.json", "multibond-linux-arm64.tar.gz",
		"notes.md",
	}, names)
	for line := range strings.Lines(text(t, "SHA256SUMS")) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		assert.Equal(t, checksum([]byte(text(t, name))), sum, name)
	}
	assert.Equal(t, len(names)-1, strings.Count(text(t, "SHA256SUMS"), "\n"))

	image := repository + ":v0.3.0@" + strings.TrimSpace(text(t, "image.digest"))
	assert.Contains(t, text(t, "install.yaml"), "image: "+image+"\n")
	assert.Contains(t, text(t, "install-beside-multus.yaml"), "name: beside-p\n")
	assert.Contains(t, text(t, "notes.md"), "# Multibond v0.3.0\n\n- A bond.\n")
	assert.Contains(t, text(t, "notes.md"), image)
	for _, part := range []string{`"org.opencontainers.image.revision":"`, `"org.opencontainers.image.version":"v0.3.0"`, `"org.opencontainers.image.licenses":"Apache-2.0"`, `"created":"2026-01-02T03:04:05Z"`} {
		assert.Contains(t, text(t, "multibond-agent-image.tar"), part)
	}
	assert.Contains(t, unpack(t, "kubectl-multibond-linux-arm64.tar.gz"), "kubectl_complete-multibond")
	assert.Contains(t, unpack(t, "multibond-linux-amd64.tar.gz")[licencesFile], "The Go Authors")
	assert.Equal(t, 2, strings.Count(strings.Join(imageFiles(t, "multibond-agent-image.tar"), " "), licencesFile), "one for each architecture")
	folder := unpack(t, "deploy.tar.gz")
	assert.NotContains(t, folder, "multibond-v0.3.0/deploy/program.go")
	assert.Contains(t, folder["multibond-v0.3.0/deploy/pod.yaml"], image)
	assert.Contains(t, folder["multibond-v0.3.0/deploy/README.md"], unreleased)
	assert.NotContains(t, folder, "multibond-v0.3.0/deploy/chart/Chart.yaml", "it has an archive of its own")
	chart := unpack(t, "multibond-0.3.0.tgz")
	assert.Equal(t, "name: multibond\nversion: 0.3.0\nappVersion: v0.3.0\nannotations:\n  multibond.io/image-digest: "+strings.TrimSpace(text(t, "image.digest"))+"\n", chart["multibond/Chart.yaml"])
	assert.Equal(t, folder["multibond-v0.3.0/deploy/pod.yaml"], chart["multibond/pod.yaml"], "a link")
	assert.Equal(t, "licence", chart["multibond/LICENSE"])
}

// TestKrew checks krew's rules: each archive exists, with the checksum, and has what krew
// takes out of it.
func TestKrew(t *testing.T) {
	r, err := prepare(t.Context(), checkout(t), "v0.3.0", false)
	require.NoError(t, err)
	r.build, r.log = fake(t), io.Discard
	out := filepath.Join(t.TempDir(), "release")
	require.NoError(t, r.write(t.Context(), out))
	t.Chdir(out)
	var plugin struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Version, Homepage, ShortDescription, Description string
			Platforms                                        []krewPlatform
		}
	}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text(t, "krew-multibond.yaml")), &plugin))
	assert.Equal(t, []string{"krew.googlecontainertools.github.com/v1alpha2", "Plugin", "multibond", "v0.3.0"},
		[]string{plugin.APIVersion, plugin.Kind, plugin.Metadata.Name, plugin.Spec.Version})
	assert.LessOrEqual(t, len(plugin.Spec.ShortDescription), 50)
	assert.NotContains(t, plugin.Spec.ShortDescription, "kubectl")
	require.Len(t, plugin.Spec.Platforms, len(platforms))
	for _, p := range plugin.Spec.Platforms {
		name, is := strings.CutPrefix(p.URI, source+"/releases/download/v0.3.0/")
		require.True(t, is, p.URI)
		assert.Equal(t, checksum([]byte(text(t, name))), p.SHA256)
		packed := unpack(t, name)
		for _, file := range p.Files {
			assert.Contains(t, packed, file.From, name)
		}
		assert.Contains(t, p.Files, krewFile{p.Bin, "."})
		assert.Contains(t, p.Files, krewFile{"LICENSE", "."})
		assert.Equal(t, p.Selector.MatchLabels["os"] == "windows", strings.HasSuffix(p.Bin, ".exe"))
	}
}

// TestRefused: nothing is made of a version that nobody could trace, and all that is in
// the way is reported at once, each with a way out.
func TestRefused(t *testing.T) {
	root := checkout(t)
	for _, version := range []string{"", "0.3.0", "v0.3", "v0.3.0+meta", "v01.3.0", "v0.3.0-", "v0.3.0-01", "v0.3.0\n", "main"} {
		_, err := prepare(t.Context(), root, version, false)
		assert.ErrorContains(t, err, "make release VERSION=v0.3.0", version)
	}
	for _, version := range []string{"v0.4.0", "v0.2.0"} {
		_, err := prepare(t.Context(), root, version, false)
		assert.ErrorContains(t, err, fmt.Sprintf("has no section %q", "## "+version))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "new"), nil, 0o600))
	_, err := prepare(t.Context(), root, "1", false)
	for _, part := range []string{"VERSION=v0.3.0", "has no section", "DIRTY=1", "?? new"} {
		assert.ErrorContains(t, err, part)
	}
	r, err := prepare(t.Context(), root, "v0.3.0", true)
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(r.revision, "-dirty"))
	for _, version := range []string{"v0.3.0-rc.1", "v10.20.30", "v1.0.0-0.x-y"} {
		assert.Regexp(t, versionForm, version)
	}
	_, err = prepare(t.Context(), t.TempDir(), "v0.3.0", false)
	assert.ErrorContains(t, err, "a release is made from a clone")
}

func TestNewest(t *testing.T) {
	assert.Equal(t, "v0.3.0", newest("# Changelog\n\n## Unreleased\n\n## v0.3.0\n\n## v0.2.0\n"))
	assert.Empty(t, newest("## Unreleased\n"))
}

// TestSame: what differs between two builds is named.
func TestSame(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for file, data := range map[string]string{a + "/x": "1", b + "/x": "2", a + "/extra": "", a + "/y": "", b + "/y": ""} {
		require.NoError(t, os.WriteFile(file, []byte(data), 0o600))
	}
	err := same(a, b)
	assert.ErrorContains(t, err, "x differs")
	assert.ErrorContains(t, err, "extra differs")
	assert.NotContains(t, err.Error(), "y differs")
}

// TestManifests checks those of this project: no file names the image that no registry has,
// and whoever has a mirror can name it and keeps the digest.
func TestManifests(t *testing.T) {
	image := repository + ":v0.3.0@sha256:" + strings.Repeat("a", 64)
	folder, chart, err := manifests("../..", image)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, f := range slices.Concat(folder, chart) {
		names[f.path] = true
		if strings.HasSuffix(f.path, ".yaml") {
			assert.NotContains(t, string(f.data), unreleased, f.path)
		}
	}
	assert.True(t, names["deploy/README.md"] && names["deploy/keep/daemonset.yaml"] && names["deploy/chart/files/keep/daemonset.yaml"])
	r := release{version: "v0.3.0", root: "../.."}
	_, err = r.chart(chart, "sha256:0")
	require.NoError(t, err)
	_, err = r.released([]byte("\nversion: 0.0.1\n"), "sha256:0")
	assert.ErrorContains(t, err, "version: 0.0.0-unreleased")
	out, err := render(folder, "components: [../deploy/keep, ../deploy/monitoring]\nimages: [{name: "+repository+", newName: mirror.example/agent}]\n")
	require.NoError(t, err)
	assert.Equal(t, 4, strings.Count(string(out), "image: mirror.example/agent:v0.3.0@sha256:"+strings.Repeat("a", 64)+"\n"))
	out, err = render(folder, "images: [{name: "+repository+", newTag: v0.3.0}]\n")
	require.NoError(t, err)
	assert.Contains(t, string(out), "image: "+repository+":v0.3.0\n")
	assert.NotContains(t, string(out), "@sha256:", "a tag takes the digest away, which CRI-O's storage does not know")
	_, _, err = manifests(t.TempDir(), image)
	assert.Error(t, err)
}

func text(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

// unpack returns the files of an archive.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader([]byte(text(t, file))))
	require.NoError(t, err)
	out := map[string]string{}
	for in := tar.NewReader(zipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		data, err := io.ReadAll(in)
		require.NoError(t, err)
		out[h.Name] = string(data)
	}
}

// imageFiles returns the names of the files in all layers of an image.
func imageFiles(t *testing.T, file string) (names []string) {
	t.Helper()
	for in := tar.NewReader(strings.NewReader(text(t, file))); ; {
		_, err := in.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(t, err)
		blob, err := io.ReadAll(in)
		require.NoError(t, err)
		zipped, err := gzip.NewReader(bytes.NewReader(blob))
		if err != nil {
			continue // no layer
		}
		for layer := tar.NewReader(zipped); ; {
			h, err := layer.Next()
			if err != nil {
				break
			}
			names = append(names, h.Name)
		}
	}
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/multibond/multibond/deploy/archive"
	"github.com/multibond/multibond/deploy/oci"
)

const (
	source     = "https://github.com/multibond/multibond"
	repository = "ghcr.io/multibond/multibond-agent"
	licence    = "Apache-2.0"
	tool       = "kubectl-multibond"
)

// url returns from where a file of the release will be downloaded.
func (r release) url(file string) string {
	if file == "" {
		return source + "/releases/tag/" + r.version
	}
	return source + "/releases/download/" + r.version + "/" + file
}

// files are those of a release, by their names.
type files map[string][]byte

// write makes all files and puts them in the place of the directory out.
func (r release) write(ctx context.Context, out string) error {
	programs, err := os.MkdirTemp("", "multibond-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	for _, p := range platforms {
		if err := r.build(ctx, r, p, filepath.Join(programs, p.String())); err != nil {
			return err
		}
	}
	all, err := r.files(ctx, programs)
	if err != nil {
		return err
	}
	if err := all.replace(out); err != nil {
		return err
	}
	fmt.Fprintf(r.log, "%s: %d files of %s\n", out, len(all), r.version)
	return nil
}

// files returns all files of the release. The programs are in a directory for each platform.
func (r release) files(ctx context.Context, programs string) (files, error) {
	out := files{}
	digest, err := r.addImage(ctx, out, programs)
	if err != nil {
		return nil, err
	}
	var tools []krewPlatform
	for _, p := range platforms {
		name, err := r.addTool(ctx, out, filepath.Join(programs, p.String()), p)
		if err != nil {
			return nil, err
		}
		tools = append(tools, r.krewPlatform(p, name, checksum(out[name])))
		if !p.node {
			continue
		}
		if err := r.addPrograms(ctx, out, "multibond-"+p.String(), filepath.Join(programs, p.String()), nodePrograms); err != nil {
			return nil, err
		}
	}
	if out["krew-multibond.yaml"], err = r.krew(tools); err != nil {
		return nil, err
	}
	if err := r.addManifests(out, digest); err != nil {
		return nil, err
	}
	out["image.digest"] = []byte(digest + "\n")
	out["notes.md"] = r.releaseNotes(digest)
	out["SHA256SUMS"] = out.checksums()
	return out, nil
}

// addImage adds the image for all architectures of nodes, and returns its digest.
func (r release) addImage(ctx context.Context, out files, programs string) (digest string, err error) {
	var images []oci.Image
	for _, p := range platforms {
		if !p.node {
			continue
		}
		image := oci.Image{Arch: p.arch, Entrypoint: "/multibond-agent", Created: r.time, Labels: map[string]string{
			"org.opencontainers.image.title":    "multibond-agent",
			"org.opencontainers.image.source":   source,
			"org.opencontainers.image.revision": r.revision,
			"org.opencontainers.image.version":  r.version,
			"org.opencontainers.image.licenses": licence,
		}}
		for _, name := range nodePrograms {
			image.Files = append(image.Files, [2]string{"/" + name, filepath.Join(programs, p.String(), name)})
		}
		licences, err := r.writeLicences(ctx, filepath.Join(programs, p.String()))
		if err != nil {
			return "", err
		}
		image.Files = append(image.Files, [2]string{"/LICENSE", filepath.Join(r.root, "LICENSE")}, [2]string{"/" + licencesFile, licences})
		images = append(images, image)
	}
	out["multibond-agent-image.tar"], digest, err = oci.Layout(repository+":"+r.version, images...)
	return digest, err
}

// addTool adds the operator's tool for a platform under the name by which kubectl finds it,
// and returns the name of its archive.
func (r release) addTool(ctx context.Context, out files, dir string, p platform) (string, error) {
	name := tool + p.suffix()
	if err := os.Rename(filepath.Join(dir, "multibondctl"+p.suffix()), filepath.Join(dir, name)); err != nil {
		return "", err
	}
	archive := tool + "-" + p.String()
	return archive + ".tar.gz", r.addPrograms(ctx, out, archive, dir, []string{name}, "cmd/multibondctl/kubectl_complete-multibond")
}

// addPrograms adds an archive of programs with all licences and with files of the checkout,
// and its bill of materials.
func (r release) addPrograms(ctx context.Context, out files, name, dir string, names []string, more ...string) error {
	packed := archive.Tar{Time: r.time}
	var programs []program
	for _, n := range names {
		p, err := readProgram(n, filepath.Join(dir, n))
		if err != nil {
			return err
		}
		programs = append(programs, p)
		if err := pack(&packed, filepath.Join(dir, n), 0o755); err != nil {
			return err
		}
	}
	for _, file := range more {
		if err := pack(&packed, filepath.Join(r.root, file), 0o755); err != nil {
			return err
		}
	}
	if err := pack(&packed, filepath.Join(r.root, "LICENSE"), 0o644); err != nil {
		return err
	}
	licences, err := r.licences(ctx, programs)
	if err != nil {
		return err
	}
	packed.File(licencesFile, 0o644, licences)
	data, err := packed.Close()
	if err != nil {
		return err
	}
	if out[name+".tar.gz"], err = archive.Gzip(data); err != nil {
		return err
	}
	out[name+".spdx.json"], err = json.MarshalIndent(r.sbom(name, programs), "", "  ")
	return err
}

// pack adds a file under its own name.
func pack(a *archive.Tar, file string, mode int64) error {
	data, err := os.ReadFile(file)
	if err == nil {
		a.File(filepath.Base(file), mode, data)
	}
	return err
}

// addManifests adds what is applied, in the two forms that need no settings, and the folder
// and the Helm chart for all others.
func (r release) addManifests(out files, digest string) error {
	folder, chart, err := manifests(r.root, repository+":"+r.version+"@"+digest)
	if err != nil {
		return err
	}
	var errs [4]error
	out["install.yaml"], errs[0] = render(folder, "")
	out["install-beside-multus.yaml"], errs[1] = render(folder, "components: [../deploy/beside-multus]\n")
	out["deploy.tar.gz"], errs[2] = r.pack(folder)
	out[r.chartFile()], errs[3] = r.chart(chart, digest)
	return errors.Join(errs[:]...)
}

func (r release) releaseNotes(digest string) []byte {
	return fmt.Appendf(nil, "# Multibond %s\n\n%s\n\nThe image for linux/amd64 and linux/arm64 is `%s:%s@%s`, made from the commit %s.\n",
		r.version, r.notes, repository, r.version, digest, r.revision)
}

func checksum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// checksums returns what sha256sum -c reads.
func (f files) checksums() []byte {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(&out, "%s  %s\n", checksum(f[name]), name)
	}
	return []byte(out.String())
}

// replace writes the files into a directory of their own, which then takes the place of dir.
func (f files) replace(dir string) error {
	made := dir + ".new"
	err := errors.Join(os.RemoveAll(made), os.MkdirAll(made, 0o755))
	for name, data := range f {
		if err == nil {
			err = os.WriteFile(filepath.Join(made, name), data, 0o644)
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(dir), os.Rename(made, dir))
}

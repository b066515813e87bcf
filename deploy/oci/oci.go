// Package oci writes container images of a few files in the layout of the OCI image
// specification, without a container engine, a registry or root. The same files give
// the same bytes.
package oci

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/multibond/multibond/deploy/archive"
)

// Media types of the OCI image specification, media-types.md.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Image describes an image for one architecture of Linux.
type Image struct {
	Arch       string            // as GOARCH
	Files      [][2]string       // path in the image, path of the file here
	Links      [][2]string       // path in the image, target
	Entrypoint string            // the program that a container runs, or ""
	Labels     map[string]string // also the annotations of the manifest
	Created    time.Time         // zero: 1970
}

// blob is content that is addressed by its digest.
type blob struct {
	media string
	data  []byte
}

func (b blob) digest() string { return fmt.Sprintf("%x", sha256.Sum256(b.data)) }

func (b blob) descriptor() map[string]any {
	return map[string]any{"mediaType": b.media, "digest": "sha256:" + b.digest(), "size": len(b.data)}
}

// Layout returns a tar file with the layout (OCI image specification, image-layout.md) of
// an image, and the image's digest. Images for several architectures are listed in an
// image index, whose digest is returned and which has the first image's labels as
// annotations. A single image has a manifest.json for older tools.
func Layout(name string, images ...Image) (layout []byte, digest string, err error) {
	var blobs []blob
	var manifests []any
	for _, i := range images {
		layer, config, manifest, err := i.blobs()
		if err != nil {
			return nil, "", err
		}
		blobs = append(blobs, layer, config, manifest)
		d := manifest.descriptor()
		d["platform"] = map[string]string{"os": "linux", "architecture": i.Arch}
		manifests = append(manifests, d)
	}
	var out archive.Tar
	if len(images) == 1 {
		out.File("manifest.json", 0o644, encode([]any{map[string]any{
			"Config": blobPath(blobs[1]), "RepoTags": []string{name}, "Layers": []string{blobPath(blobs[0])},
		}}))
	} else {
		blobs = append(blobs, blob{typeIndex, encode(map[string]any{
			"schemaVersion": 2, "mediaType": typeIndex, "manifests": manifests, "annotations": images[0].Labels,
		})})
	}
	last := blobs[len(blobs)-1]
	top := last.descriptor()
	top["annotations"] = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	out.File("oci-layout", 0o644, encode(map[string]string{"imageLayoutVersion": "1.0.0"}))
	out.File("index.json", 0o644, encode(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{top}}))
	for _, b := range blobs {
		out.File(blobPath(b), 0o644, b.data)
	}
	layout, err = out.Close()
	return layout, "sha256:" + last.digest(), err
}

// blobPath returns the path of a blob in the layout.
func blobPath(b blob) string { return "blobs/sha256/" + b.digest() }

// blobs returns what the image consists of.
func (i Image) blobs() (layer, config, manifest blob, err error) {
	files, err := i.layer()
	if err != nil {
		return
	}
	zipped, err := archive.Gzip(files)
	layer = blob{typeLayer, zipped}
	run := map[string]any{}
	if i.Entrypoint != "" {
		run["Entrypoint"] = []string{i.Entrypoint}
	}
	of := map[string]any{"schemaVersion": 2, "mediaType": typeManifest}
	if len(i.Labels) > 0 {
		run["Labels"], of["annotations"] = i.Labels, i.Labels
	}
	created := i.Created
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	config = blob{typeConfig, encode(map[string]any{
		"architecture": i.Arch, "os": "linux", "created": created.UTC().Format(time.RFC3339), "config": run,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + blob{data: files}.digest()}},
	})}
	of["config"], of["layers"] = config.descriptor(), []any{layer.descriptor()}
	return layer, config, blob{typeManifest, encode(of)}, err
}

// layer returns a tar file with the directories, the files and the links.
func (i Image) layer() ([]byte, error) {
	out := archive.Tar{Time: i.Created}
	for _, dir := range i.dirs() {
		out.Dir(dir[1:])
	}
	for _, f := range i.Files {
		data, err := os.ReadFile(f[1])
		if err != nil {
			return nil, err
		}
		out.File(f[0][1:], 0o755, data)
	}
	for _, l := range i.Links {
		out.Link(l[0][1:], l[1])
	}
	return out.Close()
}

// dirs returns the directories of all files and links, parents first.
func (i Image) dirs() (dirs []string) {
	for _, f := range slices.Concat(i.Files, i.Links) {
		for dir := path.Dir(f[0]); dir != "/"; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and strings can always be encoded
	}
	return data
}

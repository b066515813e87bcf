// Image writes a container image of a few files in the layout of the OCI image
// specification, without a container engine, a registry or root. The same files give
// the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// spec describes the image.
type spec struct {
	out, name  string
	files      pairs // path in the image, path of the file here
	links      pairs // path in the image, target
	entrypoint string
}

// pairs is a flag of the form a=b that may be repeated.
type pairs [][2]string

func (p *pairs) String() string { return fmt.Sprint(*p) }

func (p *pairs) Set(text string) error {
	to, from, is := strings.Cut(text, "=")
	if !is || !path.IsAbs(to) || from == "" {
		return fmt.Errorf("want /path=file")
	}
	*p = append(*p, [2]string{path.Clean(to), from})
	return nil
}

func run(args []string, usage io.Writer) error {
	var s spec
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&s.out, "o", "", "the `file` to write")
	flags.StringVar(&s.name, "name", "", "the image's `name`, host/path:tag")
	flags.StringVar(&s.entrypoint, "entrypoint", "", "the `program` that a container runs")
	flags.Var(&s.files, "file", "a file of the image, as `/path=file`; may be repeated")
	flags.Var(&s.links, "link", "a symbolic link in the image, as `/path=target`; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.out == "" || s.name == "" || len(s.files) == 0 || flags.NArg() > 0 {
		return fmt.Errorf("want -o, -name, at least one -file, and no other arguments")
	}
	image, err := s.image()
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.out+".new", image, 0o644); err != nil {
		return err
	}
	return os.Rename(s.out+".new", s.out)
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

// image returns a tar file with the layout (OCI image specification, image-layout.md)
// and a manifest.json for older tools.
func (s spec) image() ([]byte, error) {
	files, err := s.layer()
	if err != nil {
		return nil, err
	}
	zipped, err := compress(files)
	if err != nil {
		return nil, err
	}
	layer := blob{"application/vnd.oci.image.layer.v1.tar+gzip", zipped}
	config := blob{"application/vnd.oci.image.config.v1+json", encode(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": words(s.entrypoint)},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + blob{data: files}.digest()}},
	})}
	manifest := blob{"application/vnd.oci.image.manifest.v1+json", encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config.descriptor(), "layers": []any{layer.descriptor()},
	})}
	top := manifest.descriptor()
	top["annotations"] = map[string]string{"io.containerd.image.name": s.name, "org.opencontainers.image.ref.name": s.name}
	var out archive
	out.file("oci-layout", encode(map[string]string{"imageLayoutVersion": "1.0.0"}))
	out.file("index.json", encode(map[string]any{"schemaVersion": 2, "manifests": []any{top}}))
	out.file("manifest.json", encode([]any{map[string]any{
		"Config": "blobs/sha256/" + config.digest(), "RepoTags": []string{s.name}, "Layers": []string{"blobs/sha256/" + layer.digest()},
	}}))
	for _, b := range []blob{layer, config, manifest} {
		out.file("blobs/sha256/"+b.digest(), b.data)
	}
	return out.close()
}

func words(program string) []string {
	if program == "" {
		return nil
	}
	return []string{program}
}

// layer returns a tar file with the directories, the files and the links.
func (s spec) layer() ([]byte, error) {
	var out archive
	for _, dir := range s.dirs() {
		out.entry(tar.Header{Name: dir[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	for _, f := range s.files {
		data, err := os.ReadFile(f[1])
		if err != nil {
			return nil, err
		}
		out.entry(tar.Header{Name: f[0][1:], Mode: 0o755}, data)
	}
	for _, l := range s.links {
		out.entry(tar.Header{Name: l[0][1:], Typeflag: tar.TypeSymlink, Linkname: l[1], Mode: 0o777}, nil)
	}
	return out.close()
}

// dirs returns the directories of all files and links, parents first.
func (s spec) dirs() (dirs []string) {
	for _, f := range slices.Concat(s.files, s.links) {
		for dir := path.Dir(f[0]); dir != "/"; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// archive builds a tar file. It keeps the first error, which close returns.
type archive struct {
	buffer bytes.Buffer
	writer *tar.Writer
	err    error
}

func (a *archive) file(name string, data []byte) { a.entry(tar.Header{Name: name, Mode: 0o644}, data) }

func (a *archive) entry(h tar.Header, data []byte) {
	if a.writer == nil {
		a.writer = tar.NewWriter(&a.buffer)
	}
	h.Size = int64(len(data))
	if a.err == nil {
		a.err = a.writer.WriteHeader(&h)
	}
	if a.err == nil {
		_, a.err = a.writer.Write(data)
	}
}

func (a *archive) close() ([]byte, error) {
	if a.err == nil {
		a.err = a.writer.Close()
	}
	return a.buffer.Bytes(), a.err
}

func compress(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and strings can always be encoded
	}
	return data
}

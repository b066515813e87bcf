package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/multibond/multibond/deploy/archive"
)

// chartFolder is where the Helm chart is.
const chartFolder = "deploy/chart/"

// chartFile returns the name that helm package gives to the chart's archive: without the v.
func (r release) chartFile() string {
	return "multibond-" + strings.TrimPrefix(r.version, "v") + ".tgz"
}

// chart returns the archive of the chart, as helm package makes it, with the release's version
// and the digest of its image.
func (r release) chart(files []manifest, digest string) ([]byte, error) {
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	out := archive.Tar{Time: r.time}
	for _, f := range files {
		name := strings.TrimPrefix(f.path, chartFolder)
		if name == "Chart.yaml" {
			if f.data, err = r.released(f.data, digest); err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
		}
		out.File("multibond/"+name, 0o644, f.data)
	}
	out.File("multibond/LICENSE", 0o644, licence)
	data, err := out.Close()
	if err != nil {
		return nil, err
	}
	return archive.Gzip(data)
}

// released returns Chart.yaml with the versions and the digest.
func (r release) released(data []byte, digest string) ([]byte, error) {
	for _, line := range [][2]string{
		{"\nversion: 0.0.0-unreleased\n", "\nversion: " + strings.TrimPrefix(r.version, "v") + "\n"},
		{"\nappVersion: unreleased\n", "\nappVersion: " + r.version + "\n"},
		{"\n  multibond.io/image-digest: \"\"\n", "\n  multibond.io/image-digest: " + digest + "\n"},
	} {
		if bytes.Count(data, []byte(line[0])) != 1 {
			return nil, fmt.Errorf("has not one line %q (a release replaces it by its own)", strings.Trim(line[0], "\n"))
		}
		data = bytes.Replace(data, []byte(line[0]), []byte(line[1]), 1)
	}
	return data, nil
}

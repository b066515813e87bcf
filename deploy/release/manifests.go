package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/multibond/multibond/deploy/archive"
)

// unreleased is the image that the manifests of the checkout name.
const unreleased = repository + ":unreleased"

// manifest is one file of the manifests, by its path below the root of the checkout.
type manifest struct {
	path string
	data []byte
}

// manifests returns the files of the folder deploy, except programs, with an image in the
// place of the one that no registry has, and those of the Helm chart. What is a symbolic link
// there is a file here.
func manifests(root, image string) (folder, chart []manifest, err error) {
	named := false
	err = filepath.WalkDir(filepath.Join(root, "deploy"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) == ".go" {
			return nil
		}
		data, err := os.ReadFile(path)
		if filepath.Ext(path) == ".yaml" {
			named = named || bytes.Contains(data, []byte(unreleased))
			data = bytes.ReplaceAll(data, []byte(unreleased), []byte(image))
		}
		below, _ := filepath.Rel(root, path)
		f := manifest{filepath.ToSlash(below), data}
		if strings.HasPrefix(f.path, chartFolder) {
			chart = append(chart, f)
		} else {
			folder = append(folder, f)
		}
		return err
	})
	if err == nil && !named {
		err = fmt.Errorf("%s: no manifest names the image %s (the constant and the manifests have to agree)", filepath.Join(root, "deploy"), unreleased)
	}
	return folder, chart, err
}

// render returns what kubectl apply -k applies, with the settings of a folder beside deploy.
func render(files []manifest, settings string) ([]byte, error) {
	disk := filesys.MakeFsInMemory()
	settings = "resources: [../deploy]\n" + settings
	for _, f := range slices.Concat(files, []manifest{{"cluster/kustomization.yaml", []byte(settings)}}) {
		if err := disk.WriteFile("/"+f.path, f.data); err != nil {
			return nil, err
		}
	}
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/cluster")
	if err != nil {
		return nil, err
	}
	return all.AsYaml()
}

// pack returns the folder as an archive, for people with a folder of their own settings.
func (r release) pack(files []manifest) ([]byte, error) {
	out := archive.Tar{Time: r.time}
	for _, f := range files {
		out.File("multibond-"+r.version+"/"+f.path, 0o644, f.data)
	}
	data, err := out.Close()
	if err != nil {
		return nil, err
	}
	return archive.Gzip(data)
}

package main

import "sigs.k8s.io/yaml"

// krewPlatform is an archive of the operator's tool in krew's manifest.
type krewPlatform struct {
	Selector krewSelector `json:"selector"`
	URI      string       `json:"uri"`
	SHA256   string       `json:"sha256"`
	Bin      string       `json:"bin"`
	Files    []krewFile   `json:"files"`
}

type krewSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type krewFile struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// krewPlatform returns the entry of a platform, whose archive has that checksum.
func (r release) krewPlatform(p platform, archive, sha256 string) krewPlatform {
	bin := tool + p.suffix()
	return krewPlatform{
		Selector: krewSelector{map[string]string{"os": p.os, "arch": p.arch}},
		URI:      r.url(archive), SHA256: sha256, Bin: bin,
		Files: []krewFile{{bin, "."}, {"LICENSE", "."}},
	}
}

// krew returns the manifest by which krew installs the operator's tool: plugins/multibond.yaml
// of its index (krew, docs, developer-guide/plugin-manifest).
func (r release) krew(platforms []krewPlatform) ([]byte, error) {
	return yaml.Marshal(map[string]any{
		"apiVersion": "krew.googlecontainertools.github.com/v1alpha2", "kind": "Plugin",
		"metadata": map[string]string{"name": "multibond"},
		"spec": map[string]any{
			"version": r.version, "homepage": source, "platforms": platforms,
			"shortDescription": "Show and check bonds of SR-IOV VFs",
			"description": "Shows the bonds that Multibond gives to pods, which of them are degraded and why,\n" +
				"and checks networks before a pod needs them. It has no rights of its own: it shows\n" +
				"what the cluster lets you read.\n",
		},
	})
}

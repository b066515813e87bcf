package chart

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/multibond/multibond/bond/doctable"
)

// value is one that a user may set.
type value struct{ key, is, does string }

// values reads values.yaml, with the comment above each value.
func values(t *testing.T) (all []value) {
	t.Helper()
	text, err := os.ReadFile(folder + "/values.yaml")
	require.NoError(t, err)
	var document yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &document))
	var within func(prefix string, in *yaml.Node)
	within = func(prefix string, in *yaml.Node) {
		for i := 0; i < len(in.Content); i += 2 {
			key, is := in.Content[i], in.Content[i+1]
			if is.Kind == yaml.MappingNode && len(is.Content) > 0 {
				within(prefix+key.Value+".", is)
				continue
			}
			require.NotEmpty(t, key.HeadComment, "values.yaml: no comment above %s%s", prefix, key.Value)
			all = append(all, value{prefix + key.Value, written(t, is), strings.TrimPrefix(key.HeadComment, "# ")})
		}
	}
	within("", document.Content[0])
	return all
}

// written returns a value as a user writes it.
func written(t *testing.T, n *yaml.Node) string {
	t.Helper()
	if n.Kind == yaml.ScalarNode {
		if n.Value == "" {
			return ""
		}
		return "`" + n.Value + "`"
	}
	var v any
	require.NoError(t, n.Decode(&v))
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return "`" + strings.NewReplacer(`"`, "", ":", ": ", ",", ", ").Replace(string(text)) + "`"
}

// TestREADME keeps the table of values in deploy/README.md equal to values.yaml.
func TestREADME(t *testing.T) {
	rows := [][]string{{"value", "default", "is"}}
	for _, v := range values(t) {
		rows = append(rows, []string{"`" + v.key + "`", v.is, v.does})
	}
	doctable.Check(t, deploy+"/README.md", "chart-values", rows)
}

// schema is a part of values.schema.json.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Properties           map[string]schema
	AdditionalProperties any
	Definitions          map[string]schema
}

// TestSchema checks that the schema has each value, and no other, and closes every object whose
// keys it knows.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile(folder + "/values.schema.json")
	require.NoError(t, err)
	var top schema
	require.NoError(t, json.Unmarshal(text, &top))
	known := map[string]bool{"global": true} // of charts that have this one as a part
	for _, v := range values(t) {
		parts := strings.Split(v.key, ".")
		for i := range parts {
			known[strings.Join(parts[:i+1], ".")] = true
		}
	}
	var within func(prefix string, s schema)
	within = func(prefix string, s schema) {
		assert.Equal(t, false, s.AdditionalProperties, "values.schema.json: %q takes unknown keys", prefix)
		for key, p := range s.Properties {
			at := strings.TrimPrefix(prefix+"."+key, ".")
			assert.True(t, known[at], "values.schema.json has %s, and values.yaml has not", at)
			delete(known, at)
			if len(p.Properties) > 0 {
				within(at, p)
			}
		}
	}
	within("", top)
	assert.Empty(t, known, "values.schema.json has not what values.yaml has")
}

// TestRefused has for each kind of wrong value one that the schema refuses.
func TestRefused(t *testing.T) {
	for values, where := range map[string]string{
		"kep: {enabled: true}":                         "kep",
		"keep: {enable: true}":                         "enable",
		"image: {name: a}":                             "name",
		"paths: {confDir: /a}":                         "confDir",
		"webhook: {replicas: 3}":                       "replicas",
		"webhook: {namespaceSelector: {a: b}}":         "namespaceSelector",
		"webhook: {tolerations: [{keys: a}]}":          "tolerations",
		"monitoring: {alerts: true}":                   "alerts",
		"inject: {namespaceSelector: {a: b}}":          "namespaceSelector",
		"resources: {daemon: {}}":                      "daemon",
		"resources: {agent: {memory: 1Gi}}":            "memory",
		"resources: {agent: {limits: {memory: 128M}}}": "memory",
		"resources: {keep: {limits: {memory: 1}}}":     "memory",
		"keep: {enabled: 'true'}":                      "enabled",
		"besideMultus: 1":                              "besideMultus",
		"uninstall: yes please":                        "uninstall",
		"keep: true":                                   "keep",
		"config: []":                                   "config",
		"distribution: rke2":                           "distribution",
		"validate: true":                               "validate",
		"bondCNI: yes":                                 "bondCNI",
		"image: {pullPolicy: always}":                  "pullPolicy",
		"image: {repository: 'a/b:v1'}":                "repository",
		"image: {repository: 'a/b@sha256:0'}":          "repository",
		"image: {tag: 1}":                              "tag",
		"image: {tag: 'v1@sha256:0'}":                  "tag",
		"image: {digest: 0123}":                        "digest",
		"image: {digest: 'sha256:0123'}":               "digest",
		"paths: {plugins: opt/cni/bin}":                "plugins",
		"paths: {configurations: /etc/cni/}":           "configurations",
		"paths: {kubelet: '/a b'}":                     "kubelet",
		"paths: {multus: 'C:/x'}":                      "multus",
		"architectures: []":                            "architectures",
		"architectures: [riscv64]":                     "architectures",
		"nodeSelector: {vfs: true}":                    "nodeSelector",
		"tolerations: [{operator: exists}]":            "tolerations",
		"tolerations: [{keys: a}]":                     "tolerations",
		"imagePullSecrets: [registry]":                 "imagePullSecrets",
		"imagePullSecrets: [{}]":                       "imagePullSecrets",
	} {
		_, err := helm(t, values, system, "v1.36.3")
		assert.ErrorContains(t, err, "values don't meet the specifications", values)
		assert.ErrorContains(t, err, where, values)
	}
	_, err := helm(t, "global: {of: another chart}\nimage: {repository: 'localhost:5000/a', tag: v1}\nimagePullSecrets: [{name: a}]\nresources: {agent: {limits: {cpu: 1, memory: 2Gi}}}", system, "v1.36.3")
	assert.NoError(t, err)
}

// components returns the components and further resources of deploy, by their paths.
func components(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(deploy, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "kustomization.yaml" && filepath.Dir(path) != filepath.Clean(deploy) {
			below, _ := filepath.Rel(deploy, filepath.Dir(path))
			all = append(all, filepath.ToSlash(below))
		}
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(all), 15)
	slices.Sort(all)
	return all
}

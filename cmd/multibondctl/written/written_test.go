package written

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocuments: each document has the line in which it begins.
func TestDocuments(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n---\nb: 2\n":                            "1 3",
		"---\n# a comment\n\na: 1\n---\n---\n\nb: 2\n": "4 8",
		"{\"a\": 1}\n\n{\"b\":\n2}":                    "1 3",
		"{a: 1}\n---\n{b: 2}":                          "1 3",
		"- op: replace\n---\na: 1\n---\ntext":          "3",
		"a: 1\n--- # the next\nb: 2\n--- \t\nc: 3":     "1 3 5",
		"":            "",
		"# nothing\n": "",
	} {
		all, err := parseManifests("f", []byte(text))
		require.NoError(t, err, text)
		var lines []string
		for _, m := range all {
			lines = append(lines, strings.TrimPrefix(m.place, "f:"))
		}
		assert.Equal(t, want, strings.Join(lines, " "), "%q", text)
	}
}

// TestForeign: objects of other programs are skipped, whatever their form. Those of Kubernetes
// that are wrong are not.
func TestForeign(t *testing.T) {
	for text, want := range map[string]int{
		`{"kind": "Workflow", "spec": {"template": "main"}}`:             0,
		`{"kind": "Chart", "data": [1], "type": {"a": 1}, "plugins": 7}`: 0,
		`{"kind": "Strange", "metadata": 7, "spec": {"template": {}}}`:   0,
		`{"kind": 7}`:                                                             0,
		`{"plugins": {"enabled": true}}`:                                          0,
		`{"plugins": [{"type": "a"}]}`:                                            0,
		`{"type": "LoadBalancer", "port": 80}`:                                    0,
		`{"cniVersion": "1.0.0", "type": 7}`:                                      0,
		`{"cniVersion": "1.0.0", "type": "a"}`:                                    1,
		`{"kind": "Rollout", "spec": {"template": {"metadata": {}, "spec": {}}}}`: 1,
		`{"kind": "Deployment", "spec": {"template": "main"}}`:                    -1,
		`{"kind": "Pod", "metadata": 7}`:                                          -1,
		`{"kind": "ConfigMap", "data": {"a": 1}}`:                                 -1,
	} {
		s, err := Read([]string{"-"}, strings.NewReader(text), "default")
		if want < 0 {
			assert.Error(t, err, text)
		} else if assert.NoError(t, err, text) {
			assert.Equal(t, want, s.size(), text)
		}
	}
}

// TestConfigMap: of several configurations in a ConfigMap the last one counts, by their keys.
func TestConfigMap(t *testing.T) {
	s, data := &Set{}, map[string]string{}
	for i := range 10 {
		data[fmt.Sprint(i)] = fmt.Sprintf(`{"type": "multibond", "defaultNetwork": {"name": "%d"}}`, i)
	}
	s.addConfigMap(Object{}, data)
	for i, c := range s.clusters {
		assert.Contains(t, string(c.raw), fmt.Sprintf(`"name":"%d"`, i))
	}
}

// manyNADs is a file with so many NADs.
func manyNADs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: net%d, namespace: demo}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "net%[1]d", "type": "multibond", "vlan": 100, "mtu": 9000,
     "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}],
     "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}
---
`, i)
	}
	return b.String()
}

func TestManyNADs(t *testing.T) {
	s, err := Read([]string{"-"}, strings.NewReader(manyNADs(1000)), "default")
	require.NoError(t, err)
	r := s.Report()
	assert.Equal(t, 1000, r.Objects)
	assert.Empty(t, r.Findings)
}

// BenchmarkReport reads and judges 1,000 NADs.
func BenchmarkReport(b *testing.B) {
	text := manyNADs(1000)
	for b.Loop() {
		s, err := Read([]string{"-"}, strings.NewReader(text), "default")
		require.NoError(b, err)
		s.Report()
	}
}

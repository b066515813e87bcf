package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/multibond/multibond/kubeclient/kubefake"
)

// testCase is one row of the table.
type testCase struct {
	name     string // "pods/simple"
	file     string
	archive  *txtar.Archive
	sections map[string]string
	nads     []nad
	claims   []claim
	files    map[string]string

	want, multibond string
	why             []string
}

type nad struct{ namespace, name, resource, config string }

// claim is a ResourceClaim of the pod, with the devices that are allocated to it.
type claim struct {
	name, request string
	devices       []kubefake.Claimed
}

// sections that a case can have once.
var sections = []string{"cluster", "default-network", "networks", "annotations", "pod", "args", "devices", "verbs", "want", "multibond", "why"}

func readCases(t *testing.T) (cases []*testCase) {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.txtar")
	require.NoError(t, err)
	for i, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		c := &testCase{
			name: strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/"), ".txtar"), file: file,
			archive: archive, sections: map[string]string{}, files: map[string]string{},
		}
		for _, f := range archive.Files {
			require.NoError(t, c.read(f), file)
		}
		c.want, c.multibond = c.sections["want"], c.sections["multibond"]
		c.why = strings.Fields(c.sections["why"])
		c.own(i)
		cases = append(cases, c)
	}
	require.NotEmpty(t, cases)
	return cases
}

func (c *testCase) read(f txtar.File) error {
	text := string(f.Data)
	word, rest, _ := strings.Cut(f.Name, " ")
	switch {
	case word == "nad":
		name, resource, _ := strings.Cut(rest, " ")
		namespace, name, is := strings.Cut(name, "/")
		if !is {
			return fmt.Errorf("%s: want nad NAMESPACE/NAME", f.Name)
		}
		c.nads = append(c.nads, nad{namespace, name, resource, strings.TrimSpace(text)})
	case word == "claim":
		name, request, _ := strings.Cut(rest, " ")
		one := claim{name: name, request: request}
		for line := range strings.Lines(text) {
			device, cdi, _ := strings.Cut(strings.TrimSpace(line), " ")
			one.devices = append(one.devices, kubefake.Claimed{Driver: "nic.example.com", Pool: nodeName, Device: device, CDI: cdi})
		}
		c.claims = append(c.claims, one)
	case word == "file":
		c.files[rest] = text
	case slices.Contains(sections, f.Name):
		c.sections[f.Name] = text
	default:
		return fmt.Errorf("section %q is none of nad, claim, file, %s", f.Name, strings.Join(sections, ", "))
	}
	return nil
}

// demo is the namespace that each case has for itself.
var demo = regexp.MustCompile(`\bdemo\b`)

// own replaces demo in what the case gives by a namespace of its own.
func (c *testCase) own(number int) {
	namespace := fmt.Sprintf("demo-%d", number)
	replace := func(text string) string { return demo.ReplaceAllString(text, namespace) }
	for i, n := range c.nads {
		c.nads[i] = nad{replace(n.namespace), n.name, n.resource, replace(n.config)}
	}
	for _, name := range []string{"cluster", "default-network", "networks", "args"} {
		if text, there := c.sections[name]; there {
			c.sections[name] = strings.TrimSpace(replace(text))
		}
	}
	if c.sections["pod"] == "" {
		c.sections["pod"] = "demo/p"
	}
	c.sections["pod"] = strings.TrimSpace(replace(c.sections["pod"]))
}

// shared returns text with demo again for the namespace of the case.
func (c *testCase) shared(text string) string {
	return regexp.MustCompile(`\bdemo-\d+\b`).ReplaceAllString(text, "demo")
}

// write writes the case with what was observed.
func (c *testCase) write(multus, multibond string) error {
	made := []txtar.File{{Name: "want", Data: []byte(multus)}}
	if multibond != multus {
		made = append(made, txtar.File{Name: "multibond", Data: []byte(multibond)}, txtar.File{Name: "why", Data: []byte(strings.Join(c.why, "\n") + "\n")})
	}
	archive := *c.archive
	archive.Files = slices.DeleteFunc(slices.Clone(archive.Files), func(f txtar.File) bool {
		return slices.Contains([]string{"want", "multibond", "why"}, f.Name)
	})
	archive.Files = append(archive.Files, made...)
	return os.WriteFile(c.file, txtar.Format(&archive), 0o644)
}

package main

import (
	"encoding/json"
	"net/url"
	"regexp"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// built is what Go writes into a program.
func built(deps ...*debug.Module) *debug.BuildInfo {
	return &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "github.com/multibond/multibond", Version: "(devel)"}, Deps: deps}
}

func billOf(programs ...program) spdx {
	return release{version: "v0.3.0", revision: "abc", time: time.Unix(0, 0).UTC()}.sbom("multibond-linux-amd64", programs)
}

// TestSBOM checks what SPDX 2.3 demands (the specification's clauses 6, 7 and 11): fields
// that are mandatory, identifiers that are unique and well formed, a namespace that is a URI
// without a fragment, relationships between elements that exist.
func TestSBOM(t *testing.T) {
	azure := &debug.Module{Path: "github.com/Azure/go-ansiterm", Version: "v0.0.0-20230124172434-306776ec8161", Sum: "h1:x="}
	disk := &debug.Module{Path: "github.com/peterbourgon/diskv", Version: "v2.0.1+incompatible"}
	replaced := &debug.Module{Path: "example.org/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/b", Version: "v1.0.1"}}
	d := billOf(program{"multibond", "01", built(azure)}, program{"multibond-agent", "02", built(azure, disk, replaced)})
	text, err := json.Marshal(d)
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(text, &raw))
	for key, want := range map[string]any{"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "multibond-linux-amd64 v0.3.0"} {
		assert.Equal(t, want, raw[key], key)
	}
	namespace, err := url.Parse(d.Namespace)
	require.NoError(t, err)
	assert.True(t, namespace.IsAbs() && namespace.Fragment == "", d.Namespace)
	assert.NotEqual(t, d.Namespace, billOf(program{"multibond", "03", built()}).Namespace, "two documents in one namespace")
	assert.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, d.Creation.Created)
	require.NotEmpty(t, d.Creation.Creators)
	for _, c := range d.Creation.Creators {
		assert.Regexp(t, `^(Person|Organization|Tool): .+`, c)
	}

	elements := map[string]string{spdxDocument: ""}
	form := regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`)
	for _, p := range d.Packages {
		assert.Regexp(t, form, p.ID)
		assert.NotContains(t, elements, p.ID, "two elements with one identifier")
		assert.NotEmpty(t, p.Name)
		assert.NotEmpty(t, p.DownloadLocation)
		for _, word := range []string{p.LicenseConcluded, p.LicenseDeclared, p.Copyright} {
			assert.Contains(t, []string{"NOASSERTION", "NONE", "Apache-2.0"}, word)
		}
		require.Len(t, p.References, 1)
		assert.Equal(t, []string{"PACKAGE-MANAGER", "purl"}, []string{p.References[0].Category, p.References[0].Type})
		elements[p.ID] = p.References[0].Locator
	}
	assert.ElementsMatch(t, []string{"", "pkg:golang/github.com/multibond/multibond@v0.3.0", "pkg:golang/github.com/multibond/multibond@v0.3.0",
		"pkg:golang/stdlib@1.26.8", "pkg:golang/github.com/azure/go-ansiterm@v0.0.0-20230124172434-306776ec8161",
		"pkg:golang/github.com/peterbourgon/diskv@v2.0.1%2Bincompatible", "pkg:golang/example.org/b@v1.0.1"}, values(elements))

	count := map[string]int{}
	for _, r := range d.Relationships {
		assert.Contains(t, elements, r.From)
		assert.Contains(t, elements, r.To)
		count[r.From+" "+r.Type]++
	}
	assert.Equal(t, map[string]int{"SPDXRef-DOCUMENT DESCRIBES": 2, "SPDXRef-Program-multibond DEPENDS_ON": 2, "SPDXRef-Program-multibond-agent DEPENDS_ON": 4}, count)
}

func values(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

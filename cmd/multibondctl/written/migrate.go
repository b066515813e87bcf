package written

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/rogpeppe/go-internal/diff"
	"sigs.k8s.io/yaml"
)

// Migration is what takes the place of what other plugins need.
type Migration struct {
	Changes  []Change `json:"changes"`
	Notes    []Note   `json:"notes"`              // what behaves differently, or has no equivalent
	Unused   []string `json:"unused,omitempty"`   // what nothing needs any more once all pods are new
	Problems []string `json:"problems,omitempty"` // what could not be migrated

	Findings []Finding `json:"findings,omitempty"` // about what is new
}

// Change is an object that is new, or new in part.
type Change struct {
	Object
	Old string `json:"old,omitempty"` // as YAML; "" if there was none
	New string `json:"new"`
}

// Note says of an object what differs, and why.
type Note struct {
	Object
	Text string `json:"text"`
}

// Migrate returns what takes the place of bond-cni's networks of three attachments, of
// MultiNicNetworks, and of Multus's configuration.
func (s *Set) Migrate() Migration {
	m := Migration{Changes: []Change{}, Notes: []Note{}}
	s.migrateBonds(&m)
	s.migrateMultiNICs(&m)
	s.migrateMultus(&m)
	m.Findings = m.check()
	return m
}

// Manifests returns what is new, as one file.
func (m Migration) Manifests() string {
	var all []string
	for _, c := range m.Changes {
		all = append(all, c.New)
	}
	return strings.Join(all, "---\n")
}

// check judges what is new.
func (m Migration) check() []Finding {
	all, err := parseManifests("", []byte(m.Manifests()))
	s := &Set{}
	for _, one := range all {
		one.place = ""
		if err == nil {
			_, err = s.add(one, "default")
		}
	}
	if err != nil {
		return []Finding{{Level: Error, Text: err.Error()}}
	}
	return s.Report().Findings
}

// Diff returns the change as a unified diff.
func (c Change) Diff() string {
	name := strings.ToLower(c.Kind) + "/" + c.Name
	from := "a/" + name
	if c.Old == "" {
		from = "/dev/null"
	}
	text := string(diff.Diff(from, []byte(c.Old), "b/"+name, []byte(c.New)))
	if _, rest, found := strings.Cut(text, "\n"); found && strings.HasPrefix(text, "diff ") {
		text = rest
	}
	return strings.TrimSuffix(text, "\n")
}

func (m *Migration) note(of Object, format string, args ...any) {
	one := Note{of, fmt.Sprintf(format, args...)}
	if !slices.Contains(m.Notes, one) {
		m.Notes = append(m.Notes, one)
	}
}

func (m *Migration) problem(of Object, format string, args ...any) {
	m.Problems = append(m.Problems, fmt.Sprintf("%s %s: %s", of.Kind, of.Name, fmt.Sprintf(format, args...)))
}

func (m *Migration) unused(what string) {
	if !slices.Contains(m.Unused, what) {
		m.Unused = append(m.Unused, what)
	}
}

// add adds a NAD that is new, once. It returns false if another one has its name.
func (m *Migration) add(from Object, namespace, name string, config fields) bool {
	of := Object{Place: from.Place, Kind: "NAD", Name: namespace + "/" + name}
	n := asYAML(map[string]any{
		"apiVersion": nettypes.SchemeGroupVersion.String(), "kind": "NetworkAttachmentDefinition",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec":     map[string]any{"config": config.String() + "\n"},
	})
	i := slices.IndexFunc(m.Changes, func(c Change) bool { return c.Kind == of.Kind && c.Name == of.Name })
	if i >= 0 {
		return m.Changes[i].New == n
	}
	m.Changes = append(m.Changes, Change{of, "", n})
	return true
}

// asYAML returns a value as YAML. It can be encoded.
func asYAML(v any) string {
	text, err := yaml.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// fields are the keys of a JSON object in an order that people expect.
type fields []field

type field struct {
	key   string
	value any
}

// set sets a key. An existing key keeps its position.
func (f *fields) set(key string, value any) {
	if i := slices.IndexFunc(*f, func(one field) bool { return one.key == key }); i >= 0 {
		(*f)[i].value = value
		return
	}
	*f = append(*f, field{key, value})
}

// String returns the object with a line for each key, and for each of several links.
func (f fields) String() string {
	var lines []string
	for _, one := range f {
		value := inLine(one.value)
		if list, is := one.value.([]fields); is && len(list) > 1 {
			var words []string
			for _, l := range list {
				words = append(words, "    "+inLine(l))
			}
			value = "[\n" + strings.Join(words, ",\n") + "\n  ]"
		}
		lines = append(lines, fmt.Sprintf("  %q: %s", one.key, value))
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}"
}

// MarshalJSON keeps the order.
func (f fields) MarshalJSON() ([]byte, error) {
	var words []string
	for _, one := range f {
		words = append(words, fmt.Sprintf("%q:%s", one.key, inLine(one.value)))
	}
	return []byte("{" + strings.Join(words, ",") + "}"), nil
}

// inLine returns a value as JSON in one line, with blanks after commas and colons.
func inLine(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	quoted := false
	for i, c := range raw {
		out.WriteByte(c)
		if c == '"' && (i == 0 || raw[i-1] != '\\') {
			quoted = !quoted
		}
		if !quoted && (c == ',' || c == ':') {
			out.WriteByte(' ')
		}
	}
	return out.String()
}

// number returns a JSON number that is written as a string, as a number.
func number(raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return raw
	}
	var n json.Number
	if json.Unmarshal([]byte(text), &n) == nil {
		return json.RawMessage(text)
	}
	return raw
}

// withAnnotation returns an object of Kubernetes, and a copy with another annotation. at leads
// to its metadata.
func withAnnotation(raw json.RawMessage, at []string, key, value string) (before, after string, err error) {
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", "", err
	}
	withoutServer(o)
	before = asYAML(o)
	inner := o
	for _, word := range append(slices.Clone(at), "metadata", "annotations") {
		next, is := inner[word].(map[string]any)
		if !is {
			return "", "", fmt.Errorf("has no %s", word)
		}
		inner = next
	}
	inner[key] = value
	return before, asYAML(o), nil
}

// withoutServer removes what the API server writes into an object.
func withoutServer(o map[string]any) {
	delete(o, "status")
	metadata, _ := o["metadata"].(map[string]any)
	for _, key := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"} {
		delete(metadata, key)
	}
}

// in returns a NAD of the set, or nil.
func (s *Set) in(namespace, name string) *nad {
	for i, n := range s.nads {
		if n.Namespace == namespace && n.ObjectMeta.Name == name {
			return &s.nads[i]
		}
	}
	return nil
}

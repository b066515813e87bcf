package written

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// manifest is one object of a file, as JSON.
type manifest struct {
	place string // "bond.yaml:12"; "" for an object of the cluster
	raw   json.RawMessage
}

// extensions are those of the files that are read of a directory.
var extensions = []string{".yaml", ".yml", ".json", ".conf", ".conflist"}

// readManifests reads the objects of files, of the files of directories, and of standard
// input, which is "-".
func readManifests(names []string, stdin io.Reader) (all []manifest, err error) {
	for _, name := range names {
		files, err := filesOf(name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := readFile(file, stdin)
			if err != nil {
				return nil, err
			}
			some, err := parseManifests(file, text)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

func filesOf(name string) (files []string, err error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, err
	}
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && isTemplates(path, d) {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() && slices.Contains(extensions, filepath.Ext(path)) {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// isTemplates reports whether a directory has the templates of a Helm chart, which are no YAML
// before Helm has rendered them.
func isTemplates(path string, d fs.DirEntry) bool {
	if !d.IsDir() || d.Name() != "templates" {
		return false
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(path), "Chart.yaml"))
	return err == nil
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// parseManifests reads the objects of a text: several of YAML, or of JSON, or lists of them.
func parseManifests(file string, text []byte) (all []manifest, err error) {
	for _, d := range documents(text) {
		place := fmt.Sprintf("%s:%d", file, d.line)
		raw, err := yaml.YAMLToJSON(d.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		all = append(all, itemsOf(manifest{place, raw})...)
	}
	return all, nil
}

// itemsOf returns the items of a list, or the object itself. What is no object has none.
func itemsOf(m manifest) (all []manifest) {
	if m.raw[0] != '{' {
		return nil
	}
	var list struct {
		Kind  string
		Items []json.RawMessage
	}
	_ = json.Unmarshal(m.raw, &list) // of another form, it is no list
	if !strings.HasSuffix(list.Kind, "List") {
		return []manifest{m}
	}
	for _, raw := range list.Items {
		all = append(all, itemsOf(manifest{m.place, raw})...)
	}
	return all
}

// document is a part of a text, with the line in which it begins.
type document struct {
	line int
	text []byte
}

// documents returns the documents of a YAML text, or the values of a JSON text.
func documents(text []byte) (out []document) {
	if first := bytes.TrimSpace(text); len(first) > 0 && first[0] == '{' {
		if out, is := jsonValues(text); is {
			return out
		}
	}
	d := document{line: 1}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if isSeparator(line) {
			out, d = append(out, d), document{}
			continue
		}
		content := bytes.TrimSpace(line)
		if d.line == 0 || len(bytes.TrimSpace(d.text)) == 0 && len(content) > 0 {
			d.line = number
		}
		if len(content) > 0 && content[0] == '#' && len(bytes.TrimSpace(d.text)) == 0 {
			continue // a comment before the object
		}
		d.text = append(d.text, line...)
	}
	return append(out, d)
}

// isSeparator reports whether a line separates documents of YAML: it may end with a comment.
func isSeparator(line []byte) bool {
	rest, is := bytes.CutPrefix(line, []byte("---"))
	rest = bytes.TrimSpace(rest)
	return is && (len(rest) == 0 || rest[0] == '#')
}

// jsonValues returns the values of a JSON text. is is false if it is not JSON.
func jsonValues(text []byte) (out []document, is bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if err == io.EOF {
			return out, true
		}
		if err != nil {
			return nil, false
		}
		begins := int(decoder.InputOffset()) - len(raw)
		out = append(out, document{1 + bytes.Count(text[:begins], []byte("\n")), raw})
	}
}

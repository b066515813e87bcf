// Package strictjson reads JSON that people write. It finds all problems at once, each
// with the path of its field and what was expected there.
//
// It does not know which fields there are; its callers do. Encode and the functions on the
// text of an object (text.go) are here because a configuration is also changed field by
// field.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
)

// Object is a JSON object that is being read. Each method adds what is wrong with its field
// to Problems, with the path of the field.
type Object struct {
	Path     string // "" for the outermost object
	Fields   map[string]json.RawMessage
	Problems *bond.Problems
}

// Decode decodes raw as an object. Anything else is a problem at path.
func Decode(raw json.RawMessage, path string, problems *bond.Problems) (o Object, is bool) {
	o = Object{Path: path, Problems: problems}
	if err := json.Unmarshal(raw, &o.Fields); err != nil || o.Fields == nil {
		problems.Add(code.NotObject, path, "", "is %s, want a JSON object", KindOf(raw))
		return o, false
	}
	return o, true
}

// At returns the path of a field.
func (o Object) At(key string) string {
	if o.Path == "" {
		return key
	}
	return o.Path + "." + key
}

// Has reports whether a field is there; null counts as absent.
func (o Object) Has(key string) bool {
	raw, there := o.Fields[key]
	return there && string(bytes.TrimSpace(raw)) != "null"
}

// Text reads a string. It is "" if the field is absent.
func (o Object) Text(key string) string {
	var s string
	o.Read(key, &s, "a string")
	return s
}

// Bool reads a boolean. It is false if the field is absent.
func (o Object) Bool(key string) bool {
	var b bool
	o.Read(key, &b, "true or false")
	return b
}

// Read decodes a field into a value. It returns false, and adds a problem, if the field is
// not of the wanted kind.
func (o Object) Read(key string, into any, wanted string) (ok bool) {
	if !o.Has(key) {
		return true
	}
	if err := json.Unmarshal(o.Fields[key], into); err != nil {
		o.Problems.Add(code.WrongType, o.At(key), "", "is %s, want %s", KindOf(o.Fields[key]), wanted)
		return false
	}
	return true
}

// Object reads a nested object. there is false if the field is absent or not an object.
func (o Object) Object(key string) (inner Object, there bool) {
	if !o.Has(key) {
		return Object{}, false
	}
	return Decode(o.Fields[key], o.At(key), o.Problems)
}

// Each reads a list of objects. It leaves out elements that are not objects.
func (o Object) Each(key string) (out []Object) {
	var raws []json.RawMessage
	o.Read(key, &raws, "a list of objects")
	for i, raw := range raws {
		if one, is := Decode(raw, fmt.Sprintf("%s[%d]", o.At(key), i), o.Problems); is {
			out = append(out, one)
		}
	}
	return out
}

// Unknown returns the keys that are not in known, sorted.
func (o Object) Unknown(known []string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(o.Fields)) {
		if !slices.Contains(known, key) {
			out = append(out, key)
		}
	}
	return out
}

// FoldKeys renames keys that differ from a known one only in case, unless that one
// is there too. Go's decoder ignores case, and so do the programs that use it.
func FoldKeys(fields map[string]json.RawMessage, known []string) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
		if i < 0 || known[i] == key {
			continue
		}
		if _, exact := fields[known[i]]; !exact {
			fields[known[i]] = fields[key]
		}
		delete(fields, key)
	}
}

// DidYouMean returns the hint for an unknown key, or "".
func DidYouMean(key string, known []string) string {
	if near := bond.Nearest(key, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return ""
}

// KindOf describes what a user wrote in a few words: a scalar as it is, or else its type.
func KindOf(raw json.RawMessage) string {
	const most = 60
	text := bytes.TrimSpace(raw)
	switch {
	case len(text) == 0:
		return "nothing"
	case text[0] == '{':
		return "an object"
	case text[0] == '[':
		return "a list"
	case len(text) > most:
		return fmt.Sprintf("a value of %d bytes", len(text))
	}
	return string(text)
}

// Encode is json.Marshal for values that can always be encoded.
func Encode(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return raw
}

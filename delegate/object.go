package delegate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/multibond/multibond/bond"
)

// object is a JSON object while it is read: each reader adds to the problems
// what is wrong with its field, under the field's path.
type object struct {
	path     string
	fields   map[string]json.RawMessage
	problems *bond.Problems
}

// decodeObject reads raw as an object; anything else is a problem at path.
func decodeObject(raw json.RawMessage, path string, problems *bond.Problems) (o object, is bool) {
	o = object{path: path, problems: problems}
	if err := json.Unmarshal(raw, &o.fields); err != nil || o.fields == nil {
		problems.Add(path, "", "is %s, wanted is a JSON object", KindOf(raw))
		return o, false
	}
	return o, true
}

func (o object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

func (o object) has(key string) bool {
	raw, there := o.fields[key]
	return there && string(bytes.TrimSpace(raw)) != "null"
}

// text reads a string; "" where it is not there.
func (o object) text(key string) string {
	var s string
	o.read(key, &s, "a string")
	return s
}

// yes reads a boolean; false where it is not there.
func (o object) yes(key string) bool {
	var b bool
	o.read(key, &b, "true or false")
	return b
}

// read reads a field, if it is there; what it cannot read is a problem.
func (o object) read(key string, into any, wanted string) (ok bool) {
	if !o.has(key) {
		return true
	}
	if err := json.Unmarshal(o.fields[key], into); err != nil {
		o.problems.Add(o.at(key), "", "is %s, wanted is %s", KindOf(o.fields[key]), wanted)
		return false
	}
	return true
}

// object reads a nested object; there is false where it is absent or no object.
func (o object) object(key string) (inner object, there bool) {
	if !o.has(key) {
		return object{}, false
	}
	return decodeObject(o.fields[key], o.at(key), o.problems)
}

// each reads a list of objects.
func (o object) each(key string) (out []object) {
	var raws []json.RawMessage
	o.read(key, &raws, "a list of objects")
	for i, raw := range raws {
		if one, is := decodeObject(raw, fmt.Sprintf("%s[%d]", o.at(key), i), o.problems); is {
			out = append(out, one)
		}
	}
	return out
}

// MaxPlugins bounds the plugins of one list: each gets the list's name and
// version, and is executed.
const MaxPlugins = 32

// plugins reads the plugins of a list.
func (o object) plugins() []object {
	list := o.each("plugins")
	if len(list) > MaxPlugins {
		o.problems.Add(o.at("plugins"), "", "has %d plugins, wanted are at most %d", len(list), MaxPlugins)
		return list[:MaxPlugins]
	}
	return list
}

// unknown lists the keys that are none of known, sorted.
func (o object) unknown(known []string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(o.fields)) {
		if !slices.Contains(known, key) {
			out = append(out, key)
		}
	}
	return out
}

// didYouMean is the hint for a key that nobody knows, or "".
func didYouMean(key string, known []string) string {
	if near := bond.Nearest(key, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return ""
}

// KindOf names what a user wrote, shortly: a scalar as it is, else its type.
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

// Encode is json.Marshal for values that always can be.
func Encode(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return raw
}

package kubeclient

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate"
)

// object is a JSON object while it is read: each reader adds to the problems
// what is wrong with its field, under the field's path.
type object struct {
	path     string
	fields   map[string]json.RawMessage
	problems *bond.Problems
}

// decodeObject reads raw as an object; anything else is a problem at path.
func decodeObject(raw json.RawMessage, path string, problems *bond.Problems) object {
	o := object{path: path, problems: problems}
	if err := json.Unmarshal(raw, &o.fields); err != nil || o.fields == nil {
		problems.Add(path, "", "is %s, wanted is a JSON object", delegate.KindOf(raw))
		o.fields = map[string]json.RawMessage{}
	}
	return o
}

func (o object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

// get is the field's value; nil where it is absent or null.
func (o object) get(key string) json.RawMessage {
	if raw := o.fields[key]; string(bytes.TrimSpace(raw)) != "null" {
		return raw
	}
	return nil
}

// read fills in into from the field; one that is absent or null leaves it as
// it is. There is false where there is nothing that can be used.
func (o object) read(key string, into any, wanted string) (there bool) {
	raw := o.get(key)
	if raw == nil {
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		o.problems.Add(o.at(key), "", "is %s, wanted is %s", delegate.KindOf(raw), wanted)
		return false
	}
	return true
}

// text reads a string; "" where it is not there.
func (o object) text(key string) (s string) {
	o.read(key, &s, "a string")
	return s
}

// inner reads a nested object; one that is absent has no fields.
func (o object) inner(key string) object {
	raw := o.get(key)
	if raw == nil {
		return object{path: o.at(key), problems: o.problems}
	}
	return decodeObject(raw, o.at(key), o.problems)
}

// anyCase lets keys be found whose case differs from that of known, as Go's
// own decoder does, and with it whatever else reads this annotation.
func (o object) anyCase(known []string) object {
	for _, key := range slices.Sorted(maps.Keys(o.fields)) {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
		if i < 0 {
			continue
		}
		if _, exact := o.fields[known[i]]; !exact {
			o.fields[known[i]] = o.fields[key]
		}
	}
	return o
}

// member is one key of an object and where it is in the object's text.
type member struct {
	key   string
	from  int // the end of what comes before it: the brace, or another value
	value int // the value's first byte
	to    int // the first byte after the value
}

// members finds the keys of a valid JSON object, in the order of the text.
func members(raw json.RawMessage) []member {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return nil
	}
	var out []member
	for decoder.More() {
		m := member{from: int(decoder.InputOffset())}
		key, err := decoder.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil
		}
		m.key, _ = key.(string)
		m.to = int(decoder.InputOffset())
		m.value = m.to - len(value)
		out = append(out, m)
	}
	return out
}

// setField sets a key of a valid JSON object; every other byte stays as it
// is. Of a key that is there several times the last one counts, as for Go's
// decoder.
func setField(raw json.RawMessage, key string, value json.RawMessage) json.RawMessage {
	all := members(raw)
	for _, m := range slices.Backward(all) {
		if m.key == key {
			return slices.Concat(raw[:m.value], value, raw[m.to:])
		}
	}
	at := bytes.IndexByte(raw, '{') + 1
	comma := ","
	if len(all) == 0 {
		comma = ""
	}
	return slices.Concat(raw[:at], delegate.Encode(key), []byte(":"), value, []byte(comma), raw[at:])
}

// dropField removes a key from a valid JSON object, with its comma.
func dropField(raw json.RawMessage, key string) json.RawMessage {
	for {
		all := members(raw)
		i := slices.IndexFunc(all, func(m member) bool { return m.key == key })
		if i < 0 {
			return raw
		}
		from, to := all[i].from, all[i].to
		if i == 0 && len(all) > 1 {
			to += bytes.IndexByte(raw[to:], ',') + 1
		}
		raw = slices.Concat(raw[:from], raw[to:])
	}
}

// joinList writes a list whose elements keep their bytes.
func joinList(elements []json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	out.WriteByte('[')
	for i, e := range elements {
		if i > 0 {
			out.WriteString(", ")
		}
		out.Write(e)
	}
	out.WriteByte(']')
	return out.Bytes()
}

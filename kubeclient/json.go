package kubeclient

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/delegate/strictjson"
)

// anyCase adds each known key that fields has only in another case. Go's decoder
// ignores case, and so does whatever else reads this annotation.
func anyCase(fields map[string]json.RawMessage, known []string) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
		if i < 0 {
			continue
		}
		if _, exact := fields[known[i]]; !exact {
			fields[known[i]] = fields[key]
		}
	}
}

// member is one key of an object and its position in the text of the object.
type member struct {
	key   string
	from  int // end of what comes before it: the brace or another value
	value int // first byte of the value
	to    int // first byte after the value
}

// members lists the keys of a valid JSON object, in the order of the text.
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

// setField sets a key of a valid JSON object. Every other byte stays. If the object
// has the key several times, the last one is set, which is the one that counts for
// Go's decoder.
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
	return slices.Concat(raw[:at], strictjson.Encode(key), []byte(":"), value, []byte(comma), raw[at:])
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

// joinList returns a JSON list of the elements, byte by byte as they are.
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

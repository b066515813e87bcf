package strictjson

import (
	"bytes"
	"encoding/json"
	"slices"
)

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

// SetField sets a key of a valid JSON object. Every other byte stays. If the object
// has the key several times, the last one is set, which is the one that counts for
// Go's decoder.
func SetField(raw json.RawMessage, key string, value json.RawMessage) json.RawMessage {
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
	return slices.Concat(raw[:at], Encode(key), []byte(":"), value, []byte(comma), raw[at:])
}

// DropField removes a key from a valid JSON object, with its comma.
func DropField(raw json.RawMessage, key string) json.RawMessage {
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

// JoinList returns a JSON list of the elements, byte by byte as they are.
func JoinList(elements []json.RawMessage) json.RawMessage {
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

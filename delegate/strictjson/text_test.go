package strictjson

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSetFieldKeepsEveryOtherByte(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                                  `{"k":9}`,
		` { } `:                               ` {"k":9 } `,
		"{\"a\" : 1.0e3,\n\t\"b\":\"<&>\"}":   "{\"k\":9,\"a\" : 1.0e3,\n\t\"b\":\"<&>\"}",
		`{"a":1, "k" : {"x": [1, 2]} ,"b":2}`: `{"a":1, "k" : 9 ,"b":2}`,
		`{"k":1,"k":2}`:                       `{"k":1,"k":9}`,
		`{"k":null}`:                          `{"k":9}`,
		`{"a":{"k":1}}`:                       `{"k":9,"a":{"k":1}}`,
		`{"\u006b":1}`:                        `{"\u006b":9}`,
	} {
		assert.Equal(t, want, string(SetField(json.RawMessage(in), "k", json.RawMessage("9"))), in)
	}
}

func TestDropFieldKeepsEveryOtherByte(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                        `{}`,
		`{"a":1}`:                   `{"a":1}`,
		`{ "k" : 1 }`:               `{  }`,
		`{"k":1 , "a":2}`:           `{ "a":2}`,
		`{"a":2 , "k":1}`:           `{"a":2 }`,
		`{"a":2, "k":[{}], "b": 3}`: `{"a":2, "b": 3}`,
		`{"k":1,"a":2,"k":3}`:       `{"a":2}`,
		`{"k":1,"k":2}`:             `{}`,
	} {
		assert.Equal(t, want, string(DropField(json.RawMessage(in), "k")), in)
	}
}

func FuzzSetField(f *testing.F) {
	f.Add(`{"a": [1], "k": {"b": "x"}, "c": null}`)
	f.Add(` {} `)
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]any
		if json.Unmarshal([]byte(text), &want) != nil || want == nil {
			return
		}
		check := func(raw json.RawMessage) {
			var got map[string]any
			require.NoError(t, json.Unmarshal(raw, &got), "%q became %q", text, raw)
			require.Equal(t, want, got, "%q became %q", text, raw)
		}
		want["k"] = "v"
		check(SetField(json.RawMessage(text), "k", json.RawMessage(`"v"`)))
		delete(want, "k")
		check(DropField(json.RawMessage(text), "k"))
	})
}

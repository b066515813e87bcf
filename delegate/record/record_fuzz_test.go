package record

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/strictjson"
)

// recordInputs are the inputs that FuzzRecord starts from.
var recordInputs = []struct{ name, text string }{
	{"a Record", `{"version":1,"bootID":"boot1","plan":{"containerID":"c1","ifName":"bond0","netns":"/run/netns/p1","links":[{"name":"a","source":"device","device":"0000:3b:02.0"}]},"started":["a"]}`},
	{"a newer version", `{"version":2}`},
	{"null", `null`},
	{"nothing", ""},
	{"a blank", " "},
	{"the beginning of null and a form feed", "n\f"},
	{"the beginning of a list", "["},
	{"an empty string in JSON", `""`},
	{"a string that is not UTF-8", "\"\x85\""},
	{"a number after a line feed", "\n0"},
	{"a number after two blanks", "  0"},
	{"two numbers with a carriage return between them", "0\r0"},
	{"a number with a leading zero", "00"},
	{"minus zero", "-0"},
	{"a fraction of two zeros", "0.00"},
	{"a fraction of four zeros", "0.0000"},
	{"an exponent of zeros", "0e000"},
	{"an exponent of zeros after a capital", "0E0000"},
	{"a letter for an exponent", "0eA"},
	{"a digit for a key", "{0"},
	{"an object cut off in a key", `{"0000000`},
	{"a value without a comma after it", `{"000":0,"000000":"000000000000"0`},
	{"a control character in a value cut off", "{\"\":0,\"00\":\"0000\x18"},
}

// FuzzRecord: a Record's file, whatever it has, is read as the Record of its name
// or not at all; what verbs then ask of it does not panic, and it can be written
// and read again.
func FuzzRecord(f *testing.F) {
	for _, input := range recordInputs {
		f.Add([]byte(input.text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := decode(raw, c1)
		if err != nil {
			return
		}
		require.Equal(t, c1, rec.Plan.Key())
		require.True(t, rec.Version > 0 && rec.Version <= Version)
		rec.Phase()
		rec.Members()
		for range rec.Plugins() {
		}
		rec.assumeBegun()
		_, err = decode(strictjson.Encode(rec), c1)
		require.NoError(t, err)
	})
}

package agentapi

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

// messageInputs are the inputs that FuzzAgentMessage starts from.
var messageInputs = []struct{ name, text string }{
	{"a lookup", `{"version":1,"lookup":{"pod":{"namespace":"demo","name":"p","uid":"u"}}}`},
	{"a publication with null for a result", `{"version":1,"publish":{"verb":"ADD","attachments":[{"result":null}],"steps":[{}]}}`},
	{"a carriage return", "\r"},
	{"a vertical tab", "\v"},
	{"a control character", "\x1d"},
	{"the beginning of null", "n"},
	{"the beginning of an object", "{"},
	{"a number after a blank", " 0"},
	{"a number after two blanks", "  0"},
	{"a negative number", "-1"},
	{"a number with an exponent of zeros", "0E000"},
	{"a fraction of zeros", "0.0000"},
	{"a fraction cut off in its exponent", "0.0E"},
	{"a string and the beginning of another", `"000""`},
	{"a string cut off after an escape", `"\b`},
	{"an empty string and a byte that is not UTF-8", "\"\"\x83"},
	{"a string of two bytes that are not UTF-8", "\"\xba\xf0\""},
	{"a string that begins in the middle of a character", "\"\xba00\""},
	{"a string with a character cut off", "\"\xcf000000000000000\""},
	{"a string with a byte that UTF-8 never has", "\"\xf80000\""},
	{"a string with six bytes that UTF-8 never has", "\"\xf8\xf8\xf8\xf8\xf8\xf8000\""},
	{"a string with a byte that UTF-8 never has, and a character cut off", "\"\xf8\xe9\x980\""},
}

// FuzzAgentMessage: what a plugin sends can be handed on as it was read.
func FuzzAgentMessage(f *testing.F) {
	for _, input := range messageInputs {
		f.Add([]byte(input.text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r, again Request
		if Read(bytes.NewReader(raw), &r) != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, r); err != nil {
			return // a result whose own encoder refuses it
		}
		assert.NoError(t, Read(&out, &again))
	})
}

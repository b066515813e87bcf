package agentapi

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// cniArgsInputs are the inputs that FuzzParseCNIArgs starts from.
var cniArgsInputs = []struct{ name, text string }{
	{"nothing", ""},
	{"a semicolon", ";"},
	{"empty keys", "=;="},
	{"a pod", "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=p;K8S_POD_UID=u"},
	{"a pod with a path for its name", "K8S_POD_NAME=../x;K8S_POD_NAMESPACE=a\nb"},
	{"a blank", " "},
	{"two backspaces", "\b\b"},
	{"four bells", "\a\a\a\a"},
	{"four delete characters", "\x7f\x7f\x7f\x7f"},
	{"four quotes", `""""`},
	{"eight quotes", `""""""""`},
	{"a digit after a tab", "\t0"},
	{"a digit after a carriage return", "\r0"},
	{"a digit after an ideographic space", "\u30000"},
	{"a digit and two tabs", "0\t\t"},
	{"a digit and line feeds", "0\n\n\n\n"},
	{"a digit and carriage returns", "0\r\r\r\r"},
	{"a digit and a blank", "0 "},
	{"a digit and three bytes that are not UTF-8", "0\x80\xe3\xd9"},
	{"a digit and four bytes that are not UTF-8", "0\x80\x80\xe3\xd9"},
	{"bytes that are not UTF-8, and control characters", "\xf8\x17\x12\x86\x04\x15\xb3"},
	{"a Cyrillic letter and half a character", "Ԫ\xdb"},
	{"letters that are not ASCII between control characters", "\x12ɒɛ\x1f"},
	{"three Arabic letters", "ڮگښ"},
	{"five Arabic letters", "ڮگگڒڒ"},
}

// FuzzParseCNIArgs: a pod is named whole or not at all.
func FuzzParseCNIArgs(f *testing.F) {
	for _, input := range cniArgsInputs {
		f.Add(input.text)
	}
	f.Fuzz(func(t *testing.T, args string) {
		got, err := ParseCNIArgs(args)
		if err == nil {
			assert.Equal(t, got.Name == "", got.Namespace == "", "%q: %+v", args, got)
			assert.False(t, strings.ContainsAny(got.Name+got.Namespace, "/%_ \n\x00"), "%q: %+v", args, got)
		}
	})
}

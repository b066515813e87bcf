package strictjson

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

// TestObject reads fields of every kind, and finds all that are wrong at once.
func TestObject(t *testing.T) {
	var problems bond.Problems
	o, is := Decode(json.RawMessage(`{"text": "a", "yes": true, "null": null, "number": 7, "in": {"list": [{"x": "y"}, 3], "text": []}, "other": {}}`), "top", &problems)
	require.True(t, is)
	assert.Equal(t, "a", o.Text("text"))
	assert.True(t, o.Bool("yes"))
	assert.Equal(t, "", o.Text("null"))
	assert.False(t, o.Bool("absent"))
	_, there := o.Object("null")
	assert.False(t, there)
	in, there := o.Object("in")
	require.True(t, there)
	require.NoError(t, problems.Err())

	assert.Equal(t, "", o.Text("number"))
	assert.False(t, o.Bool("text"))
	_, there = o.Object("yes")
	assert.False(t, there)
	list := in.Each("list")
	require.Len(t, list, 1)
	assert.Equal(t, "y", list[0].Text("x"))
	assert.Empty(t, in.Each("text"))
	in.Text("text")
	assert.EqualError(t, problems, "top.number: is 7, want a string; top.text: is \"a\", want true or false; top.yes: is true, want a JSON object; "+
		"top.in.list[1]: is 3, want a JSON object; top.in.text: is a list, want a string")
	assert.Equal(t, []string{"null", "number", "other"}, o.Unknown([]string{"in", "text", "yes"}))
}

func TestDecodeNoObject(t *testing.T) {
	for text, want := range map[string]string{
		`null`: "p: is null, want a JSON object",
		`[1]`:  "p: is a list, want a JSON object",
		`{"a`:  "p: is an object, want a JSON object",
		``:     "p: is nothing, want a JSON object",
		`"0123456789012345678901234567890123456789012345678901234567890"`: "p: is a value of 63 bytes, want a JSON object",
	} {
		var problems bond.Problems
		_, is := Decode(json.RawMessage(text), "p", &problems)
		assert.False(t, is)
		assert.EqualError(t, problems, want)
	}
}

func TestFoldKeys(t *testing.T) {
	fields := map[string]json.RawMessage{"MTU": nil, "Mode": []byte("1"), "mode": []byte("2"), "other": nil}
	FoldKeys(fields, []string{"mtu", "mode"})
	assert.Equal(t, map[string]json.RawMessage{"mtu": nil, "mode": []byte("2"), "other": nil}, fields)
}

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "draw demo.svg anew, from testdata/demo-terminal.json")

// recordedRun is the recording of a real run: build/report/demo-terminal.json of make demo.
func recordedRun(t *testing.T) *Terminal {
	t.Helper()
	text, err := os.ReadFile("testdata/demo-terminal.json")
	require.NoError(t, err)
	recording := &Terminal{}
	require.NoError(t, json.Unmarshal(text, recording))
	return recording
}

// TestDemoPicture keeps the picture of README.md equal to the recording of a real run.
func TestDemoPicture(t *testing.T) {
	picture := recordedRun(t).svg()
	if *update {
		require.NoError(t, os.WriteFile("demo.svg", []byte(picture), 0o644))
	}
	text, err := os.ReadFile("demo.svg")
	require.NoError(t, err)
	assert.True(t, string(text) == picture, "demo.svg is another one: go test ./tests/demo -run TestDemoPicture -update")
}

// TestDemoPictureShowsAll: the picture has a bond from its annotation to the end of a fault,
// and what kubectl multibond prints has the form that the picture shows.
func TestDemoPictureShowsAll(t *testing.T) {
	var drawn strings.Builder
	for _, s := range recordedRun(t).Shown {
		for _, l := range s.lines() {
			drawn.WriteString(strings.TrimSpace(l.text) + "\n")
		}
	}
	for _, words := range []string{
		"k8s.v1.cni.cncf.io/networks: bond-net1@bond0", "the cable of PF 1 is pulled", "without an answer", "kubectl multibond describe bonded",
		"NetworksAttached", "BondFailedOver", "BondDegraded", "BondRestored",
	} {
		assert.Contains(t, drawn.String(), words)
	}
	golden, err := os.ReadFile("../../cmd/multibondctl/testdata/script/status.txtar")
	require.NoError(t, err)
	for _, first := range []string{"LINK", "AGE"} {
		assert.Equal(t, header(string(golden), first), header(drawn.String(), first), "record a run anew: what kubectl multibond describe prints has changed")
	}
}

// header returns the words of the first line of a table that begins so.
func header(text, first string) []string {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == first {
			return words
		}
	}
	return nil
}

// TestTerminalSVG: the picture is well-formed, nothing is wider than it, and what is drawn is
// what was printed.
func TestTerminalSVG(t *testing.T) {
	long := strings.Repeat("a b <c> ", 40)
	recording := &Terminal{Shown: []Shown{{Command: "cat a&b"}, {AtS: 1, Output: long + "\nlast\n"}, {AtS: 90, Remark: "done"}}}
	picture := recording.svg()
	var drawn []string
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if start, is := token.(xml.StartElement); is && start.Name.Local == "text" {
			var text string
			require.NoError(t, d.DecodeElement(&text, &start))
			assert.LessOrEqual(t, len(text), columns)
			drawn = append(drawn, strings.TrimSpace(text))
		}
	}
	assert.Equal(t, []string{"0.0 s", "$ cat a&b", "1.0 s"}, drawn[:3])
	assert.Equal(t, []string{"last", "90.0 s", "# done"}, drawn[len(drawn)-3:])
	assert.Equal(t, strings.Fields(long), strings.Fields(strings.Join(drawn[3:len(drawn)-3], " ")))
	assert.NotContains(t, picture, "%!", "a verb without its argument")
	assert.Contains(t, picture, "prefers-color-scheme: dark")
}

// TestTerminalRecords: what is recorded has been printed, too.
func TestTerminalRecords(t *testing.T) {
	var out strings.Builder
	var terminal Terminal
	terminal.remark(&out, "%d cables", 2)
	terminal.command(&out, "ls", "a\nb\n")
	assert.Equal(t, "   2 cables\n\n   $ ls\n     a\n     b\n", out.String())
	require.Len(t, terminal.Shown, 2)
	assert.Equal(t, Shown{Remark: "2 cables"}, terminal.Shown[0])
	terminal.Shown[1].AtS = 0
	assert.Equal(t, Shown{Command: "ls", Output: "a\nb\n"}, terminal.Shown[1])
}

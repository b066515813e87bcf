package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSVG: the picture is well-formed, and has a bar for each trial.
func TestSVG(t *testing.T) {
	table := Table{Kernel: "6.12 <amd64>", Results: []Result{
		{trial: trial{Mode: "active-backup", Fault: pfDown}, Fault: Outage{GapMS: 200, Whole: true}},
		{trial: trial{Mode: "balance-rr", Fault: cableOut}, Fault: Outage{Lost: 5, Sent: 9}},
		{trial: trial{Mode: "balance-rr", Fault: cableOut, Keep: true}, Fault: Outage{GapMS: 250, Lost: 20, Whole: true}},
	}}
	var bars int
	for d := xml.NewDecoder(strings.NewReader(table.svg())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if start, is := token.(xml.StartElement); is && start.Name.Local == "rect" {
			bars++
		}
	}
	assert.Equal(t, len(table.Results)+1, bars, "rectangles, the ground among them")
	assert.NotContains(t, table.svg(), "%!", "a verb without its argument")
	for _, words := range []string{"200 ms, 0 lost", "no end, 5 of 9 lost", "250 ms, 20 lost", "6.12 &lt;amd64&gt;"} {
		assert.Contains(t, table.svg(), words)
	}
}

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/tests/demo/event"
)

// TestReturned: the VF is back when both links are in the bond again, which can be before
// the command has ended that made it anew.
func TestReturned(t *testing.T) {
	before := seen(1000, pod1, linksFile, link1+" "+link2)
	ended := event.Event{At: 3000 * ms, Kind: event.Ended, Where: hostNS}
	for _, test := range []struct {
		name   string
		events []event.Event
		want   *Return
	}{
		{"after the command", []event.Event{before, seen(1800, pod1, linksFile, link2), ended, seen(3200, pod1, linksFile, link2+" "+link1)}, &Return{1000, 1200}},
		{"during the command", []event.Event{before, ended, seen(2900, pod1, linksFile, link2+" "+link1)}, &Return{1000, 900}},
		{"never", []event.Event{before, ended, seen(2900, pod1, linksFile, link2)}, nil},
	} {
		assert.Equal(t, test.want, returned(test.events, 2000*ms), test.name)
	}
}

// TestRows: a trial and the same with keep are one row.
func TestRows(t *testing.T) {
	a, b := trial{Mode: "a"}, trial{Mode: "b"}
	table := Table{Results: []Result{{trial: a}, {trial: a.withKeep()}, {trial: b.withKeep()}}}
	rows := table.rows()
	assert.Equal(t, []row{{&table.Results[0], &table.Results[1]}, {nil, &table.Results[2]}}, rows)
	assert.Equal(t, b, rows[1].trial())
}

package main

import (
	"encoding/xml"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStats(t *testing.T) {
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	assert.Equal(t, Stats{N: 100, Median: 50.5, Low: 11, High: 91, P95: 96, P99: 100, Max: 100}, newStats(all))
	assert.Equal(t, Stats{N: 1, Median: 3, Low: 3, High: 3, P95: 3, P99: 3, Max: 3}, newStats([]time.Duration{3 * time.Millisecond}), "of one duration")
}

func TestRatios(t *testing.T) {
	of := func(all ...time.Duration) []time.Duration { return all }
	got := times{
		"ADD":       {"multibond": of(3, 40, 6), "floor": of(2, 20, 6), "multus thin": of(4, 80, 6)},
		"DEL":       {"multibond": of(2, 20, 2), "floor": of(2, 10, 4)},
		"DEL again": {"multibond": of(1, 1, 1), "multus thin": of(4, 5, 2)},
	}.ratios()
	assert.Equal(t, Ratios{
		"ADD":       {"floor": {Median: 1.5, Low: 1, High: 2}, "multus thin": {Median: 0.75, Low: 0.5, High: 1}},
		"DEL":       {"floor": {Median: 1, Low: 0.5, High: 2}},
		"DEL again": {"floor": {Median: 0.25, Low: 0.1, High: 0.5}, "multus thin": {Median: 0.25, Low: 0.2, High: 0.5}},
	}, got)
	assert.Equal(t, "1.50 (1.00 to 2.00) of floor, 0.75 (0.50 to 1.00) of multus thin", got.of("ADD"))
}

func TestSlope(t *testing.T) {
	assert.Equal(t, 2.0, slope([]float64{1, 2, 4}, []float64{5, 7, 11}))
}

func TestWeigh(t *testing.T) {
	got := weigh([]byte("  4a0000        100 T encoding/json.(*decodeState).value\n  4a0100         20 R encoding/json.table\n" +
		"  4a0200        300 T runtime.main\n  4a0300         50 r go:itab.*os.File,io.Writer\n  4a0400          7 T slices.SortFunc[go.shape.int]\n" +
		"  500000       9000 B runtime.mheap_\n                    U getenv\n"))
	assert.Equal(t, []Import{{"runtime", 300}, {"encoding/json", 120}, {"(types and tables)", 50}, {"slices", 7}}, got)
}

func TestPicture(t *testing.T) {
	svg := picture([]Peer{{Networks: 4, ADD: map[string]Stats{"floor": {Median: 10}, "multibond": {Median: 25}, "multus thick": {Median: 30}, "multus thin": {Median: 50}}}})
	require.NoError(t, xml.Unmarshal([]byte(svg), new(struct{})))
	// The highest bar has the full height of 226, the floor a fifth of it.
	for _, part := range []string{`y="34.0" width="22" height="226.0" fill="#c06a3a"`, `height="45.2" fill="#b0b7c3"`, `>25</text>`, `>4</text>`} {
		assert.Contains(t, svg, part)
	}
}

func TestTimelinePicture(t *testing.T) {
	svg := timelinePicture([]Bar{{"cbr0", "lookup", 10}, {"cbr0", "attach eth0", 80}, {"", "publish and process", 10}})
	require.NoError(t, xml.Unmarshal([]byte(svg), new(struct{})))
	// The bars share a width of 450. Each begins at the end of the one before it.
	for _, part := range []string{`<rect x="170.0" y="10" width="45.0"`, `<rect x="215.0" y="28" width="360.0" height="14" fill="#b0b7c3"`, `<rect x="575.0" y="46" width="45.0"`, `>cbr0 attach eth0<`, `ms of 100;`} {
		assert.Contains(t, svg, part)
	}
}

// TestInstructions counts the instructions of a program that does next to
// nothing and exits with 1.
func TestInstructions(t *testing.T) {
	n, err := instructions(t.Context(), "/bin/false", "")
	assert.EqualError(t, err, "it exited with status 1")
	assert.GreaterOrEqual(t, n, 1000)
}

package monitoring

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "draw the picture of the dashboard anew")

const pictureFile = deploy + "dashboard.svg"

// TestPicture keeps the picture of the dashboard equal to what its queries find in the
// recording of a real run, which TestWatch of tests/e2e makes.
func TestPicture(t *testing.T) {
	r := readRecording(t)
	picture := r.draw(readDashboard(t))
	if *update {
		require.NoError(t, os.WriteFile(pictureFile, []byte(picture), 0o644))
	}
	text, err := os.ReadFile(pictureFile)
	require.NoError(t, err)
	assert.True(t, string(text) == picture, "%s is another one: go test . -run TestPicture -update", pictureFile)
}

// TestRecordingHasAll checks that the recording is of a run in which something has happened.
// In a run that goes well, no call fails.
func TestRecordingHasAll(t *testing.T) {
	r, d := readRecording(t), readDashboard(t)
	for _, p := range d.Panels {
		var points int
		for _, line := range r.lines(p) {
			points += len(line.points)
		}
		assert.True(t, points > 0 || p.Title == "Failures of lookups, ADD and DEL", "%s is empty", p.Title)
	}
}

// recordingTime is Grafana's $__rate_interval for a recording, which has a value each second.
var recordingTime = strings.NewReplacer("$node", ".*", "$namespace", ".*", "$__rate_interval", "10s")

// recording is what Prometheus knows of a run.
type recording struct {
	t       *testing.T
	engine  *promql.Engine
	from    storage.Storage
	seconds int
}

func readRecording(t *testing.T) recording {
	text, err := os.ReadFile("testdata/recording.txt")
	require.NoError(t, err)
	r := recording{t: t, engine: promqltest.NewTestEngine(t, false, 0, 1e6)}
	form := regexp.MustCompile(`^(\w+)(?:{(.*)})? (.*)$`)
	var series []string
	for line := range strings.Lines(string(text)) {
		words := form.FindStringSubmatch(strings.TrimSpace(line))
		require.NotNil(t, words, line)
		labels := append([]string{}, scraped...)
		if words[2] != "" {
			labels = append(labels, words[2])
		}
		if !strings.Contains(words[2], "pod=") {
			labels = append(labels, target...)
		}
		values, seconds := withStale(strings.Fields(words[3]))
		r.seconds = max(r.seconds, seconds)
		series = append(series, words[1]+"{"+strings.Join(labels, ",")+"} "+values)
	}
	r.from = promqltest.LoadedStorage(t, "load 1s\n  "+strings.Join(series, "\n  ")+"\n")
	t.Cleanup(func() { r.from.Close() })
	return r
}

// withStale returns the values of a series for its seconds, and how many these are. A value
// that is missing ends the series there, as a scrape without it does.
func withStale(values []string) (text string, seconds int) {
	for i, v := range values {
		value, times, repeated := strings.Cut(v, "x")
		n, _ := strconv.Atoi(times)
		switch {
		case value != "_" && repeated:
			seconds += n + 1
		case value != "_":
			seconds++
		default:
			seconds += n
			values[i] = "stale"
			if n > 1 {
				values[i] += fmt.Sprintf(" _x%d", n-1)
			}
		}
	}
	return strings.Join(values, " "), seconds
}

// line is one series that a panel shows.
type line struct {
	name   string
	labels map[string]string
	points map[int]float64 // by second
}

// last returns the value of the last second.
func (r recording) last(l line) (float64, bool) {
	value, there := l.points[r.seconds-1]
	return value, there
}

// lines evaluates the queries of a panel for each second, and returns what they find, by name.
func (r recording) lines(p panel) (out []line) {
	for _, q := range p.Targets {
		found := map[string]line{}
		for second := range r.seconds {
			for _, s := range ask(r.t, r.engine, r.from, recordingTime.Replace(q.Expr), time.Duration(second)*time.Second) {
				if s.F != s.F { // not a number: nothing was there to divide
					continue
				}
				key := s.Metric.String()
				if _, there := found[key]; !there {
					found[key] = line{legend(q.LegendFormat, s.Metric.Map()), s.Metric.Map(), map[int]float64{}}
				}
				found[key].points[second] = s.F
			}
		}
		for _, l := range found {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b line) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(fmt.Sprint(a.labels), fmt.Sprint(b.labels)))
	})
	return out
}

// legend fills labels into the name of a line.
func legend(format string, labels map[string]string) string {
	return regexp.MustCompile(`{{\s*(\w+)\s*}}`).ReplaceAllStringFunc(format, func(word string) string {
		return labels[strings.Trim(word, "{} ")]
	})
}

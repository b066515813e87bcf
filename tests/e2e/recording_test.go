package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// A recording has the agent's metrics, second by second, as far as the dashboard shows them.
// Its form is that of Prometheus' own tests: a line for each series, with _ for no value, and
// 1x3 for a value that comes three times more.
type recording struct {
	seconds int
	series  map[string][]string
}

// recorded are the metrics of the dashboard.
var recorded = regexp.MustCompile(`^(multibond_(bond|pf|watch|failures_total|publish_queue|runtime_config_state)[^ ]*|multibond_step_duration_seconds_bucket{.*step="total".*}|process_(resident_memory_bytes|cpu_seconds_total)) (\S+)$`)

// record records until the returned function is called, which writes the recording to
// build/report.
func (s *scene) record() (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	r := &recording{series: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(time.Second); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick.C:
				page, _ := c.On(context.WithoutCancel(ctx), "wget", "-qO-", "http://127.0.0.1:9476/metrics") // no agent: no values
				r.add(page)
			}
		}
	}()
	return func() {
		cancel()
		<-done
		dir := filepath.Join(lab.Root(), "build", "report")
		require.NoError(s, os.MkdirAll(dir, 0o755))
		require.NoError(s, os.WriteFile(filepath.Join(dir, "recording.txt"), []byte(r.String()), 0o644))
	}
}

// add adds the page of one second.
func (r *recording) add(page string) {
	for line := range strings.Lines(page) {
		words := recorded.FindStringSubmatch(strings.TrimSpace(line))
		if words == nil {
			continue
		}
		value := words[4]
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			value = strconv.FormatFloat(number, 'f', -1, 64)
		}
		of := r.series[words[1]]
		for len(of) < r.seconds {
			of = append(of, "_")
		}
		r.series[words[1]] = append(of, value)
	}
	r.seconds++
}

// String returns the text of a recording.
func (r *recording) String() string {
	var lines []string
	for name, values := range r.series {
		for len(values) < r.seconds {
			values = append(values, "_")
		}
		lines = append(lines, name+" "+strings.Join(shorter(values), " ")+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// shorter writes values that come several times as one.
func shorter(values []string) (out []string) {
	for begin := 0; begin < len(values); {
		end := begin + 1
		for end < len(values) && values[end] == values[begin] {
			end++
		}
		switch n := end - begin; {
		case values[begin] == "_":
			out = append(out, fmt.Sprintf("_x%d", n))
		case n > 1:
			out = append(out, fmt.Sprintf("%sx%d", values[begin], n-1))
		default:
			out = append(out, values[begin])
		}
		begin = end
	}
	return out
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Terminal records what a reader of the demo should see: commands, what they printed, and
// remarks between them. build/report/demo-terminal.json has it, and demo.svg is drawn from it.
type Terminal struct {
	began time.Time
	Shown []Shown `json:"shown"`
}

// Shown is a command with its output, or a remark.
type Shown struct {
	AtS     float64 `json:"at_s"` // seconds since the first one
	Remark  string  `json:"remark,omitempty"`
	Command string  `json:"command,omitempty"`
	Output  string  `json:"output,omitempty"`
}

// add notes something that is shown now.
func (t *Terminal) add(s Shown) {
	if len(t.Shown) == 0 {
		t.began = time.Now()
	}
	s.AtS = float64(time.Since(t.began).Milliseconds()) / 1000
	t.Shown = append(t.Shown, s)
}

// remark prints a line, and records it.
func (t *Terminal) remark(out io.Writer, format string, args ...any) {
	say(out, format, args...)
	t.add(Shown{Remark: fmt.Sprintf(format, args...)})
}

// command prints a command with what it printed, and records both.
func (t *Terminal) command(out io.Writer, command, output string) {
	printCommand(out, command, output)
	t.add(Shown{Command: command, Output: output})
}

func printCommand(out io.Writer, command, output string) {
	fmt.Fprintf(out, "\n   $ %s\n", command)
	for line := range strings.Lines(output) {
		fmt.Fprintf(out, "     %s", line)
	}
}

// write writes the recording and the picture beside the report.
func (t *Terminal) write(dir string) error {
	data, err := json.MarshalIndent(t, "", "  ")
	return errors.Join(err,
		os.WriteFile(filepath.Join(dir, "demo-terminal.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "demo.svg"), []byte(t.svg()), 0o644))
}

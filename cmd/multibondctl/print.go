package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// apiVersion is the version of what -o json and yaml print. Within one version, keys are
// added, and none is renamed or removed.
const apiVersion = "ctl.multibond.io/v1"

// header begins each report.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

func headerOf(kind string) header { return header{APIVersion: apiVersion, Kind: kind} }

// formats lists the values of -o.
var formats = []string{"wide", "json", "yaml"}

func checkFormat(format string) error {
	if format != "" && !slices.Contains(formats, format) {
		return fmt.Errorf("-o is %q, want %s", format, strings.Join(formats, ", "))
	}
	return nil
}

// print prints a report, which has a header, in the format of -o. text prints it for
// people.
func (e *env) print(report any, text func(*page)) error {
	switch e.output {
	case "json":
		out := json.NewEncoder(e.Out)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(report)
	case "yaml":
		out, err := yaml.Marshal(report)
		if err == nil {
			_, err = e.Out.Write(out)
		}
		return err
	}
	p := &page{out: e.Out, wide: e.output == "wide", colour: isTerminal(e.Out) && os.Getenv("NO_COLOR") == ""}
	text(p)
	return p.err
}

// progress shows on a terminal what is being done, and nothing elsewhere. An empty text
// removes the line.
func (e *env) progress(format string, args ...any) {
	if isTerminal(e.ErrOut) {
		fmt.Fprintf(e.ErrOut, "\r\x1b[K"+format, args...)
	}
}

func isTerminal(w any) bool {
	f, is := w.(*os.File)
	return is && term.IsTerminal(int(f.Fd()))
}

// page is text for people. It keeps the first error.
type page struct {
	out    io.Writer
	wide   bool
	colour bool
	err    error
}

// line prints a line.
func (p *page) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format+"\n", args...); p.err == nil {
		p.err = err
	}
}

// count returns a number of things: "1 bond", "2 bonds".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// widestGap is how many spaces separate two columns, if there is room.
const widestGap = 3

// gap returns how many spaces separate the columns of a table: as many as fit on a screen, if it
// fits at all.
func gap(widths []int) int {
	sum := 0
	for _, w := range widths {
		sum += w
	}
	for n := widestGap; n > 0; n-- {
		if sum+n*(len(widths)-1) <= screenWidth {
			return n
		}
	}
	return widestGap
}

// table prints rows, of which the first has the names of the columns, each column as wide
// as its widest cell. Cells that are a state have a colour.
func (p *page) table(rows ...[]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	between := strings.Repeat(" ", gap(widths))
	if p.wide {
		between = strings.Repeat(" ", widestGap)
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(p.paint(cell))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + between)
			}
		}
		p.line("%s", strings.TrimRight(line.String(), " "))
	}
}

// The colours of states.
var colours = map[string]string{
	"up": "32", "ok": "32",
	"degraded": "33", "loss": "33", "mtu": "31", "warning": "33", "unknown": "33", "starting": "33",
	"down": "31", "error": "31", "gone": "31", "missing": "31", "deleted": "31",
}

// paint gives a state its colour.
func (p *page) paint(text string) string {
	if code := colours[text]; p.colour && code != "" {
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	return text
}

package main

import (
	"fmt"
	"html"
	"strings"
)

// The picture is a terminal of so many columns, whose lines appear one after the other.
const (
	columns                   = 104
	glyphWidth, terminalLine  = 7.25, 17
	terminalLeft, terminalTop = 16, 30
	timeWidth                 = 76 // of the times, right of the columns
	longestWait               = 2.5
)

// terminalStyle follows the reader's choice of dark or light, and of motion. Where neither
// these rules nor animation are known, all lines are there, dark on light.
const terminalStyle = `<style>
  text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }
  .ground { fill: #ffffff; stroke: #d0d7de; }
  .output { fill: #1f2328; }
  .remark { fill: #0969da; }
  .command { fill: #116329; font-weight: bold; }
  .time { fill: #6e7781; text-anchor: end; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #30363d; }
    .output { fill: #e6edf3; }
    .remark { fill: #58a6ff; }
    .command { fill: #7ee787; }
    .time { fill: #8b949e; }
  }
  g { animation: appear 0.2s both; }
  @keyframes appear { from { opacity: 0; } to { opacity: 1; } }
  @media (prefers-reduced-motion: reduce) { g { animation: none; } }
</style>
`

// svg draws the recording: each command at its time, with that time beside it. Waits are
// shortened in the animation.
func (t *Terminal) svg() string {
	var lines strings.Builder
	row, at, before := 0, 0.5, 0.0
	for _, s := range t.Shown {
		at += min(max(s.AtS-before, 0.8), longestWait)
		before = s.AtS
		if row > 0 {
			row++
		}
		fmt.Fprintf(&lines, `<g style="animation-delay: %.1fs">`+"\n", at)
		lines.WriteString(terminalText(terminalLeft+columns*glyphWidth+timeWidth, row, "time", fmt.Sprintf("%.1f s", s.AtS)))
		for _, l := range s.lines() {
			lines.WriteString(terminalText(terminalLeft, row, l.class, l.text))
			row++
		}
		lines.WriteString("</g>\n")
	}
	width, height := 2*terminalLeft+columns*glyphWidth+timeWidth, terminalTop+row*terminalLine
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0[1]f" height="%[2]d" viewBox="0 0 %.0[1]f %[2]d" role="img">`+"\n", width, height) +
		"<title>A bond loses a cable: a recorded run of make demo</title>\n" + terminalStyle +
		`<rect class="ground" x="0.5" y="0.5" width="99.9%" height="99.8%" rx="6"/>` + "\n" + lines.String() + "</svg>\n"
}

func terminalText(x float64, row int, class, words string) string {
	return fmt.Sprintf(`<text x="%.0f" y="%d" class="%s" xml:space="preserve">%s</text>`+"\n", x, terminalTop+row*terminalLine, class, html.EscapeString(words))
}

// styled is a line of the terminal.
type styled struct{ class, text string }

// lines returns what is seen, in lines that fit.
func (s Shown) lines() (all []styled) {
	add := func(class, text string) {
		for _, part := range wrap(text, columns) {
			all = append(all, styled{class, part})
		}
	}
	if s.Remark != "" {
		add("remark", "# "+s.Remark)
	}
	if s.Command != "" {
		add("command", "$ "+s.Command)
	}
	for line := range strings.Lines(s.Output) {
		add("output", strings.TrimRight(line, " \n"))
	}
	return all
}

// wrap breaks a line at spaces. What follows is indented.
func wrap(line string, width int) (parts []string) {
	const indent = "      "
	for len(line) > width {
		at := strings.LastIndex(line[:width], " ")
		if at <= len(indent) {
			at = width
		}
		parts = append(parts, strings.TrimRight(line[:at], " "))
		line = indent + strings.TrimLeft(line[at:], " ")
	}
	return append(parts, line)
}

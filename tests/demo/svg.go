package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// svg draws the table: a bar for each trial, as long as the time without an
// answer, on a logarithmic scale from 10 ms.
func (t Table) svg() string {
	const left, width, line, top = 380, 420, 18, 46
	x := func(ms float64) float64 { return left + width*math.Log10(max(ms, 10)/10)/math.Log10(2000) }
	var b strings.Builder
	height := top + line*len(t.Results) + 10
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", left+width+130, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="18" font-size="13">Time without an answer after a fault, kernel %s, emulated NICs</text>`+"\n", html.EscapeString(t.Kernel))
	for _, ms := range []float64{10, 100, 1000, 10000} {
		fmt.Fprintf(&b, `<line x1="%[1]g" x2="%[1]g" y1="%[2]d" y2="%[3]d" stroke="#ddd"/><text x="%[1]g" y="%[4]d" text-anchor="middle" fill="#666">%[5]g ms</text>`+"\n",
			x(ms), top-8, height-6, top-12, ms)
	}
	for i, r := range t.Results {
		y := top + line*i
		name := r.trial.String()
		colour, end, said := "#3b7dd8", x(r.Fault.GapMS), fmt.Sprintf("%.0f ms, %d lost", r.Fault.GapMS, r.Fault.Lost)
		if !r.Fault.Whole {
			colour, end, said = "#c0392b", left+width, fmt.Sprintf("no end, %d of %d lost", r.Fault.Lost, r.Fault.Sent)
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="11" fill="%s"/><text x="%.1f" y="%d" fill="#333">%s</text>`+"\n",
			left-8, y+10, html.EscapeString(name), left, y+1, max(end-left, 1), colour, end+5, y+10, said)
	}
	return b.String() + "</svg>\n"
}

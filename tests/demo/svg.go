package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The picture has a name for each row and two columns of bars: without keep and with it.
const (
	nameWidth, barWidth, saidWidth = 380, 220, 170
	columnWidth                    = barWidth + saidWidth
	lineHeight, topHeight          = 18, 64
)

// barX is where a time is in a column, on a logarithmic scale from 10 ms.
func barX(column int, ms float64) float64 {
	return float64(nameWidth+column*columnWidth) + barWidth*math.Log10(max(ms, 10)/10)/math.Log10(2000)
}

// svg draws the table: a bar for each trial, as long as the time without an answer.
func (t Table) svg() string {
	var b strings.Builder
	rows := t.rows()
	height := topHeight + lineHeight*len(rows) + 10
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", nameWidth+2*columnWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="18" font-size="13">Time without an answer after a fault, kernel %s, emulated NICs</text>`+"\n", html.EscapeString(t.Kernel))
	for column, title := range []string{"without keep", "with keep"} {
		fmt.Fprintf(&b, `<text x="%.0f" y="%d" font-weight="bold">%s</text>`+"\n", barX(column, 10), topHeight-30, title)
		for _, ms := range []float64{10, 100, 1000, 10000} {
			fmt.Fprintf(&b, `<line x1="%.1[1]f" x2="%.1[1]f" y1="%[2]d" y2="%[3]d" stroke="#ddd"/><text x="%.1[1]f" y="%[4]d" text-anchor="middle" fill="#666">%[5]g ms</text>`+"\n",
				barX(column, ms), topHeight-8, height-6, topHeight-12, ms)
		}
	}
	for i, r := range rows {
		y := topHeight + lineHeight*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", nameWidth-8, y+10, html.EscapeString(r.trial().String()))
		for column, one := range []*Result{r.alone, r.kept} {
			if one != nil {
				b.WriteString(one.Fault.bar(column, y))
			}
		}
	}
	return b.String() + "</svg>\n"
}

// bar draws the bar of one trial.
func (o Outage) bar(column, y int) string {
	colour, end, said := "#3b7dd8", barX(column, o.GapMS), fmt.Sprintf("%.0f ms, %d lost", o.GapMS, o.Lost)
	if !o.Whole {
		colour, end, said = "#c0392b", barX(column, 20000), fmt.Sprintf("no end, %d of %d lost", o.Lost, o.Sent)
	}
	begin := barX(column, 10)
	return fmt.Sprintf(`<rect x="%.0f" y="%d" width="%.1f" height="11" fill="%s"/><text x="%.1f" y="%d" fill="#333">%s</text>`+"\n",
		begin, y+1, max(end-begin, 1), colour, end+5, y+10, said)
}

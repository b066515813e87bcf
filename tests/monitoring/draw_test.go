package monitoring

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes in pixels: of a cell of Grafana's grid, and of what is around a plot in its panel.
const (
	cellWidth, cellHeight        = 46, 24
	gap                          = 4
	plotLeft, plotTop, plotBelow = 52, 28, 34
	rowHeight                    = 18
)

var colours = []string{"#3b7dd8", "#c0392b", "#27ae60", "#8e44ad", "#d68910", "#16a085"}

// noData is what a panel without anything shows.
const noData = "no data"

// box is the place of a panel.
type box struct{ x, y, w, h float64 }

// draw draws all panels of a dashboard as they are at the end of a recording.
func (r recording) draw(d dashboard) string {
	height := 0
	for _, p := range d.Panels {
		height = max(height, p.GridPos.Y+p.GridPos.H)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", 24*cellWidth, height*cellHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="#f4f5f5"/>` + "\n")
	for _, p := range d.Panels {
		at := box{float64(p.GridPos.X*cellWidth + gap), float64(p.GridPos.Y*cellHeight + gap), float64(p.GridPos.W*cellWidth - 2*gap), float64(p.GridPos.H*cellHeight - 2*gap)}
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="%g" height="%g" fill="white" stroke="#ddd"/>`+"\n", at.x, at.y, at.w, at.h)
		b.WriteString(text(at.x+8, at.y+16, `font-weight="bold"`, p.Title))
		lines := r.lines(p)
		switch p.Type {
		case "stat":
			b.WriteString(r.stat(at, lines))
		case "table":
			b.WriteString(r.table(at, lines))
		case "state-timeline":
			b.WriteString(r.states(at, lines))
		default:
			b.WriteString(r.plot(at, lines, p.FieldConfig.Defaults.Unit))
		}
	}
	return b.String() + "</svg>\n"
}

func text(x, y float64, style, words string) string {
	return fmt.Sprintf(`<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, style, html.EscapeString(words))
}

// stat draws the last value of a query, which has one.
func (r recording) stat(at box, lines []line) string {
	words := noData
	for _, l := range lines {
		if value, there := r.last(l); there {
			words = inUnit(value, "short")
		}
	}
	return text(at.x+at.w/2, at.y+at.h-24, `font-size="30" text-anchor="middle" fill="#3b7dd8"`, words)
}

// table draws a row for each series that there is in the last second.
func (r recording) table(at box, lines []line) string {
	columns := []string{"node", "namespace", "pod", "bond", "network", "mode", "value"}
	width, out, row := at.w/float64(len(columns)), "", 0
	for i, name := range columns {
		out += text(at.x+8+float64(i)*width, at.y+40, `fill="#666"`, name)
	}
	for _, l := range lines {
		value, there := r.last(l)
		if !there {
			continue
		}
		row++
		for i, name := range columns {
			words := l.labels[name]
			if name == "value" {
				words = inUnit(value, "short")
			}
			out += text(at.x+8+float64(i)*width, at.y+40+float64(row*rowHeight), "", words)
		}
	}
	return out
}

// x is where a second is in a panel.
func (r recording) x(at box, second int) float64 {
	return at.x + plotLeft + (at.w-plotLeft-12)*float64(second)/float64(r.seconds-1)
}

// axis draws the time below a plot.
func (r recording) axis(at box) (out string) {
	for second := 0; second < r.seconds; second += 20 {
		out += text(r.x(at, second), at.y+at.h-plotBelow+13, `text-anchor="middle" fill="#666" font-size="9"`, fmt.Sprint(second, " s"))
	}
	return out
}

// states draws a row for each series, which is green when it is 1 and red when it is 0.
func (r recording) states(at box, lines []line) string {
	out := r.axis(at)
	height := (at.h - plotTop - plotBelow) / float64(max(1, len(lines)))
	for i, l := range lines {
		y := at.y + plotTop + float64(i)*height
		for begin := 0; begin < r.seconds; {
			end, value, there := begin+1, l.points[begin], has(l, begin)
			for end < r.seconds && l.points[end] == value && has(l, end) == there {
				end++
			}
			if colour := map[bool]string{true: "#73bf69", false: "#f2495c"}[value > 0]; there {
				out += fmt.Sprintf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", r.x(at, begin), y+2, r.x(at, min(end, r.seconds-1))-r.x(at, begin), height-4, colour)
			}
			begin = end
		}
		out += text(r.x(at, 0)+6, y+height/2+4, "", l.name)
	}
	return out
}

func has(l line, second int) bool {
	_, there := l.points[second]
	return there
}

// plot draws the lines of series over time.
func (r recording) plot(at box, lines []line, unit string) string {
	most := 0.0
	for _, l := range lines {
		for _, value := range l.points {
			most = max(most, value)
		}
	}
	if len(lines) == 0 {
		return text(at.x+at.w/2, at.y+at.h/2, `text-anchor="middle" fill="#666"`, noData)
	}
	most = round(most/sizes[unit]) * sizes[unit]
	y := func(value float64) float64 {
		return at.y + at.h - plotBelow - (at.h-plotTop-plotBelow)*value/most
	}
	out := r.axis(at)
	for _, part := range []float64{0, 0.5, 1} {
		out += fmt.Sprintf(`<line x1="%.1[1]f" x2="%.1[2]f" y1="%.1[3]f" y2="%.1[3]f" stroke="#eee"/>`+"\n", r.x(at, 0), r.x(at, r.seconds-1), y(part*most))
		out += text(at.x+plotLeft-6, y(part*most)+4, `text-anchor="end" fill="#666" font-size="9"`, inUnit(part*most, unit))
	}
	named := at.x + plotLeft
	for i, l := range lines {
		colour := colours[i%len(colours)]
		out += fmt.Sprintf(`<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", r.path(at, l, y), colour)
		out += text(named, at.y+at.h-6, fmt.Sprintf(`fill="%s"`, colour), l.name)
		named += float64(7*len(l.name) + 14)
	}
	return out
}

// path goes through the points of a line, and has gaps where there are none.
func (r recording) path(at box, l line, y func(float64) float64) string {
	var out []string
	for second := range r.seconds {
		if !has(l, second) {
			continue
		}
		verb := "L"
		if !has(l, second-1) {
			verb = "M"
		}
		out = append(out, fmt.Sprintf("%s%.1f %.1f", verb, r.x(at, second), y(l.points[second])))
	}
	return strings.Join(out, " ")
}

// round returns the end of an axis: 1, 2 or 5 times a power of ten.
func round(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, by := range []float64{1, 2, 5} {
		if most <= by*power {
			return by * power
		}
	}
	return 10 * power
}

// sizes are those of what values are shown in.
var sizes = map[string]float64{"percentunit": 0.01, "bytes": 1 << 20, "s": 1, "short": 1}

// inUnit writes a value in a unit of Grafana.
func inUnit(value float64, unit string) string {
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", value/sizes[unit], map[string]string{"percentunit": "%", "bytes": "MiB", "s": "s"}[unit]))
}

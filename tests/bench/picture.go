package main

import (
	"fmt"
	"strings"
)

// series are the bars of each group, in order, with their colours.
var series = []struct{ name, colour string }{
	{"floor", "#b0b7c3"}, {"multibond", "#0a7d5a"}, {"multus thick", "#7a86b8"}, {"multus thin", "#c06a3a"},
}

// picture draws the medians of ADD by the number of a pod's networks.
func picture(peers []Peer) string {
	const width, height, left, bottom, top, bar, gap = 680, 300, 44, 40, 34, 24, 28
	most := 0.0
	for _, p := range peers {
		for _, s := range series {
			most = max(most, p.ADD[s.name].Median)
		}
	}
	y := func(ms float64) float64 { return height - bottom - ms/most*(height-bottom-top) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	x := left
	for _, s := range series {
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="10" height="10" fill="%s"/><text x="%d" y="19">%s</text>`+"\n", x, s.colour, x+14, legend(s.name))
		x += 150
	}
	x = left + gap/2
	for _, p := range peers {
		middle := x + len(series)*bar/2
		for _, s := range series {
			ms := p.ADD[s.name].Median
			fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="%d" height="%.1f" fill="%s"/><text x="%d" y="%.1f" font-size="9" text-anchor="middle">%.0f</text>`+"\n",
				x, y(ms), bar-2, height-bottom-y(ms), s.colour, x+bar/2-1, y(ms)-3, ms)
			x += bar
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%d</text>`+"\n", middle, height-bottom+15, p.Networks)
		x += gap
	}
	fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="black"/>`+"\n", left, height-bottom, width-10, height-bottom)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">networks of the pod, without its default network</text>`+"\n", width/2, height-8)
	fmt.Fprintf(&b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">ADD, ms (median)</text>`+"\n</svg>\n", height/2)
	return b.String()
}

func legend(name string) string {
	if name == "floor" {
		return "the delegates alone"
	}
	return name
}

// timelinePicture draws the steps of one ADD, one row each. Steps that execute
// plugins have a colour of their own.
func timelinePicture(bars []Bar) string {
	const width, left, right, row, top = 680, 170, 60, 18, 8
	total := 0.0
	for _, b := range bars {
		total += b.MS
	}
	height := top + row*len(bars) + 30
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	x, y := float64(left), top
	for _, b := range bars {
		colour := series[1].colour
		if b.ofPlugins() {
			colour = series[0].colour
		}
		length := b.MS / total * (width - left - right)
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%.1f</text>`+"\n",
			left-8, y+row-6, strings.TrimSpace(b.Network+" "+b.What), x, y+2, max(length, 1), row-4, colour, x+length+4, y+row-6, b.MS)
		x, y = x+length, y+row
	}
	fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="middle">ms of %.0f; grey: plugins are executed</text>`+"\n</svg>\n", (left+width)/2, height-10, total)
	return s.String()
}

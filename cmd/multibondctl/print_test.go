package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/multibond/multibond/kubeclient"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// TestColours: states have a colour if asked for, and columns are as wide as without.
func TestColours(t *testing.T) {
	rows := [][]string{{"POD", "STATE", "AGE"}, {"é", "down", "3h"}, {"web-0", "up", "1m"}}
	var plain, coloured bytes.Buffer
	(&page{out: &plain}).table(rows...)
	(&page{out: &coloured, colour: true}).table(rows...)
	assert.Equal(t, "POD     STATE   AGE\né       down    3h\nweb-0   up      1m\n", plain.String())
	assert.Equal(t, "POD     STATE   AGE\né       \x1b[31mdown\x1b[0m    3h\nweb-0   \x1b[32mup\x1b[0m      1m\n", coloured.String())
}

// TestNoProgress: a pipe gets no progress and no colours.
func TestNoProgress(t *testing.T) {
	var out, errs bytes.Buffer
	e := &env{IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &errs}}
	e.progress("looking")
	assert.NoError(t, e.print(nil, func(p *page) { p.line("%s", p.paint("down")) }))
	assert.Equal(t, "down\n", out.String())
	assert.Empty(t, errs.String())
}

// TestLongFinding: a hint that makes a finding too long for a screen is below it.
func TestLongFinding(t *testing.T) {
	var out bytes.Buffer
	long := finding{Severity: isError, Node: "n1", Text: "PF ens2f0 has no carrier, and demo/web bond0 has a link on it", Hint: "check cable, transceiver and switch port"}
	short := finding{Severity: isWarning, Node: "n1", Text: "short", Hint: "mend it"}
	(&page{out: &out}).findings([]finding{long, short}, 2)
	assert.Equal(t, "error   node n1: "+long.Text+"\n        (check cable, transceiver and switch port)\nwarning node n1: short (mend it)\n", out.String())
}

// TestListUnseen: a list from which something may be missing does not end well.
func TestListUnseen(t *testing.T) {
	api := kubefake.NewAPI(t)
	s := newState()
	s.put(t, api)
	s.agents[0].Annotations[kubeclient.NodeAnnotation] = "{"
	put(t, api, kubefake.Pods, s.agents[0].ObjectMeta, s.agents[0])
	code, stdout, stderr := toolOn(t, api, "list")
	assert.Equal(t, exitUnknown, code, stdout)
	assert.Contains(t, stdout, "Not seen: node n1: ")
	assert.Contains(t, stderr, "1 thing could not be found out")
}

// TestAgo: a clock that is ahead makes nothing older than it is, or younger than nothing.
func TestAgo(t *testing.T) {
	assert.Equal(t, "3m", ago(noon.Add(-3*time.Minute), noon))
	assert.Equal(t, "0s", ago(noon.Add(time.Minute), noon))
	assert.Equal(t, "-", ago(time.Time{}, noon))
}

// TestOneFailover: one of a thing is one.
func TestOneFailover(t *testing.T) {
	var out bytes.Buffer
	one := 1
	printBond(&page{out: &out}, describedBond{bondView: bondView{Failovers: &one}}, noon)
	assert.Contains(t, out.String(), "addresses -, 1 failover\n")
}

// TestTableFits: the columns of a wide table are nearer to each other, if it fits on a screen then.
func TestTableFits(t *testing.T) {
	for width, want := range map[int]int{44: 3, 93: 3, 94: 2, 95: 2, 96: 1, 97: 1, 98: 3} {
		var out bytes.Buffer
		(&page{out: &out}).table([]string{strings.Repeat("A", width-1), "B", "C"})
		assert.Contains(t, out.String(), "A"+strings.Repeat(" ", want)+"B", "%d characters in 3 columns", width+1)
	}
}

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// row is a row of build/report/conformance.json.
type row struct {
	Case    string   `json:"case"`
	Differs bool     `json:"differs"`
	Why     []string `json:"why,omitempty"`
	Ours    seen     `json:"ours"`
	Multus  seen     `json:"multus"`
}

type seen struct {
	Did    []string `json:"did"`
	Events []string `json:"events,omitempty"`
	Errors []string `json:"errors,omitempty"`
}

func (o observation) seen() seen {
	return seen{Did: strings.Split(strings.TrimSpace(o.text), "\n"), Events: o.events, Errors: o.errors}
}

// TestConformance runs each case on Multus and on Multibond.
func TestConformance(t *testing.T) {
	n := newNode(t)
	multus, multibond := n.contenders()
	var rows []row
	for _, c := range readCases(t) {
		t.Run(c.name, func(t *testing.T) {
			theirs, err := n.observeMultus(c, multus)
			require.NoError(t, err)
			ours, err := n.observe(c, multibond)
			require.NoError(t, err)
			rows = append(rows, row{c.name, ours.text != theirs.text, c.why, ours.seen(), theirs.seen()})
			if *recording {
				require.NoError(t, c.write(theirs.text, ours.text))
				return
			}
			c.check(t, ours, theirs)
		})
	}
	require.NoError(t, writeReport(rows))
	for _, r := range rows {
		if r.Differs {
			fmt.Printf("differs: %s (%s)\n", r.Case, strings.Join(r.Why, ", "))
		}
	}
}

// observeMultus is observe. Multus does not wait for its events: on a busy machine it may end
// before they are sent. The case is then run again, at most three times.
func (n *node) observeMultus(c *testCase, multus contender) (o observation, err error) {
	for range 3 {
		o, err = n.observe(c, multus)
		if err != nil || len(o.events) > 0 || !strings.Contains(c.want, "\nevents ") {
			break
		}
	}
	return o, err
}

// delegates are the names under which the recorder is installed.
var delegates = []string{
	"noop", "bridge", "macvlan", "ipvlan", "tuning", "sbr", "ptp", "host-device", "passthru", "bandwidth", "portmap", "cnv-bridge", "ovs",
	"calico", "ovn-k8s-cni-overlay", "istio-cni", "sriov", "ib-sriov", "static-main", "vdpa",
}

// check compares what was observed with the table.
func (c *testCase) check(t *testing.T, ours, theirs observation) {
	t.Helper()
	if diff := cmp.Diff(lines(c.want), lines(theirs.text)); diff != "" {
		t.Errorf("Multus does something else than the table says (-table +Multus):\n%s%s", diff, strings.Join(theirs.errors, "\n"))
	}
	want := c.want
	if c.multibond != "" {
		want = c.multibond
		assert.NotEqual(t, c.want, c.multibond, "the section multibond says the same as want")
		assert.NotEmpty(t, c.why, "a difference without a reason")
	}
	for _, key := range c.why {
		assert.Contains(t, slices.Collect(maps.Keys(reasonOf)), key, "why is no key of reasons")
	}
	if diff := cmp.Diff(lines(want), lines(ours.text)); diff != "" {
		t.Errorf("Multibond does something else than the table says (-table +Multibond):\n%s%s", diff, strings.Join(ours.errors, "\n"))
	}
}

func lines(text string) []string { return strings.Split(text, "\n") }

func writeReport(rows []row) error {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Join(built, "report")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "conformance.json"), append(text, '\n'), 0o644)
}

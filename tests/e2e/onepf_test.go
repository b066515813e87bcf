package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestOnePF: a PF of which each VF is in a bond fails. Each bond's failover is counted, and
// the agent does not have to learn anew how they are.
func TestOnePF(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	var names []string
	for i := range 7 {
		names = append(names, fmt.Sprint("p", i))
		s.apply(pod(names[i], "bond-net1@bond0", 1))
	}
	s.ready(names...)
	all := func(metric, value string) {
		t.Helper()
		for _, name := range names {
			s.wantMetric(fmt.Sprintf(`%s{bond="bond0",namespace=%q,pod=%q}`, metric, s.namespace, name), value)
		}
	}
	all("multibond_bond_links_up", "2")
	resyncs := func() string {
		return regexp.MustCompile(`(?m)^multibond_watch_resyncs_total .*$`).FindString(s.on("wget -qO- http://127.0.0.1:9476/metrics"))
	}
	before := resyncs()

	pf := strings.TrimSpace(s.on("ls /sys/bus/pci/devices/0000:01:00.0/net"))
	up := func() { s.on("ip link set " + pf + " up") }
	s.on("ip link set " + pf + " down")
	t.Cleanup(up)
	all("multibond_bond_links_up", "1")
	all("multibond_bond_failovers_total", "1")
	assert.Equal(t, before, resyncs())
	for _, name := range names {
		s.wantEvent(name, "BondFailedOver", "traffic moved to bond0-2")
		s.wantEvent(name, "BondDegraded", "its PF has no carrier")
	}
	s.wantNamed("PF down", "status", "PF "+pf+" is set down, and 7 bonds have links on it")
	up()
	all("multibond_bond_links_up", "2")
}

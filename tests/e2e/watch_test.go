package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// wantMetric waits until the agent's metric has a value.
func (s *scene) wantMetric(series, value string) {
	s.Helper()
	s.eventually(func() error {
		if page := s.on("wget -qO- http://127.0.0.1:9476/metrics"); !strings.Contains(page, series+" "+value+"\n") {
			return fmt.Errorf("%s is not %s: %s", series, value, grep(page, "multibond_bond_|multibond_pf_|multibond_watch"))
		}
		return nil
	})
}

// grep returns the lines that contain one of the words, which "|" separates.
func grep(text, words string) string {
	var out []string
	for line := range strings.Lines(text) {
		for word := range strings.SplitSeq(words, "|") {
			if strings.HasPrefix(line, word) {
				out = append(out, line)
			}
		}
	}
	return strings.Join(out, "")
}

// wantBond waits until the pod's status says how its bond is.
func (s *scene) wantBond(pod, network, condition string) {
	s.Helper()
	s.eventually(func() error {
		got := ""
		for _, e := range s.status(pod) {
			if links, is := e["multibond.io/links"].([]any); is {
				got += string(encode(e["multibond.io/bond"]))
				for _, l := range links {
					got += fmt.Sprint(" ", l.(map[string]any)["state"])
				}
			}
		}
		if got != network {
			return fmt.Errorf("network-status says %s, want %s", got, network)
		}
		got = s.kubectl("-n", s.namespace, "get", "pod", pod, "-o", `jsonpath={range .status.conditions[?(@.type=="multibond.io/BondHealthy")]}{.status} {.reason}{end}`)
		if got != condition {
			return fmt.Errorf("the condition is %q, want %q", got, condition)
		}
		return nil
	})
}

// TestWatch: the agent, which has no capability, sees a failover in a running pod and its
// end, and the pod's events, network-status and condition tell of it. After a restart it
// sees the bond again, and its next failover. The metrics are recorded meanwhile.
func TestWatch(t *testing.T) {
	s := newScene(t)
	stop := s.record()
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"), gated(pod("p", "bond-net1@bond0", 1)), pod("ends", "bond-net1@bond0", 1))
	s.ready("p", "ends")
	s.apply(pod("q", "bond-net1@bond0", 1))
	s.ready("q")
	s.wantBond("p", `{"active":"bond0-1","degraded":false,"up":true} up up`, "True BondsHealthy")
	of := fmt.Sprintf(`{bond="bond0",namespace=%q,pod="p"}`, s.namespace)
	s.wantMetric("multibond_watching", "1")
	s.wantMetric("multibond_bond_links_up"+of, "2")
	s.wantMetric("multibond_bond_failovers_total"+of, "0")

	pf := strings.TrimSpace(s.on("ls /sys/bus/pci/devices/0000:01:00.0/net"))
	up := func() { s.on("ip link set " + pf + " up") }
	s.on("ip link set " + pf + " down")
	t.Cleanup(up)
	s.wantMetric("multibond_bond_links_up"+of, "1")
	s.wantMetric("multibond_bond_failovers_total"+of, "1")
	s.wantMetric(fmt.Sprintf(`multibond_pf_up{pf=%q}`, pf), "0")
	s.wantEvent("p", "BondFailedOver", "traffic moved to bond0-2")
	s.wantEvent("p", "BondDegraded", "1 of 2 links work: bond0-1", "its PF has no carrier")
	s.wantBond("p", `{"active":"bond0-2","degraded":true,"up":true} down up`, "True BondDegraded")
	up()
	s.wantMetric("multibond_bond_links_up"+of, "2")
	s.wantEvent("p", "BondRestored", "all 2 links work again")
	s.wantBond("p", `{"active":"bond0-1","degraded":false,"up":true} up up`, "True BondsHealthy")

	s.rollout("restart")
	s.wantMetric("multibond_watching", "1")
	s.wantMetric("multibond_bond_links_up"+of, "2")
	assert.Equal(t, "bond0-1 bond0-2\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves"))
	s.on("ip link set " + pf + " down")
	s.wantMetric("multibond_bond_links_up"+of, "1")
	s.wantBond("p", `{"active":"bond0-2","degraded":true,"up":true} down up`, "True BondDegraded")
	up()
	// A PF that has just come up does not hear its VFs, and forgets the MACs of those that are down.
	for _, pod := range []string{"p", "q", "ends"} {
		s.wantMetric(fmt.Sprintf(`multibond_bond_links_up{bond="bond0",namespace=%q,pod=%q}`, s.namespace, pod), "2")
	}
	s.remove("ends")
	stop()

	s.remove("p", "q")
	s.eventually(func() error {
		if left := grep(s.on("wget -qO- http://127.0.0.1:9476/metrics"), "multibond_bond_up{|multibond_bond_info{"); strings.Contains(left, s.namespace) {
			return fmt.Errorf("the bond of a pod that is gone: %s", left)
		}
		return nil
	})
}

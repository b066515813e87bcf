package e2e

import (
	"fmt"
	"strings"
)

// wantFaults makes six faults in the cluster, and has doctor name all of them at once. The pod p
// has a bond.
func (s *scene) wantFaults() {
	s.Helper()
	network := func(name, subnet, keys string) string {
		return nad(name, fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %[1]q, "type": "multibond", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
			"ipam": {"type": "host-local", "subnet": "%[2]s.0/24", "gateway": "%[2]s.1"}, %[3]s}`, name, subnet, keys))
	}
	s.apply(nad("plugin", `{"cniVersion": "1.0.0", "name": "plugin", "type": "nothere"}`),
		network("lacp", "10.56.218", `"mode": "802.3ad", "allowLACP": true`), network("silent", "10.56.219", `"arpInterval": 100, "arpIpTarget": "gateway"`))
	s.apply(pod("faulty", "lacp@lacp0,silent@silent0", 2))
	s.ready("faulty")
	vf := s.nodeFaults()
	s.wantAllNamed("doctor", map[string]string{
		"missing plugin": "the CNI plugin nothere is not in the node's directory of plugins; needed by " + s.namespace + "/plugin",
		"MTU":            "bond0: its MTU is 1500, but PF enp2s0 has 1400",
		"LACP over VFs":  "has no LACP partner",
		"silent gateway": "10.56.219.1 did not answer",
		"stale Record":   "a Record of " + s.namespace + "/gone bond0 is stale: its pod is gone",
		"orphaned VF":    "VF " + vf + " of enp2s0 is orphaned",
	})
}

// nodeFaults makes faults of the node until the test ends: a PF with a small MTU, a VF in a
// namespace that nobody has, and a Record of a pod that is not there, with devices that are not
// there either. It returns the VF.
func (s *scene) nodeFaults() (vf string) {
	s.Helper()
	const stale = "/var/lib/cni/multibond/e2e-stale:bond0.json"
	found := strings.Fields(s.on(`cd /sys/bus/pci/drivers/igbvf && ls -d 0000:02:*/net/* | tail -1 | tr / ' '`))
	vf, name := found[0], found[2]
	s.Cleanup(func() {
		s.on("rm -f " + stale + "; ip link set enp2s0 mtu 1500; ip -n e2e-orphan link set " + name + " netns 1; ip netns del e2e-orphan")
	})
	s.on("ip link set enp2s0 mtu 1400 && ip netns add e2e-orphan && ip link set " + name + " netns e2e-orphan")
	s.on(`cd /var/lib/cni/multibond && file=$(grep -l '"name": *"p"' *:bond0.json) &&
sed -e "s/${file%:bond0.json}/e2e-stale/g" -e 's/"name": *"p"/"name": "gone"/' -e 's/0000:\(0[12]\):[0-9a-f][0-9a-f]\.[0-7]/0000:\1:1f.7/g' $file >` + stale)
	return vf
}

// wantAllNamed waits until a command names all faults in one output.
func (s *scene) wantAllNamed(by string, faults map[string]string) {
	s.Helper()
	s.eventually(func() error {
		code, out := s.tool(by)
		var named []namedFault
		for fault, words := range faults {
			before, after, is := strings.Cut(out, words)
			if !is || code != 1 {
				return fmt.Errorf("%s ends with %d and does not name %q:\n%s", by, code, words, out)
			}
			start, end := before[strings.LastIndex(before, "\n")+1:], after[:strings.Index(after, "\n")]
			named = append(named, namedFault{fault, by, 1 + strings.Count(before, "\n"), start + words + end, len(faults) - 1})
		}
		doctored = append(doctored, named...)
		s.Logf("$ kubectl multibond %s\n%s", by, out)
		return nil
	})
}

package e2e

import (
	"fmt"
	"regexp"
	"strings"
)

// wantFaults makes eight faults in the cluster, and has doctor name all of them at once; and then
// one more, which no bond outlives. The pod p has a bond.
func (s *scene) wantFaults() {
	s.Helper()
	network := func(name, subnet, keys string) string {
		return nad(name, fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %[1]q, "type": "multibond", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
			"ipam": {"type": "host-local", "subnet": "%[2]s.0/24", "gateway": "%[2]s.1"}, %[3]s}`, name, subnet, keys))
	}
	s.apply(nad("plugin", `{"cniVersion": "1.0.0", "name": "plugin", "type": "nothere"}`),
		network("lacp", "10.56.218", `"mode": "802.3ad", "allowLACP": true`), network("silent", "10.56.219", `"arpInterval": 100, "arpIpTarget": "gateway"`),
		network("vlan", "10.56.220", `"arpInterval": 100, "arpIpTarget": "10.56.220.1"`))
	s.apply(pod("faulty", "lacp@lacp0,silent@silent0,vlan@vlan0", 3))
	s.ready("faulty")
	vf := s.nodeFaults()
	s.wantAllNamed("doctor", map[string]string{
		"missing plugin": "the CNI plugin nothere is not in the node's directory of plugins; needed by " + s.namespace + "/plugin",
		"MTU":            "bond0: its MTU is 1500, but PF enp2s0 has 1400",
		"LACP over VFs":  "has no LACP partner",
		"silent gateway": "10.56.219.1 did not answer",
		"stale Record":   "a Record of " + s.namespace + "/gone bond0 is stale: its pod is gone",
		"orphaned VF":    "VF " + vf + " of enp2s0 is orphaned",
		"VLAN":           "of enp2s0) has failed, although its PF has a carrier: check switch port, VLAN",

		"a resource over two PFs": "resource example.com/both has VFs of 2 PFs: enp1s0, enp2s0",
	})
	s.remove("faulty", "p")
	s.hideBonding()
	s.apply(pod("new", "bond-net1@bond0", 1))
	s.wantNamed("no bonding", "doctor", s.namespace+"/new: its networks could not be attached: network "+s.namespace+"/bond-net1: this kernel has no bonding")
}

// hideBonding removes the bonding module until the test ends.
func (s *scene) hideBonding() {
	s.Helper()
	const module = "$(find /lib/modules/$(uname -r) -name 'bonding.ko*')"
	s.Cleanup(func() { s.on("cd /lib/modules && mv hidden/bonding.ko* $(cat hidden/from) && rm -r hidden") })
	s.on("rmmod bonding && cd /lib/modules && file=" + module + " && mkdir hidden && dirname $file >hidden/from && mv $file hidden/")
}

// nodeFaults makes faults of the node until the test ends: a PF with a small MTU, a VF in a
// namespace that nobody has, a Record of a pod that is not there, with devices that are not
// there either, a resource with the VFs of two PFs, and for a link of vlan0 a VLAN that nobody
// else has. It returns the VF that nobody has.
func (s *scene) nodeFaults() (vf string) {
	s.Helper()
	const stale = "/var/lib/cni/multibond/e2e-stale:bond0.json"
	found := strings.Fields(s.on(`cd /sys/bus/pci/drivers/igbvf && ls -d 0000:02:*/net/* | tail -1 | tr / ' '`))
	vf, name := found[0], found[2]
	s.Cleanup(func() {
		s.on("rm -f " + stale + "; ip link set enp2s0 mtu 1500; ip -n e2e-orphan link set " + name + " netns 1; ip netns del e2e-orphan; " +
			"ip address del 10.56.220.1/24 dev enp1s0; kill $(cat /tmp/both.pid)")
	})
	s.on(`echo '{"resourceList": [{"resourceName": "both", "selectors": {"pfNames": ["enp1s0", "enp2s0"]}}]}' >/tmp/both.json
sriovdp --config-file /tmp/both.json --resource-prefix example.com >/tmp/both.log 2>&1 & echo $! >/tmp/both.pid`)
	// The host has the target of vlan0.
	s.on("ip address add 10.56.220.1/24 dev enp1s0")
	link := regexp.MustCompile(`0000:02:[0-9a-f]{2}\.[0-7]`).FindString(s.on("cat /var/lib/cni/multibond/*:vlan0.json"))
	s.on(`for vf in /sys/bus/pci/devices/0000:02:00.0/virtfn*; do
	case $(readlink $vf) in */` + link + `) ip link set enp2s0 vf ${vf##*virtfn} vlan 77; esac; done`)
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

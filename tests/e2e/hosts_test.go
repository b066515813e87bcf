package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestRangesOfHosts: a pod has addresses of its host's ranges, by a number that the Node
// owns: a Lease goes with its Node.
func TestRangesOfHosts(t *testing.T) {
	s := newScene(t)
	s.apply(nad("rails", `{"cniVersion": "1.0.0", "type": "multibond", "attach": "each", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
		"ipam": {"type": "multibond", "subnet": ["192.168.0.0/16", "fd00:19::/48"], "interfaceBlock": 2, "hostBlock": 6, "exclude": ["192.168.0.0/28"]}}`))
	s.apply(pod("p", "rails", 1))
	s.ready("p")
	var got []string
	for _, e := range s.status("p")[1:] {
		got = append(got, fmt.Sprint(e["interface"], " ", e["ips"]))
	}
	assert.Equal(t, []string{"net1-1 [192.168.0.16 fd00:19::1]", "net1-2 [192.168.64.1 fd00:19:0:4000::1]"}, got)
	assert.Contains(t, s.exec("p", "ip", "-4", "route"), "192.168.64.0/18 dev net1-2 ")

	const lease = "lease/multibond-host-0"
	node := s.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name} {.items[0].metadata.uid}")
	held := func() string {
		return s.kubectl("-n", "multibond-system", "get", lease, "-o", "jsonpath={.spec.holderIdentity} {.metadata.ownerReferences[0].uid}")
	}
	assert.Equal(t, node, held())
	s.kubectl("-n", "multibond-system", "delete", lease)
	s.kubectl("-n", "multibond-system", "wait", "--for=create", lease, "--timeout=5m")
	assert.Equal(t, node, held(), "it takes its number again")

	s.pipe(`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gone"}}`, "create", "-f", "-")
	uid := s.kubectl("get", "node", "gone", "-o", "jsonpath={.metadata.uid}")
	s.pipe(leaseOf("multibond-host-7", "gone", "gone", uid), "-n", "multibond-system", "create", "-f", "-")
	s.kubectl("delete", "node", "gone")
	s.kubectl("-n", "multibond-system", "wait", "--for=delete", "lease/multibond-host-7", "--timeout=5m")
}

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

const (
	railsConfig = `{"cniVersion": "1.0.0", "name": "rails", "type": "multibond", "attach": "each",
		"links": [{"resourceName": "intel.com/sriov_pf1", "count": 2}, {"resourceName": "intel.com/sriov_pf2", "count": 2}],
		"ipam": {"type": "host-local", "subnet": "10.57.0.0/24", "gateway": "10.57.0.1", "routes": [{"dst": "10.80.0.0/16"}]}}`
	pooledConfig = `{"cniVersion": "1.0.0", "name": "pooled", "type": "multibond", "attach": "each", "allow": ["names"],
		"links": [{"pool": {"driver": "igb"}, "config": {"type": "macvlan"}}, {"pool": {"driver": "igb"}, "config": {"type": "ipvlan"}}],
		"ipam": {"type": "host-local", "subnet": "10.58.0.0/24"}}`
)

// TestEach: a pod has an interface of each of four VFs, another one has them on two NICs of
// the host. network-status has an entry for each, and nothing is left when they end.
func TestEach(t *testing.T) {
	s := newScene(t)
	s.apply(nad("rails", railsConfig), nad("pooled", pooledConfig))
	s.apply(pod("rails", "rails", 2), pod("pooled", "pooled@rail", 0))
	s.ready("rails", "pooled")
	shown := map[string][]string{}
	for name, prefix := range map[string]string{"rails": "net1", "pooled": "rail"} {
		entries := s.status(name)[1:]
		require.Len(t, entries, map[string]int{"rails": 4, "pooled": 2}[name], "network-status")
		for i, e := range entries {
			ifName := fmt.Sprintf("%s-%d", prefix, i+1)
			assert.Equal(t, s.namespace+"/"+name+" "+ifName, fmt.Sprint(e["name"], " ", e["interface"]))
			ip := e["ips"].([]any)[0].(string)
			addresses := s.exec(name, "ip", "-o", "addr", "show", ifName)
			assert.Contains(t, addresses, " "+ip+"/24 ")
			assert.Contains(t, s.exec(name, "ip", "rule"), fmt.Sprintf("from %s lookup %d", ip, 1000+i))
			shown[name] = append(shown[name], ifName+" "+ip)
		}
	}
	const address = "/sys/class/net/%s/address"
	assert.Equal(t, s.on("cat "+fmt.Sprintf(address, "enp2s0")), s.exec("pooled", "cat", fmt.Sprintf(address, "rail-2")), "an ipvlan has the MAC of its NIC")
	s.remove("rails", "pooled")
	s.wantBefore()
	require.NoError(t, lab.AddToReport("multinic.json", "networkStatus", shown))
}

package delegate

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// railsEach has an interface on each of three NICs, of which its pods can choose.
const railsEach = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "attach": "each", "delegate": {"type": "macvlan"},
	"links": [{"pool": {"names": ["rail*"]}, "count": 3}], "allow": ["count", "names", "near"],
	"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`

// withKeys returns a configuration with more keys.
func withKeys(t *testing.T, config string, keys values) string {
	t.Helper()
	var all values
	require.NoError(t, json.Unmarshal([]byte(config), &all))
	for key, value := range keys {
		all[key] = value
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	return string(text)
}

// chosenBy is a network of which a pod has chosen by cni-args.
func chosenBy(t *testing.T, choices values) string {
	return withKeys(t, railsEach, values{"args": values{"cni": choices}})
}

// refusedByKernel has the kernel refuse one verb.
func refusedByKernel(verb string) func(string) error {
	return func(what string) error {
		if strings.HasPrefix(what, verb) {
			return unix.EPERM
		}
		return nil
	}
}

// TestMultiNIC: each case is a defect of multi-nic-cni (snapshot dd03940). Those of its part
// that knows Kubernetes are in kubeclient.
func TestMultiNIC(t *testing.T) {
	fails := func(t *testing.T, m *machine, config string) error {
		t.Helper()
		before := m.state()
		_, err := m.Add(t.Context(), request(t, config))
		require.Error(t, err)
		m.wantState(before)
		return err
	}
	t.Run("an ADD that fails leaves the interfaces before", func(t *testing.T) {
		for _, what := range []string{"macvlan ADD bond0-3", "host-local ADD bond0-3"} {
			m := newRails(t)
			m.plugins.refuse[what] = "no such thing"
			require.ErrorContains(t, fails(t, m, railsEach), "no such thing")
			assert.Equal(t, 3, m.plugins.count("macvlan", "DEL"), what)
		}
	})
	t.Run("DEL with an empty netns leaks", func(t *testing.T) {
		n := newNode(t, agentapi.Attachment{Name: "demo/rails", IfName: "bond0", Bond: true, Config: json.RawMessage(eachOfFour),
			Devices: []string{vfA, vfA2, vfB, vfB2}})
		before := n.state()
		for _, gone := range []bool{false, true} {
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			if gone {
				n.RemoveNamespace(pod1)
			}
			r := n.request()
			r.Netns = ""
			require.NoError(t, n.DelPod(t.Context(), n.config, r))
			n.AddNamespace(pod1)
			n.wantState(before)
		}
	})
	t.Run("DEL selects anew", func(t *testing.T) {
		m := newRails(t)
		before := m.state()
		m.mustAdd(request(t, chosenBy(t, values{"nics": 2})))
		require.Equal(t, []string{"rail0", "rail2"}, m.nicsOf(c1))
		m.change("", "rail0", bond.Change{Up: new(false)})
		m.mustDel(c1)
		assert.Equal(t, []string{"rail2", "rail0"}, m.told("DEL", "master"))
		m.change("", "rail0", bond.Change{Up: new(true)})
		m.wantState(before)
	})
	t.Run("DEL releases what another pod has by then", func(t *testing.T) {
		m := newRails(t)
		m.mustAdd(request(t, railsEach))
		m.mustAdd(other(request(t, railsEach)))
		others := m.linesOf(pod2)
		for range 2 {
			m.mustDel(c1)
		}
		assert.Equal(t, others, m.linesOf(pod2))
		assert.Len(t, m.plugins.pool, 3)
		require.NoError(t, m.Check(t.Context(), c2))
	})
	t.Run("errors are swallowed", func(t *testing.T) {
		m := newRails(t)
		before := m.state()
		m.mustAdd(request(t, railsEach))
		m.plugins.refuse["macvlan DEL bond0-2"] = "the NIC is on fire"
		err := m.Del(t.Context(), c1)
		require.ErrorContains(t, err, "the NIC is on fire")
		assert.EqualValues(t, cnierror.Restore, cnierror.Code(err))
		assert.Equal(t, "bond0-2", m.link(pod1, "bond0-2").Name)
		clear(m.plugins.refuse)
		m.mustDel(c1)
		m.wantState(before)
	})
	t.Run("two NICs in one subnet overwrite each other", func(t *testing.T) {
		m := newRails(t)
		for name, ip := range map[string]string{"rail0": "10.1.0.1/24", "rail1": "10.1.0.2/24", "rail2": "10.1.0.3/24"} {
			m.configure("", name, bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix(ip)}})
		}
		m.mustAdd(request(t, strings.Replace(railsEach, `"names": ["rail*"]`, `"networks": ["10.1.0.0/24"]`, 1)))
		assert.ElementsMatch(t, []string{"rail0", "rail1", "rail2"}, m.nicsOf(c1))
	})
	t.Run("a NIC without an IPv4 address does not exist", func(t *testing.T) {
		m := newRails(t)
		m.configure("", "rail1", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("fd00:1::1/64")}})
		m.mustAdd(request(t, railsEach))
		assert.ElementsMatch(t, []string{"rail0", "rail1", "rail2"}, m.nicsOf(c1))
	})
	t.Run("unknown masters are dropped", func(t *testing.T) {
		m := newRails(t)
		err := fails(t, m, chosenBy(t, values{"masters": []string{"rail0", "rail7"}, "nics": 2}))
		require.ErrorContains(t, err, "links[0].pool: wants 2 NICs and gets 1: ")
		assert.ErrorContains(t, err, "rail1 (0000:5f:00.1) has another name than the pod has chosen")
	})
	t.Run("more nics than there are: all, and no error", func(t *testing.T) {
		m := newRails(t)
		err := fails(t, m, chosenBy(t, values{"nics": 5}))
		require.ErrorContains(t, err, "links[0].pool: wants 5 NICs and gets 3: ")
		assert.ErrorContains(t, err, "enp1s0 (0000:3b:00.0) has another name")
	})
	t.Run("every unknown word is the strategy none", func(t *testing.T) {
		_, err := netconf.ParseNetwork([]byte(chosenBy(t, values{"near": "topology"})), "bond0")
		require.ErrorContains(t, err, `near: is "topology", want devices, cpus or none`)
	})
	t.Run("a class that cannot be read drops nothing", func(t *testing.T) {
		_, err := netconf.ParseNetwork([]byte(strings.Replace(railsEach, `"names": ["rail*"]`, `"vendor": "mellanox"`, 1)), "bond0")
		require.ErrorContains(t, err, `links[0].pool.vendor: is "mellanox", want the four hexadecimal digits of a PCI ID`)
		m := newRails(t)
		err = fails(t, m, strings.Replace(railsEach, `"names": ["rail*"]`, `"vendor": "15b3"`, 1))
		require.ErrorContains(t, err, "links[0].pool: wants 3 NICs and gets 0: ")
	})
	t.Run("the order of nearness is that of a map", func(t *testing.T) {
		for range 20 {
			k := bondfake.New()
			for _, nic := range []string{"5f", "60", "61", "62"} {
				k.AddPF("0000:"+nic+":00.0", "rail"+nic)
			}
			k.SetNUMA("0000:62:00.0", 1)
			k.SetNUMA("0000:61:00.0", 1)
			m := newMachineOn(t, k)
			r := request(t, chosenBy(t, values{"near": "devices"}))
			r.Near = &agentapi.Near{NUMA: map[string]int{"0": 1, "1": 2, "2": 1}}
			m.mustAdd(r)
			require.Equal(t, []string{"rail61", "rail62", "rail5f"}, m.nicsOf(c1))
		}
	})
	t.Run("there is no strategy for VFs", func(t *testing.T) {
		m := newMachine(t)
		m.SetNUMA(pfB, 1)
		m.SetNUMA(vfB, 1)
		r := request(t, withKeys(t, eachOfFour, values{"near": "devices"}))
		r.Near = &agentapi.Near{NUMA: map[string]int{"1": 1}}
		m.mustAdd(r)
		assert.Equal(t, vfB, m.link(pod1, "bond0-1").Device)
	})
	t.Run("an error of a route is only logged", func(t *testing.T) {
		m := newRails(t)
		m.Fail = refusedByKernel("AddRouting")
		require.ErrorContains(t, fails(t, m, railsEach), "operation not permitted")
	})
	t.Run("a subnet that has nothing to do with it breaks ADD", func(t *testing.T) {
		m := newRails(t)
		m.configure("", "enp1s0", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.56.217.1/16")}})
		m.configure("", "rail0", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("172.30.0.1/30"), netip.MustParsePrefix("10.1.0.1/24")}})
		m.configure("", "rail2", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}})
		m.mustAdd(request(t, strings.Replace(chosenBy(t, values{"nics": 2}), `"names":["rail*"]`, `"networks":["10.1.0.0/24"]`, 1)))
		assert.Equal(t, []string{"rail0", "rail2"}, m.nicsOf(c1))
	})
	t.Run("a pod that is there again at once gets nothing", func(t *testing.T) {
		m := newRails(t)
		before := m.state()
		m.mustAdd(request(t, railsEach))
		m.mustAdd(other(request(t, railsEach)))
		assert.Equal(t, m.nicsOf(c1), m.nicsOf(c2))
		m.mustDel(c1)
		require.NoError(t, m.Check(t.Context(), c2))
		m.mustDel(c2)
		m.wantState(before)
	})
	t.Run("host-device loses the names of NICs if it fails", func(t *testing.T) {
		m := newRails(t)
		m.plugins.refuse["host-device ADD bond0-2"] = "no"
		fails(t, m, `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "attach": "each", "links": [{"pool": {"names": ["rail*"]}, "count": 2, "config": {"type": "host-device"}}]}`)
		assert.Equal(t, "0000:5f:00.0", m.link("", "rail0").Device)
	})
	t.Run("a plugin that is not on the node is missed half-way", func(t *testing.T) {
		m := newRails(t)
		m.plugins.missing["host-local"] = true
		require.ErrorContains(t, fails(t, m, railsEach), "the CNI plugin host-local is not in /opt/cni/bin")
		assert.Empty(t, m.plugins.calls)
	})
}

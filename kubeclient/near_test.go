package kubeclient

import (
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestNear: the agent says where the pod's devices or CPUs are, without the devices of its
// networks, if a network asks for it. For others it does not ask the kubelet.
func TestNear(t *testing.T) {
	sys := fstest.MapFS{
		"bus/pci/devices/0000:17:00.0":                           {Data: []byte("../../../devices/pci0000:16/0000:16:01.0/0000:17:00.0"), Mode: fs.ModeSymlink},
		"devices/pci0000:16/0000:16:01.0/0000:17:00.0/numa_node": {Data: []byte("1\n")},
		"devices/system/node/node0/cpulist":                      {Data: []byte("0-3,8\n")},
		"devices/system/node/node1/cpulist":                      {Data: []byte("4-7\n")},
	}
	const links = `"links":[{"resourceName":"intel.com/a"},{"resourceName":"intel.com/a"}]`
	nads := nads(map[string]string{
		"demo/devices": `{"type":"multibond","near":"devices",` + links + `}`,
		"demo/cpus":    `{"type":"multibond","near":"cpus","links":[{"pool":{},"count":2,"config":{"type":"macvlan"}}]}`,
		"demo/list":    `{"plugins":[{"type":"multibond","near":"devices",` + links + `},{"type":"tuning"}]}`,
		"demo/none":    `{"type":"multibond","near":"none","links":[{"pool":{},"count":2,"config":{"type":"macvlan"}}]}`,
	})
	with := func(changes ...func(*Container)) Container {
		c := Container{Name: "c", Resources: map[string][]string{"intel.com/a": {"0000:3b:02.1", "0000:3b:02.2"}}, NUMA: map[string][]string{"0000:3b:02.1": {"0"}}}
		for _, change := range changes {
			change(&c)
		}
		return c
	}
	gpus := func(c *Container) {
		c.Resources["nvidia.com/gpu"] = []string{"GPU-1", "GPU-2", "0000:17:00.0", "GPU-1"}
		c.NUMA["GPU-1"], c.NUMA["GPU-2"] = []string{"1"}, []string{"0"}
	}
	for _, test := range []struct {
		name, network string
		container     Container
		want          *agentapi.Near
	}{
		{"devices", "devices", with(gpus), &agentapi.Near{NUMA: map[string]int{"0": 1, "1": 2}, Roots: map[string]int{"pci0000:16": 1}}},
		{"a list", "list", with(gpus), &agentapi.Near{NUMA: map[string]int{"0": 1, "1": 2}, Roots: map[string]int{"pci0000:16": 1}}},
		{"no devices but those of networks", "devices", with(), &agentapi.Near{NUMA: map[string]int{}, Roots: map[string]int{}}},
		{"devices of which nothing is known", "devices", with(func(c *Container) { c.Resources["x.com/y"] = []string{"y1"} }),
			&agentapi.Near{NUMA: map[string]int{}, Roots: map[string]int{}, Unknown: "neither the kubelet nor sysfs has a NUMA node of the pod's devices (y1)"}},
		{"CPUs", "cpus", with(func(c *Container) { c.CPUs = []int64{3, 4, 5, 8, 6} }), &agentapi.Near{NUMA: map[string]int{"0": 2, "1": 3}}},
		{"no CPUs of its own", "cpus", with(gpus), &agentapi.Near{NUMA: map[string]int{},
			Unknown: "the pod has no CPUs of its own, as a Guaranteed pod has that requests whole CPUs under the kubelet's static CPU manager policy"}},
		{"CPUs that sysfs does not have", "cpus", with(func(c *Container) { c.CPUs = []int64{99} }), &agentapi.Near{NUMA: map[string]int{}, Unknown: "the node does not report the NUMA nodes of its CPUs"}},
		{"nothing", "none", with(gpus), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			node := Node{Sys: sys, PF: letterPF, InfoFile: func(Element) string { return "" }, Containers: func() ([]Container, error) {
				asked++
				return []Container{test.container}, nil
			}}
			got, err := Attachments(named("demo", "p"), parse(t, test.network+"@bond0"), Resolver{NAD: nads}, node)
			require.NoError(t, err)
			assert.Equal(t, test.want, got[0].Near)

			beside, err := Beside(named("demo", "p"), podNetworks{elements: parse(t, test.network+"@bond0")}, "bond0", Resolver{NAD: nads}, node)
			require.NoError(t, err)
			assert.Equal(t, test.want, beside.Near, "beside Multus")
			assert.Equal(t, test.want != nil, asked > 0)
		})
	}
	assert.Equal(t, map[int64]string{0: "0", 1: "0", 2: "0", 3: "0", 8: "0", 4: "1", 5: "1", 6: "1", 7: "1"}, maps.Clone(cpuNodes(sys)))
}

// TestCNIArgs: what a pod chooses by cni-args reaches the network, and the agent knows what
// the links should be near. The network decides what it allows.
func TestCNIArgs(t *testing.T) {
	nads := nads(map[string]string{
		"demo/rails": `{"type":"multibond","allow":["count","names","near"],"links":[{"pool":{},"count":2,"config":{"type":"macvlan"}}]}`,
		"demo/fixed": `{"type":"multibond","links":[{"pool":{},"count":2,"config":{"type":"macvlan"}}]}`,
	})
	node := Node{Sys: fstest.MapFS{}, PF: letterPF, Containers: gives(Container{CPUs: []int64{1}})}
	attach := func(network string) agentapi.Attachment {
		elements := parse(t, `[{"name": "`+network+`", "interface": "bond0", "cni-args": {"nics": 3, "masters": ["eth1"], "near": "cpus"}}]`)
		got, err := Attachments(named("demo", "p"), elements, Resolver{NAD: nads}, node)
		require.NoError(t, err)
		return agentapi.Attachment{IfName: "bond0", Config: got[0].Config, Bond: true, Near: got[0].Near}
	}
	rails := attach("rails")
	n, err := netconf.ParseAttachment(rails, nil)
	require.NoError(t, err)
	assert.Len(t, n.Links, 3)
	assert.Equal(t, []string{"eth1"}, n.Links[0].Pool.Chosen)
	assert.Equal(t, "cpus", n.Near)
	assert.Equal(t, "the node does not report the NUMA nodes of its CPUs", rails.Near.Unknown)
	_, err = netconf.ParseAttachment(attach("fixed"), nil)
	require.ErrorContains(t, err, `args.cni.nics: is chosen by the pod, but the network does not allow it`)
}

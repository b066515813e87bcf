package plan

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/netconf"
)

// The node of all tests: two PFs with two VFs each.
const (
	pfA, vfA, vfA2 = "0000:3b:00.0", "0000:3b:02.0", "0000:3b:02.1"
	pfB, vfB, vfB2 = "0000:5e:00.0", "0000:5e:02.0", "0000:5e:02.1"
)

// standard is a bond of two VFs, with a VLAN and addresses.
const standard = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}],
	"delegate": {"type": "sriov", "vlan": 100},
	"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`

// request is what a runtime asks for: container c1, bond bond0.
func request(t *testing.T, config string) Request {
	t.Helper()
	n, err := netconf.ParseNetwork([]byte(config), "bond0")
	require.NoError(t, err)
	return Request{ContainerID: "c1", IfName: "bond0", Netns: "/run/netns/p1", Network: n}
}

// c1 is the key of [request].
var c1 = Key{"c1", "bond0"}

// compileTexts is Compile with the texts of the warnings, without their codes.
func compileTexts(r Request, f Facts) (p Plan, texts []string, err error) {
	p, warnings, err := Compile(r, f)
	for _, w := range warnings {
		texts = append(texts, "network "+r.Network.Name+": "+w.Error())
	}
	return p, texts, err
}

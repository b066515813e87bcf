package delegate

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

// outside are names that nobody gives in good faith.
var outside = []string{
	"..", "../../etc/passwd", "/etc/passwd", "a/../b", "./a", "a\nb", "a\x00b", " ", "a b",
	strings.Repeat("/", 5000) + "a",
}

// quoted is a name in JSON.
func quoted(name string) string { return string(Encode(name)) }

// TestNamesFromOutside: no name of a network, a plugin or an interface that
// would lead elsewhere is taken for one.
func TestNamesFromOutside(t *testing.T) {
	plain := func(config string) error { _, err := ParsePlain([]byte(config)); return err }
	bonded := func(config string) error { _, err := ParseNetwork([]byte(config), "bond0"); return err }
	const links = `"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for what, parse := range map[string]func(name string) error{
		"a bond network's name":  func(name string) error { return bonded(`{"name": ` + quoted(name) + `, ` + links + `}`) },
		"a plain network's name": func(name string) error { return plain(`{"type": "macvlan", "name": ` + quoted(name) + `}`) },
		"a link's name": func(name string) error {
			return bonded(`{"name": "net1", "links": [{"name": ` + quoted(name) + `}, {"name": "b"}]}`)
		},
		"the bond's name": func(name string) error {
			return bonded(`{"name": "net1", "ifname": ` + quoted(name) + `, ` + links + `}`)
		},
		"a device": func(name string) error {
			return bonded(`{"name": "net1", "links": [{"deviceID": ` + quoted(name) + `}, {"deviceID": "0000:5e:02.0"}]}`)
		},
		"an attachment's interface": func(name string) error {
			_, err := PodAttachment{Name: "demo/a", IfName: name, Config: []byte(`{"type": "macvlan", "name": "a"}`)}.request(Request{})
			return err
		},
	} {
		for _, name := range outside {
			if err := parse(name); Code(err) != types.ErrInvalidNetworkConfig {
				t.Errorf("%s %.40q: error %d: %v", what, name, Code(err), err)
			}
		}
	}
	for what, parse := range map[string]func(string) error{
		"a plugin": func(name string) error { return plain(`{"name": "a", "type": ` + quoted(name) + `}`) },
		"IPAM": func(name string) error {
			return bonded(`{"name": "net1", "ipam": {"type": ` + quoted(name) + `}, ` + links + `}`)
		},
	} {
		for _, name := range outside {
			if err := parse(name); Code(err) != types.ErrInvalidNetworkConfig {
				t.Errorf("%s %.40q: error %d: %v", what, name, Code(err), err)
			}
		}
	}
	for _, config := range []string{`{"type": "macvlan", "name": "-a"}`, `{"type": "-a", "name": "a"}`} {
		if err := plain(config); Code(err) != types.ErrInvalidNetworkConfig {
			t.Errorf("%s: error %d: %v", config, Code(err), err)
		}
	}
}

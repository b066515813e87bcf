package delegate

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// outside are names that nobody gives in good faith.
var outside = []string{
	"..", "../../etc/passwd", "/etc/passwd", "a/../b", "./a", "a\nb", "a\x00b", " ", "a b",
	strings.Repeat("/", 5000) + "a",
}

// quoted is a name in JSON.
func quoted(name string) string { return string(strictjson.Encode(name)) }

// TestNamesFromOutside: no name of a network, a plugin or an interface that
// would lead elsewhere is taken for one.
func TestNamesFromOutside(t *testing.T) {
	plain := func(config string) error { _, err := netconf.ParseChain([]byte(config)); return err }
	bonded := func(config string) error { _, err := netconf.ParseNetwork([]byte(config), "bond0"); return err }
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
			_, err := requestFor(agentapi.Attachment{Name: "demo/a", IfName: name, Config: []byte(`{"type": "macvlan", "name": "a"}`)}, plan.Request{})
			return err
		},
	} {
		for _, name := range outside {
			if err := parse(name); cnierror.Code(err) != types.ErrInvalidNetworkConfig {
				t.Errorf("%s %.40q: error %d: %v", what, name, cnierror.Code(err), err)
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
			if err := parse(name); cnierror.Code(err) != types.ErrInvalidNetworkConfig {
				t.Errorf("%s %.40q: error %d: %v", what, name, cnierror.Code(err), err)
			}
		}
	}
	for _, config := range []string{`{"type": "macvlan", "name": "-a"}`, `{"type": "-a", "name": "a"}`} {
		if err := plain(config); cnierror.Code(err) != types.ErrInvalidNetworkConfig {
			t.Errorf("%s: error %d: %v", config, cnierror.Code(err), err)
		}
	}
}

// TestTooMuch: what is long is refused before it is multiplied: each plugin of a
// list gets its list's name.
func TestTooMuch(t *testing.T) {
	long, many := strings.Repeat("a", 1<<20), strings.Repeat(`{"type": "x"}, `, 50_000)+`{"type": "x"}`
	_, err := netconf.ParseChain([]byte(`{"name": "` + long + `", "type": "x"}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, "name: has 1048576 bytes, wanted are at most 255")
	_, err = netconf.ParseChain([]byte(`{"name": "n", "plugins": [` + many + `]}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, "network n: plugins: has 50001 plugins, wanted are at most 32")
	_, err = netconf.ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": [`+many+`]}}]}`), "bond0")
	wantError(t, err, types.ErrInvalidNetworkConfig, "network n: links[1].config.plugins: has 50001 plugins, wanted are at most 32")
}

// TestTooLarge: nothing reads a file, or what comes over a pipe, that is larger
// than it could be in good faith.
func TestTooLarge(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	attached := m.state()
	if err := os.Truncate(m.Store.hold(vfA), maxHold+1); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Store.Holder(vfA); !errors.Is(err, atomicfile.ErrTooLarge) {
		t.Errorf("hold: %v", err)
	}
	writeFile(t, m.Store.hold(vfA), c1.String(), 0o600)
	if err := os.Truncate(m.Store.file(c1), maxRecord+1); err != nil {
		t.Fatal(err)
	}
	if _, err := read(m.Store.file(c1), c1); !errors.Is(err, atomicfile.ErrTooLarge) || !errors.Is(err, errDamaged) {
		t.Errorf("record: %v", err)
	}
	m.wantState(attached)
	m.mustDel(c1)
	if m.link("", "enp1s0v0").Device != vfA {
		t.Error("what the damaged Record was about is not restored")
	}
	rec := &Record{Version: recordVersion, Plan: plan.Plan{ContainerID: "c1", IfName: "bond0"}, Warnings: []string{strings.Repeat("x", maxRecord)}}
	if err := m.Store.Begin(rec); !errors.Is(err, atomicfile.ErrTooLarge) {
		t.Errorf("begin: %v", err)
	}
	if err := m.Store.Update(rec); !errors.Is(err, atomicfile.ErrTooLarge) {
		t.Errorf("update: %v", err)
	}
}

// TestDeviceFromOutside: what an agent says of a plain network's device, or of
// the file that describes it, leads nowhere else.
func TestDeviceFromOutside(t *testing.T) {
	of := func(a agentapi.Attachment) (plan.Request, error) {
		a.Name, a.IfName, a.Config = "demo/a", "net1", json.RawMessage(`{"type": "macvlan", "name": "a"}`)
		return requestFor(a, plan.Request{})
	}
	for _, name := range append(outside, "../c2:bond0.json", "../../pci/devices/"+vfA, "nvidia0") {
		if r, err := of(agentapi.Attachment{Devices: []string{name}}); err != nil || r.Network.Device != "" {
			t.Errorf("device %.40q: %q, %v", name, r.Network.Device, err)
		}
		if name == "/etc/passwd" {
			continue // a path as good as any
		}
		if _, err := of(agentapi.Attachment{DeviceInfoFile: name}); cnierror.Code(err) != types.ErrInvalidNetworkConfig {
			t.Errorf("file %.40q: %v", name, err)
		}
	}
	r, err := of(agentapi.Attachment{Devices: []string{vfA}, DeviceInfoFile: "/run/info/cni/a.json"})
	if err != nil || r.Network.Device != vfA || r.DeviceInfoFile != "/run/info/cni/a.json" {
		t.Errorf("%+v, %v", r, err)
	}
}

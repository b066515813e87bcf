package delegate

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// outside are names with which somebody may try to reach other files.
var outside = []string{
	"..", "../../etc/passwd", "/etc/passwd", "a/../b", "./a", "a\nb", "a\x00b", " ", "a b",
	strings.Repeat("/", 5000) + "a",
}

// quoted is a name in JSON.
func quoted(name string) string { return string(strictjson.Encode(name)) }

// TestNamesFromOutside: a name of a network, a plugin or an interface that would lead
// elsewhere is an error.
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
			_, err := requestFor(agentapi.Attachment{Name: "demo/a", IfName: name, Config: []byte(`{"type": "macvlan", "name": "a"}`)}, plan.Request{}, nil)
			return err
		},
	} {
		for _, name := range outside {
			assert.EqualValues(t, types.ErrInvalidNetworkConfig, cnierror.Code(parse(name)), "%s %.40q", what, name)
		}
	}
	for what, parse := range map[string]func(string) error{
		"a plugin": func(name string) error { return plain(`{"name": "a", "type": ` + quoted(name) + `}`) },
		"IPAM": func(name string) error {
			return bonded(`{"name": "net1", "ipam": {"type": ` + quoted(name) + `}, ` + links + `}`)
		},
	} {
		for _, name := range outside {
			assert.EqualValues(t, types.ErrInvalidNetworkConfig, cnierror.Code(parse(name)), "%s %.40q", what, name)
		}
	}
	for _, config := range []string{`{"type": "macvlan", "name": "-a"}`, `{"type": "-a", "name": "a"}`} {
		assert.EqualValues(t, types.ErrInvalidNetworkConfig, cnierror.Code(plain(config)), config)
	}
}

// TestTooMuch: a name that is too long is refused before it is copied: each plugin of a
// list gets the list's name.
func TestTooMuch(t *testing.T) {
	long, many := strings.Repeat("a", 1<<20), strings.Repeat(`{"type": "x"}, `, 50_000)+`{"type": "x"}`
	_, err := netconf.ParseChain([]byte(`{"name": "` + long + `", "type": "x"}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, "name: has 1048576 bytes, want at most 255")
	_, err = netconf.ParseChain([]byte(`{"name": "n", "plugins": [` + many + `]}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, "network n: plugins: has 50001 plugins, want at most 32")
	_, err = netconf.ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": [`+many+`]}}]}`), "bond0")
	wantError(t, err, types.ErrInvalidNetworkConfig, "network n: links[1].config.plugins: has 50001 plugins, want at most 32")
}

// TestTooLarge: a hold and a Record that are too large change nothing of what is attached,
// and DEL removes them.
func TestTooLarge(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	attached := m.state()
	require.NoError(t, os.Truncate(m.Store.HoldFile(vfA), 1<<30))
	_, err := m.Store.Holder(vfA)
	assert.ErrorIs(t, err, atomicfile.ErrTooLarge)
	writeFile(t, m.Store.HoldFile(vfA), c1.String(), 0o600)
	require.NoError(t, os.Truncate(m.Store.File(c1), 1<<30))
	m.wantState(attached)
	m.mustDel(c1)
	assert.Equal(t, vfA, m.link("", "enp1s0v0").Device)
}

// TestDeviceFromOutside: what an agent says about a chain's device leads nowhere else.
func TestDeviceFromOutside(t *testing.T) {
	of := func(a agentapi.Attachment) (plan.Request, error) {
		a.Name, a.IfName, a.Config = "demo/a", "net1", json.RawMessage(`{"type": "macvlan", "name": "a"}`)
		return requestFor(a, plan.Request{}, nil)
	}
	for _, name := range append(outside, "../c2:bond0.json", "../../pci/devices/"+vfA, "nvidia0") {
		r, err := of(agentapi.Attachment{Devices: []string{name}})
		assert.NoError(t, err, "%.40q", name)
		assert.Empty(t, r.Network.Device, "%.40q", name)
	}
	r, err := of(agentapi.Attachment{Devices: []string{vfA}})
	assert.NoError(t, err)
	assert.Equal(t, vfA, r.Network.Device)
}

// TestAgentNamesAnotherFile: whatever file an agent names for the description of a device,
// no file is removed or made but the interface's own.
func TestAgentNamesAnotherFile(t *testing.T) {
	n := newNode(t, vlan("net2", vfA2))
	before := n.state()
	victim := filepath.Join(t.TempDir(), "x-c1_net2")
	writeFile(t, victim, "kept", 0o600)
	for _, name := range append(outside, victim, "x-c1_net2",
		n.infoFile("net3"),
		filepath.Join(n.DeviceInfo, "demo-vlan-c2_net2"),
		filepath.Join(n.DeviceInfo, "sub", "demo-vlan-c1_net2"),
		n.DeviceInfo+"/../"+filepath.Base(n.DeviceInfo)+"/demo-vlan-c1_net2",
		n.DeviceInfo+"//demo-vlan-c1_net2",
	) {
		if name == "" {
			continue // no file
		}
		n.reply.Lookup.Attachments[0].DeviceInfoFile = name
		_, err := n.AddPod(t.Context(), n.config, n.request())
		wantError(t, err, types.ErrInvalidNetworkConfig, fmt.Sprintf("network demo/vlan: the agent names the device-info file %.200q, want %s (leave the agent's -device-info-dir as it is)",
			name, filepath.Join(n.DeviceInfo, "NETWORK-c1_net2")))
		n.wantState(before)
	}
	text, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, "kept", string(text))
	found, err := os.ReadDir(n.DeviceInfo)
	require.NoError(t, err)
	assert.Empty(t, found)
}

// answer is an agent's answer that has a string wherever it can have one.
const answer = `{"version": 1, "lookup": {"pod": {"namespace": "demo", "name": "p", "uid": "1234"}, "warnings": ["w"], "attachments": [
	{"name": "demo/main", "ifName": "eth0", "default": true, "config": {"cniVersion": "1.0.0", "name": "main", "plugins": [{"type": "bridge"}, {"type": "tuning"}]}},
	{"name": "demo/vlan", "ifName": "net2", "devices": ["` + vfA2 + `"], "args": "MAC=02:00:00:00:00:02",
		"deviceInfo": {"type": "pci"}, "deviceInfoFile": "INFO/demo-vlan-c1_net2",
		"config": {"cniVersion": "0.3.1", "name": "vlan", "type": "sriov", "vlan": 7, "deviceID": "` + vfA2 + `",
			"runtimeConfig": {"CNIDeviceInfoFile": "INFO/demo-vlan-c1_net2"}, "ipam": {"type": "host-local", "dataDir": "d"}}},
	{"name": "demo/lan", "ifName": "net3", "config": {"name": "lan", "type": "macvlan", "master": "enp2s0"}},
	{"name": "demo/bond0", "ifName": "bond0", "bond": true, "devices": ["` + vfA + `", "` + vfB + `"], "config": {"cniVersion": "1.0.0", "name": "net-bond0",
		"type": "multibond", "mode": "active-backup", "primary": "x1", "agent": "/a", "delegate": {"type": "sriov", "spoofchk": "off"},
		"links": [{"deviceID": "` + vfA + `", "name": "x1"}, {"name": "x2", "config": {"type": "sriov", "name": "n", "deviceID": "` + vfB + `"}}], "ipam": {"type": "host-local"}}}]}}`

// leaves calls do for each string of a decoded JSON value, with a function that sets it.
func leaves(value any, set func(any), do func(path, text string, set func(any)), path string) {
	switch v := value.(type) {
	case string:
		do(path, v, set)
	case map[string]any:
		for key, inner := range v {
			leaves(inner, func(to any) { v[key] = to }, do, path+"."+key)
		}
	case []any:
		for i, inner := range v {
			leaves(inner, func(to any) { v[i] = to }, do, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

// TestAnswersLeadNowhereElse: whatever string of its answer an agent fills with a path, the
// plugin makes, changes and removes no file but its own and the device-info file, executes
// nothing but a name in the directories that it was given, and leads plugins to no namespace
// but the pod's. DEL puts everything back.
func TestAnswersLeadNowhereElse(t *testing.T) {
	type change struct{ path, name string }
	var changes []change
	walk := func(n *node, do func(path, text string, set func(any))) any {
		var decoded any
		require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(answer, "INFO", n.DeviceInfo)), &decoded))
		leaves(decoded, nil, do, "")
		return decoded
	}
	walk(newNode(t), func(path, _ string, _ func(any)) {
		for _, name := range []string{"..", "../../etc/passwd", "/etc/passwd", "../victim", "victim", "net2"} {
			changes = append(changes, change{path, name})
		}
	})
	require.Greater(t, len(changes), 200)
	for _, c := range append(changes, change{}) {
		n := newNode(t)
		root := n.below(filepath.Join(inMemory(t), "a", "b"))
		before, files := n.state(), filesOf(t, root, n.Store.Dir)
		decoded := walk(n, func(path, _ string, set func(any)) {
			if path == c.path {
				set(c.name)
			}
		})
		n.mutex.Lock()
		err := json.Unmarshal(strictjson.Encode(decoded), &n.reply)
		n.mutex.Unlock()
		if err != nil {
			continue // the client refuses the whole answer
		}
		_, err = n.AddPod(t.Context(), n.config, n.request())
		if c.path == "" {
			require.NoError(t, err, "the answer as it is")
		}
		assert.Equal(t, files, filesOf(t, root, n.Store.Dir), "ADD, %s: %q", c.path, c.name)
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()), "%s: %q", c.path, c.name)
		assert.Equal(t, files, filesOf(t, root, n.Store.Dir), "DEL, %s: %q", c.path, c.name)
		n.wantState(before)
		for _, call := range n.plugins.calls {
			assert.Equal(t, filepath.Base(call.Type), call.Type, "%s: %q", c.path, c.name)
			assert.Equal(t, n.Path, call.Path, "%s: %q", c.path, c.name)
			assert.Equal(t, pod1, call.Netns, "%s: %q", c.path, c.name)
		}
	}
}

// below moves all directories of the node into one, and has the process stand beside them.
// Every place that a path from there could lead to has a file.
func (n *node) below(dir string) (root string) {
	root = filepath.Dir(filepath.Dir(dir))
	require.NoError(n.t, os.MkdirAll(dir, 0o755))
	n.t.Chdir(dir)
	n.Store.Dir, n.SRIOV, n.DeviceInfo = filepath.Join(dir, "state"), filepath.Join(dir, "sriov"), filepath.Join(dir, "info")
	for _, one := range []string{n.Store.Dir, n.SRIOV, n.DeviceInfo, filepath.Join(dir, "etc"), filepath.Join(dir, "..", "etc"), filepath.Join(root, "etc")} {
		require.NoError(n.t, os.MkdirAll(one, 0o755))
		writeFile(n.t, filepath.Join(one, "passwd"), "kept", 0o600)
		writeFile(n.t, filepath.Join(one, "victim"), "kept", 0o600)
	}
	writeFile(n.t, filepath.Join(dir, "victim"), "kept", 0o600)
	return root
}

// filesOf lists the files below root, with what is in them, without those in except.
func filesOf(t *testing.T, root, except string) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && path == except {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		found = append(found, path+": "+string(text))
		return err
	}))
	return found
}

// TestStoreTooDeep: if a Record could be written but not read back, nothing is begun.
func TestStoreTooDeep(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	deep := strings.Repeat("[", 9998) + strings.Repeat("]", 9998)
	_, err := m.Add(t.Context(), request(t, strings.Replace(standard, `{`, `{"args": `+deep+`, `, 1)))
	assert.EqualValues(t, types.ErrIOFailure, cnierror.Code(err))
	assert.ErrorContains(t, err, "record of c1:bond0: it could not be read back")
	m.wantState(before)
}

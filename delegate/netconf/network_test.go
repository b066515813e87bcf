package netconf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestParseNetwork reads what users write, beginning with the configurations that the
// documents of bond-cni and of its distributions show.
func TestParseNetwork(t *testing.T) {
	const twoVFs = `"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	podLinks := []Link{{Name: "net1", Source: FromPod}, {Name: "net2", Source: FromPod}}
	sriov := func(name, device string) Link {
		config := `{"cniVersion":"0.3.1","deviceID":"` + device + `","name":"n","pciBusID":"` + device + `","type":"sriov"}`
		return Link{Name: name, Source: FromDevice, Device: device, Plugins: []Plugin{plugin("sriov", config)}}
	}
	safe := bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "active"}
	for _, test := range []struct {
		name, config string
		want         Network
	}{
		{
			name: "bond-cni's README",
			config: `{"type": "bond", "cniVersion": "0.3.1", "name": "bond-net1", "ifname": "bond0", "mode": "active-backup", "failOverMac": 1,
				"linksInContainer": true, "miimon": "100", "links": [{"name": "net1"}, {"name": "net2"}],
				"ipam": {"type": "host-local", "subnet": "10.56.217.0/24", "routes": [{"dst": "0.0.0.0/0"}], "gateway": "10.56.217.1"}}`,
			want: Network{CNIVersion: "0.3.1", Name: "bond-net1", Lenient: true, IPAM: "host-local", Links: podLinks, PodLinks: []string{"net1", "net2"}, Options: safe},
		},
		{
			name: "OpenShift's documentation",
			config: `{"type": "bond", "cniVersion": "0.3.1", "name": "bond-net1", "mode": "active-backup", "failOverMac": 1, "linksInContainer": true,
				"miimon": "100", "mtu": 1500, "links": [{"name": "net1"}, {"name": "net2"}],
				"ipam": {"type": "host-local", "subnet": "10.56.217.0/24", "routes": [{"dst": "0.0.0.0/0"}], "gateway": "10.56.217.1"}}`,
			want: Network{CNIVersion: "0.3.1", Name: "bond-net1", Lenient: true, IPAM: "host-local", Links: podLinks, PodLinks: []string{"net1", "net2"},
				Options: bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "active", "mtu": "1500"}},
		},
		{
			name: "what flannel makes of bond-cni's README",
			config: `{"name": "mynet", "type": "bond", "mode": "active-backup", "miimon": "100", "failOverMac": 1,
				"links": [{"name": "ens3f2"}, {"name": "ens3f2d1"}], "ipam": {"type": "host-local", "subnet": "10.1.1.0/24"}, "mtu": 1450}`,
			want: Network{Name: "mynet", Lenient: true, IPAM: "host-local",
				Links:   []Link{{Name: "ens3f2", Source: FromHost}, {Name: "ens3f2d1", Source: FromHost}},
				Options: bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "active", "mtu": "1450"}},
		},
		{
			name:   "names and numbers, in the kernel's and in other spellings",
			config: `{"name": "n", "mode": 2, "miimon": 50, "xmitHashPolicy": "1", "allSlavesActive": true, ` + twoVFs + `}`,
			want: Network{Name: "n", Links: []Link{sriov("bond0-1", deviceA), sriov("bond0-2", deviceB)},
				Options: bond.Options{"mode": "balance-xor", "miimon": "50", "xmitHashPolicy": "layer3+4", "allSlavesActive": "1"}},
		},
		{
			name:   "a MAC that the runtime asks for, over the network's own",
			config: `{"name": "n", "mac": "02:00:00:00:00:01", "runtimeConfig": {"mac": "02:00:00:00:00:07"}, ` + twoVFs + `}`,
			want: Network{Name: "n", Links: []Link{sriov("bond0-1", deviceA), sriov("bond0-2", deviceB)},
				Options: bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "mac": "02:00:00:00:00:07"}},
		},
		{
			name:   "a VLAN for all links, and where it is written twice",
			config: `{"name": "n", "vlan": "7", "links": [{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": [{"type": "sriov", "deviceID": "0000:5e:02.0", "vlan": 7}, {"type": "tuning"}]}}]}`,
			want: Network{Name: "n", Options: bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "active", "vlan": "7"}, Links: []Link{
				{Name: "bond0-1", Source: FromDevice, Device: deviceA, Plugins: []Plugin{
					plugin("sriov", `{"cniVersion":"0.3.1","deviceID":"0000:3b:02.0","name":"n","pciBusID":"0000:3b:02.0","type":"sriov","vlan":7}`)}},
				{Name: "bond0-2", Source: FromDevice, Device: deviceB, Plugins: []Plugin{
					plugin("sriov", `{"cniVersion":"0.3.1","deviceID":"0000:5e:02.0","name":"n","pciBusID":"0000:5e:02.0","type":"sriov","vlan":7}`),
					plugin("tuning", `{"cniVersion":"0.3.1","deviceID":"0000:5e:02.0","name":"n","pciBusID":"0000:5e:02.0","type":"tuning"}`)}},
			}},
		},
		{
			name:   "an address in capitals",
			config: `{"name": "n", "links": [{"deviceID": "0000:3B:02.0"}, {"config": {"type": "sriov", "deviceID": "0000:5E:02.0"}}]}`,
			want:   Network{Name: "n", Links: []Link{sriov("bond0-1", deviceA), sriov("bond0-2", deviceB)}, Options: safe},
		},
		{
			name: "plugins of other kinds, and lists of them",
			config: `{"cniVersion": "1.0.0", "name": "n", "primary": "left", "links": [
				{"name": "left", "config": {"name": "own", "plugins": [{"type": "sriov", "deviceID": "0000:3b:02.0"}, {"type": "tuning", "mtu": 9000}]}},
				{"config": {"type": "macvlan", "master": "eth1"}}]}`,
			want: Network{CNIVersion: "1.0.0", Name: "n", Options: bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "active", "primary": "left"},
				Links: []Link{
					{Name: "left", Source: FromDevice, Device: deviceA, Plugins: []Plugin{
						plugin("sriov", `{"cniVersion":"0.3.1","deviceID":"0000:3b:02.0","name":"own","pciBusID":"0000:3b:02.0","type":"sriov"}`),
						plugin("tuning", `{"cniVersion":"0.3.1","deviceID":"0000:3b:02.0","mtu":9000,"name":"own","pciBusID":"0000:3b:02.0","type":"tuning"}`),
					}},
					{Name: "bond0-2", Source: FromConfig, Plugins: []Plugin{plugin("macvlan", `{"cniVersion":"1.0.0","master":"eth1","name":"n","type":"macvlan"}`)}},
				}},
		},
		{
			name:   "host-device, whose address has another name",
			config: `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"config": {"type": "host-device", "cniVersion": "1.0.0", "pciBusID": "0000:5e:02.0"}}]}`,
			want: Network{Name: "n", Options: safe, Links: []Link{sriov("bond0-1", deviceA), {Name: "bond0-2", Source: FromDevice, Device: deviceB,
				Plugins: []Plugin{plugin("host-device", `{"cniVersion":"1.0.0","deviceID":"0000:5e:02.0","name":"n","pciBusID":"0000:5e:02.0","type":"host-device"}`)}}}},
		},
		{
			name:   "what a runtime adds, and what is meant for others",
			config: `{"name": "n", "capabilities": {"mac": true}, "runtimeConfig": {}, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}], "cni.dev/attachments": [], "kubeconfig": "b", "logLevel": "debug", ` + twoVFs + `}`,
			want: Network{Name: "n", Options: safe, Links: []Link{sriov("bond0-1", deviceA), sriov("bond0-2", deviceB)},
				Valid: []GCAttachment{{ContainerID: "c1", IfName: "eth0"}}, Warnings: ignoring("kubeconfig, logLevel")},
		},
		{
			name:   "require and dns",
			config: `{"name": "n", "require": {"distinctPF": "warn", "sameNUMA": "error", "trust": null}, "dns": {"nameservers": ["192.0.2.1"]}, "ipam": {}, ` + twoVFs + `}`,
			want: Network{Name: "n", Require: map[string]string{"distinctPF": "warn", "sameNUMA": "error"}, Options: safe,
				Links: []Link{sriov("bond0-1", deviceA), sriov("bond0-2", deviceB)}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseNetwork([]byte(test.config), "bond0")
			require.NoError(t, err)
			test.want.Options = withPrimary(test.want.Options, test.want.Links[0].Name)
			test.want.Config, test.want.Agent = NewConfig([]byte(test.config)), DefaultAgent
			assert.Empty(t, cmp.Diff(test.want, got))
		})
	}
}

func plugin(t, config string) Plugin { return Plugin{Type: t, Config: NewConfig([]byte(config))} }

// withPrimary returns o with link as the primary, if the mode has one and o names none.
func withPrimary(o bond.Options, link string) bond.Options {
	o = maps.Clone(o)
	hasOne := slices.Contains([]string{bond.ActiveBackup, bond.BalanceTLB, bond.BalanceALB}, o[bond.Mode])
	if hasOne && o[bond.Primary] == "" {
		o[bond.Primary] = link
	}
	return o
}

// TestParseNetworkNull checks that null means absent for every key.
func TestParseNetworkNull(t *testing.T) {
	const links = `[{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	want := mustParse(t, `{"name": "n", "links": `+links+`}`)
	var nulls strings.Builder
	for _, key := range slices.Concat(topKeys, bond.OptionKeys(), []string{"whatever"}) {
		if key != "name" && key != "links" && key != ValidKey {
			fmt.Fprintf(&nulls, "%q: null, ", key)
		}
	}
	got := mustParse(t, `{`+nulls.String()+`"name": "n", "links": `+strings.ReplaceAll(links, "}", `, "name": null, "config": null, "resourceName": null, "network": null, "count": null}`)+`}`)
	got.Config, want.Config = Config{}, Config{}
	assert.Empty(t, cmp.Diff(want, got))
}

// TestParseNetworkWithoutName checks that the primary may be any name if the bond's is not
// known, as for STATUS and GC.
func TestParseNetworkWithoutName(t *testing.T) {
	raw := []byte(`{"name": "n", "primary": "bond0-2", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`)
	n, err := ParseNetwork(raw, "")
	require.NoError(t, err)
	assert.Equal(t, "bond0-2", n.Options[bond.Primary])
	for config, isNil := range map[string]bool{`{}`: true, `{"cni.dev/valid-attachments": []}`: false, `{"cni.dev/valid-attachments": null}`: false} {
		n, _ := ParseNetwork([]byte(config), "")
		assert.Equal(t, isNil, n.Valid == nil, config)
	}
}

// TestAcceptRA: a bond with IPAM hears no router unless its configuration asks for that.
// Without IPAM, and with bond-cni's configurations, the kernel's setting stays.
func TestAcceptRA(t *testing.T) {
	const ipam = `, "ipam": {"type": "host-local"}`
	for _, c := range []struct{ fields, want string }{
		{`"type": "multibond"`, ""},
		{`"type": "multibond"` + ipam, "0"},
		{`"type": "multibond", "ipam": {}`, ""},
		{`"type": "multibond", "acceptRA": false`, "0"},
		{`"type": "multibond", "acceptRA": true` + ipam, "1"},
		{`"type": "bond", "linksInContainer": true` + ipam, ""},
		{`"type": "bond", "linksInContainer": true, "acceptRA": true` + ipam, ""},
	} {
		n, err := ParseNetwork([]byte(`{"name": "n", "links": [{"name": "net1"}, {"name": "net2"}], `+c.fields+`}`), "bond0")
		require.NoError(t, err, c.fields)
		assert.Equal(t, c.want, n.Options[bond.AcceptRA], c.fields)
	}
	_, err := ParseNetwork([]byte(`{"name": "n", "type": "multibond", "links": [{"name": "net1"}, {"name": "net2"}], "acceptRA": "maybe"}`), "bond0")
	assert.EqualError(t, err, `network n: acceptRA: is "maybe", want true or false`)
}

func TestParseNetworkProblems(t *testing.T) {
	const vfs = `{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}`
	const example = ` (for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]; to allow one link: "minLinks": 1)`
	links := func(links string) string { return `{"name": "n", "links": [` + links + `]}` }
	with := func(keys string) string { return `{"name": "n", "links": [` + vfs + `], ` + keys + `}` }
	for _, test := range []struct {
		name, config, bond string
		code               uint
		text               string
	}{
		{"nothing", ``, "", 6, `the configuration is not valid JSON: unexpected end of JSON input`},
		{"garbage", `{]`, "", 6, `the configuration is not valid JSON: invalid character ']' looking for beginning of object key string`},
		{"null", `null`, "", 6, `the configuration is null, want a JSON object`},
		{"a list", `[{}]`, "", 6, `the configuration is a list, want a JSON object`},
		{"a word", `"hi"`, "", 6, `the configuration is "hi", want a JSON object`},
		{"no text", "{\"name\": \"\xff\"}", "", 6, `the configuration is not valid UTF-8`},
		{"depth", strings.Repeat(`{"a":`, 20000), "", 6, `the configuration is not valid JSON: invalid character '{' exceeded max depth`},
		{"empty", `{}`, "", 7, `name: is missing; links: has no link, but a bond needs at least two` + example},
		{"no links", `{"name": "n"}`, "", 7, `network n: links: has no link, but a bond needs at least two` + example},
		{"one link", links(`{"deviceID": "0000:3b:02.0"}`), "", 7, `network n: links: has one link, but a bond needs at least two` + example},
		{"many links", links(vfs + strings.Repeat(`, {"name": "x"}`, 31)), "", 7, `network n: links: has 33 links, want at most 32`},
		{"links are no list", `{"name": "n", "links": {"deviceID": "0000:3b:02.0"}}`, "", 7, `network n: links: is an object, want a list of links`},
		{"a link is no object", links(vfs + `, "0000:3b:02.1"`), "", 7, `network n: links[2]: is "0000:3b:02.1", want a JSON object`},
		{"a link is null", links(vfs + `, null`), "", 7, `network n: links[2]: is null, want a JSON object`},
		{"a link is empty", links(vfs + `, {}`), "", 7, `network n: links[2]: has no source, want one of deviceID, config, pool or name`},
		{"unknown key in a link", links(vfs + `, {"deviceId": "0000:3b:02.1"}`), "", 7, `network n: links[2].deviceId: is not a known key (did you mean deviceID?)`},
		{"unknown key that is like no other", links(`{"deviceID": "0000:3b:02.0", "vlan": 7}, {"deviceID": "0000:5e:02.0"}`), "", 7, `network n: links[0].vlan: is not a known key`},
		{"ipam in a link", links(`{"deviceID": "0000:3b:02.0", "ipam": {"type": "dhcp"}}, {"deviceID": "0000:5e:02.0"}`), "", 7, `network n: links[0].ipam: is set for a link, but links of a bond have no addresses (set ipam once, beside links)`},
		{"ipam in delegate", with(`"delegate": {"type": "sriov", "ipam": {"type": "dhcp"}}`), "", 7, `network n: delegate.ipam: is set for a link, but links of a bond have no addresses (set ipam once, beside links)`},
		{"ipam in config", links(`{"deviceID": "0000:3b:02.0"}, {"config": {"type": "macvlan", "ipam": {"type": "dhcp"}}}`), "", 7, `network n: links[1].config.ipam: is set for a link, but links of a bond have no addresses (set ipam once, beside links)`},
		{"ipam in a list", links(`{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": [{"type": "macvlan"}, {"type": "x", "ipam": {"type": "dhcp"}}]}}`), "", 7, `network n: links[1].config.plugins[1].ipam: is set for a link, but links of a bond have no addresses (set ipam once, beside links)`},
		{"link name too long", links(vfs + `, {"name": "sixteen-bytes-16"}`), "", 7, `network n: links[2].name: is "sixteen-bytes-16", which has 16 bytes, but an interface name has at most 15`},
		{"link name of nothing", links(vfs + `, {"name": ""}`), "", 7, `network n: links[2]: has no source, want one of deviceID, config, pool or name`},
		{"equal names", links(`{"name": "a"}, {"name": "a"}`), "", 7, `network n: links[1].name: is a, which links[0] already has`},
		{"the bond's name", links(`{"name": "bond0"}, {"name": "a"}`), "", 7, `network n: links[0].name: is bond0, which is the bond's name`},
		{"no PCI address", links(`{"deviceID": "3b:02.0"}, {"deviceID": 7}`), "", 7, `network n: links[0].deviceID: is "3b:02.0", want a PCI address in lower case such as 0000:3b:02.1; links[1].deviceID: is 7, want a string`},
		{"no PCI address in config", links(`{"deviceID": "0000:3b:02.0"}, {"config": {"type": "sriov", "deviceID": "eth0"}}`), "", 7, `network n: links[1].config.deviceID: is "eth0", want a PCI address in lower case such as 0000:3b:02.1`},
		{"two addresses of one link", links(`{"deviceID": "0000:3b:02.0", "config": {"type": "sriov", "deviceID": "0000:3b:02.1"}}, {"deviceID": "0000:5e:02.0"}`), "", 7, `network n: links[0].config.deviceID: is 0000:3b:02.1, but links[0].deviceID is 0000:3b:02.0 (set it once)`},
		{"one device twice", links(vfs + `, {"deviceID": "0000:3B:02.0"}`), "", 7, `network n: links[2].deviceID: is 0000:3b:02.0, which links[0] already has`},
		{"words that sriov-cni takes for off", `{"name": "n", "delegate": {"type": "sriov", "trust": "true", "spoofchk": false, "link_state": "up"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`, "", 7,
			`network n: delegate.trust: is "true", want on or off; delegate.spoofchk: is false, want a string; delegate.spoofchk: is false, want on or off; delegate.link_state: is "up", want auto or enable or disable`},
		{"sriov without a device", `{"name": "n", "links": [{"config": {"type": "sriov"}}, {"deviceID": "0000:5e:02.0"}]}`, "", 7,
			`network n: links[0].config.deviceID: is missing, want the VF's PCI address (set it beside config)`},
		{"LACP allowed where there is none", with(`"allowLACP": true`), "", 7, `network n: allowLACP: is true, but has no effect in mode active-backup, only in mode 802.3ad (leave it out)`},
		{"LACP allowed by a word", with(`"mode": "802.3ad", "allowLACP": "yes"`), "", 7, `network n: allowLACP: is "yes", want true or false`},
		{"a MAC from the runtime that would be replaced", with(`"failOverMac": 1, "runtimeConfig": {"mac": "02:00:00:00:00:07"}`), "", 7,
			`network n: mac: is 02:00:00:00:00:07, but with failOverMac active the kernel replaces it with the active link's MAC (leave mac out, or set macPolicy to shared)`},
		{"options of links", links(`{"deviceID": "0000:3b:02.0", "prio": "high", "queueId": 1}, {"deviceID": "0000:5e:02.0", "actorPortPrio": 1, "queue_id": 2}`), "", 7,
			`network n: links[0].prio: is "high", want -2147483648 to 2147483647; links[1].queue_id: is not a known key (did you mean queueId?); links[1].actorPortPrio: is 1, but mode active-backup does not have this option; these modes do: 802.3ad`},
		{"a VLAN of a link that is no VF", `{"name": "n", "vlan": 7, "links": [{"deviceID": "0000:3b:02.0", "config": {"type": "host-device"}}, {"name": "eth1"}, {"config": {"type": "macvlan"}}]}`, "", 7,
			`network n: vlan: is 7, but links[0], bond0-1, is not a VF that sriov attaches (leave vlan out, and set it where the link is made); ` +
				`vlan: is 7, but links[1], eth1, is not a VF that sriov attaches (leave vlan out, and set it where the link is made); ` +
				`vlan: is 7, but links[2], bond0-3, is not a VF that sriov attaches (leave vlan out, and set it where the link is made)`},
		{"two VLANs", with(`"vlan": 7, "delegate": {"type": "sriov", "vlan": 8}`), "", 7,
			`network n: vlan: is 7, but the configuration that attaches links[0] has 8 (set it once); vlan: is 7, but the configuration that attaches links[1] has 8 (set it once)`},
		{"misspelt options", with(`"miimom": 100, "fail_over_mac": 1, "xmit_hash_policy": "layer2"`), "", 7, `network n: fail_over_mac: is not a known key (did you mean failOverMac?); miimom: is not a known key (did you mean miimon?); xmit_hash_policy: is not a known key (did you mean xmitHashPolicy?)`},
		{"an option that is wrong", with(`"mode": "active_backup", "mtu": []`), "", 7, `network n: mode: is "active_backup", want one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb; did you mean active-backup?; mtu: is [], want a single value`},
		{"primary that is no link", with(`"primary": "eth0"`), "", 7, `network n: primary: is eth0, want one of the links bond0-1, bond0-2`},
		{"ifname and CNI_IFNAME", with(`"ifname": "bond7"`), "", 7,
			`network n: ifname: is bond7, but the runtime asks for bond0 (CNI_IFNAME) (leave ifname out, or use that name in the pod's annotation, as in n@bond7)`},
		{"ifname that cannot be", with(`"ifname": "a/b"`), "", 7, `network n: ifname: is "a/b", but an interface name has no slash, colon, percent sign or blank (byte 0x2f)`},
		{"types that are not", with(`"ifname": 7, "linksInContainer": "yes", "ipam": [], "dns": 1, "delegate": "sriov", "require": true`), "", 7, `network n: ifname: is 7, want a string; dns: is 1, want a dns object (CNI specification, section 1); ipam: is a list, want a JSON object; delegate: is "sriov", want a JSON object; linksInContainer: is "yes", want true or false; require: is true, want a JSON object`},
		{"plugin types", with(`"ipam": {"type": "../x"}, "delegate": {"vlan": 1}`), "", 7, `network n: ipam.type: is "../x", which is not a valid name of a CNI plugin; delegate.type: is missing, want the name of a CNI plugin`},
		{"plugin types of dots", with(`"ipam": {"subnet": "x"}, "delegate": {"type": ".."}`), "", 7, `network n: ipam.type: is missing, want the name of a CNI plugin; delegate.type: is "..", which is not a valid name of a CNI plugin`},
		{"no list of plugins", links(`{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": 1}}`), "", 7, `network n: links[1].config.plugins: is 1, want a list of objects`},
		{"an empty list of plugins", links(`{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": []}}`), "", 7, `network n: links[1].config.plugins: has no plugin configuration`},
		{"no plugins in the list", links(`{"deviceID": "0000:3b:02.0"}, {"config": {"plugins": [3]}}`), "", 7, `network n: links[1].config.plugins[0]: is 3, want a JSON object; links[1].config.plugins: has no plugin configuration`},
		{"require", with(`"require": {"distinctPF": "yes", "distinctPf": 1, "sameRack": 1}`), "", 7, `network n: require.distinctPf: is not a known key (did you mean distinctPF?); require.sameRack: is not a known key; require.distinctPF: is "yes", want error, warn or ignore`},
		{"several", `{"name": "n", "mode": 9, "links": [{"deviceID": "x"}, {"nam": "a"}], "ifnam": "b"}`, "", 7, `network n: links[0].deviceID: is "x", want a PCI address in lower case such as 0000:3b:02.1; links[1].nam: is not a known key (did you mean name?); mode: is 9, want one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb; ifnam: is not a known key (did you mean ifname?)`},
		{"attachments that are none", `{"name": "n", "links": [` + vfs + `], "cni.dev/valid-attachments": 3}`, "", 7, `network n: cni.dev/valid-attachments: is 3, want a list of attachments`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.bond == "" {
				test.bond = "bond0"
			}
			_, err := ParseNetwork([]byte(test.config), test.bond)
			require.EqualError(t, err, test.text)
			require.EqualValues(t, test.code, cnierror.Code(err))
		})
	}
}

const deviceA, deviceB = "0000:3b:02.0", "0000:5e:02.0"

// mustParse parses a configuration of the bond bond0.
func mustParse(t *testing.T, config string) Network {
	t.Helper()
	n, err := ParseNetwork([]byte(config), "bond0")
	require.NoError(t, err)
	return n
}

// TestDefaultNamesFit checks that the default names of links fit and are unique, however long
// the bond's name is.
func TestDefaultNamesFit(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"b", "bond0", "twelve-bytes", "thirteenbytes", "pod37a8eec1ce1", "pod37a8eec1ce2", "pod37a8eec1ce12"} {
		for i := range MaxLinks {
			got := DefaultName(name, i)
			assert.NoError(t, bond.CheckName(got))
			assert.False(t, seen[got], got)
			seen[got] = true
		}
	}
	assert.Equal(t, "bond0-1", DefaultName("bond0", 0))
	assert.Equal(t, "thirteenbytes-2", DefaultName("thirteenbytes", 1))
}

// ignoring is the warning of keys that are ignored.
func ignoring(keys string) bond.Problems {
	return bond.Problems{{Code: code.IgnoredKeys, Text: "these keys are ignored: " + keys}}
}

package netconf

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestBondCNI checks that a file of type bond makes the bond that bond-cni makes of it,
// or a better one if bond-cni's fails, and that a warning names what is not taken.
func TestBondCNI(t *testing.T) {
	const head = `{"type": "bond", "cniVersion": "0.3.1", "name": "n", `
	const links = `"linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`
	safe := func(more ...string) bond.Options {
		o := bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "active"}
		for i := 0; i < len(more); i += 2 {
			o[more[i]] = more[i+1]
		}
		return o
	}
	for name, test := range map[string]struct {
		config   string
		want     bond.Options
		warnings []string
	}{
		"every option that bond-cni has": {
			config: `"mode": "balance-tlb", "miimon": "50", "mtu": 1400, "allSlavesActive": 1, "tlbDynamicLb": 0, "xmitHashPolicy": "layer3+4", `,
			want:   bond.Options{"mode": "balance-tlb", "miimon": "50", "mtu": "1400", "allSlavesActive": "1", "tlbDynamicLb": "0", "xmitHashPolicy": "layer3+4"},
		},
		"types that bond-cni refuses": {
			config: `"mode": 1, "miimon": 100, "failOverMac": "1", "mtu": "1400", `,
			want:   safe("mtu", "1400"),
		},
		"keys in another case, which Go's decoder finds": {
			config: `"MODE": "active-backup", "MiiMon": "200", "failovermac": 2, `,
			want:   bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "200", "failOverMac": "follow"},
		},
		"failOverMac as it is written": {
			config: `"mode": "active-backup", "miimon": "100", "failOverMac": 0, `,
			want:   bond.Options{"mode": "active-backup", "numGratArp": "5", "miimon": "100", "failOverMac": "none"},
		},
		"no failOverMac": {
			config:   `"mode": "active-backup", "miimon": "100", `,
			want:     safe(),
			warnings: []string{"failOverMac: is not set; the default is active, not none as with bond-cni, because an untrusted VF refuses none"},
		},
		"no link watched": {
			config:   `"mode": "balance-rr", "miimon": "0", "mtu": 0, `,
			want:     bond.Options{"mode": "balance-rr", "miimon": "100"},
			warnings: []string{"miimon: is 0, with which the bond would never notice a dead link; the default is used instead"},
		},
		"options that the mode does not have, which the kernel takes from bond-cni": {
			config: `"mode": "balance-rr", "miimon": "100", "failOverMac": 1, "xmitHashPolicy": "layer2", `,
			want:   bond.Options{"mode": "balance-rr", "miimon": "100"},
			warnings: []string{
				"failOverMac: is ignored, because mode balance-rr does not have this option",
				"xmitHashPolicy: is ignored, because mode balance-rr does not have this option",
			},
		},
		"a name that the runtime does not ask for": {
			config:   `"mode": "active-backup", "miimon": "100", "failOverMac": 1, "ifname": "bond7", `,
			want:     safe(),
			warnings: []string{"ifname: is bond7, but the runtime asks for bond0 (CNI_IFNAME), which becomes the bond's name, as with bond-cni"},
		},
		"keys that bond-cni ignores": {
			config: `"mode": "active-backup", "miimon": "100", "failOverMac": 1, "ipMasq": true, "mac": "02:00:00:00:00:01", "arpInterval": 100, "bondOptions": {},
				"capabilities": {"mac": true, "ips": true}, "runtimeConfig": {"mac": "02:00:00:00:00:07", "ips": ["10.0.0.1/24"]}, `,
			want: safe(),
			warnings: []string{`these keys are ignored, as by bond-cni: arpInterval, bondOptions, ipMasq, mac, runtimeConfig.mac ` +
				`(with "type": "multibond" these have an effect: arpInterval, mac, runtimeConfig.mac)`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := ParseNetwork([]byte(head+test.config+links), "bond0")
			require.NoError(t, err)
			assert.Equal(t, withPrimary(test.want, "net1"), n.Options)
			assert.Equal(t, test.warnings, textsOf(n.Warnings))
			assert.Equal(t, []Link{{Name: "net1", Source: FromPod}, {Name: "net2", Source: FromPod}}, n.Links)
		})
	}
}

// TestBondCNILinks checks that only the name of a link is read, as by bond-cni.
func TestBondCNILinks(t *testing.T) {
	n, err := ParseNetwork([]byte(`{"type": "bond", "name": "n", "mode": "active-backup", "miimon": "100", "failOverMac": 1,
		"links": [{"name": "eth1", "deviceID": "0000:3b:02.0"}, {"name": "eth2", "comment": "right"}]}`), "bond0")
	require.NoError(t, err)
	assert.Equal(t, []Link{{Name: "eth1", Source: FromHost}, {Name: "eth2", Source: FromHost}}, n.Links)
	assert.Equal(t, []string{"these keys are ignored, as by bond-cni: links[0].deviceID, links[1].comment"}, textsOf(n.Warnings))
}

// TestBondCNIProblems checks that what bond-cni or the kernel refuses is refused, with
// its path.
func TestBondCNIProblems(t *testing.T) {
	for config, want := range map[string]string{
		`"mode": "active_backup", "links": [{"name": "a"}, {"name": "b"}]`:         `mode: is "active_backup", want one of`,
		`"miimon": "fast", "links": [{"name": "a"}, {"name": "b"}]`:                `miimon: is "fast", want at least 0 ms`,
		`"failOverMac": 3, "links": [{"name": "a"}, {"name": "b"}]`:                `failOverMac: is 3, want one of none, active, follow`,
		`"mtu": 9, "links": [{"name": "a"}, {"name": "b"}]`:                        `mtu: is 9, want 68 to 65535 bytes`,
		`"links": [{"name": "a"}]`:                                                 `links: has one link, but a bond needs at least two`,
		`"links": [{"name": "a"}, {"deviceID": "0000:3b:02.0"}]`:                   `links[1]: has no source`,
		`"links": [{"name": "a"}, {"name": "a"}]`:                                  `links[1].name: is a, which links[0] already has`,
		`"linksInContainer": true, "links": [{"name": "bond0"}, {"name": "net2"}]`: `links[0].name: is bond0, which is the bond's name (name the interfaces in the pod's annotation, as in net@bond0; an interface without a name is called net1, net2, ... by position)`,
		`"linksInContainer": "yes", "links": [{"name": "net1"}, {"name": "net2"}]`: `linksInContainer: is "yes", want true or false`,
		`"links": {"name": "a"}`:                                                   `links: is an object, want a list of links`,
		`"links": [7, "a"]`:                                                        `links[0]: is 7, want a JSON object; links[1]: is "a", want a JSON object`,
	} {
		_, err := ParseNetwork([]byte(`{"type": "bond", "name": "n", `+config+`}`), "bond0")
		assert.ErrorContains(t, err, "network n: "+want, config)
		assert.EqualValues(t, 7, cnierror.Code(err), config)
	}
}

// textsOf returns the texts of problems, without their codes.
func textsOf(problems bond.Problems) (texts []string) {
	for _, p := range problems {
		texts = append(texts, p.Error())
	}
	return texts
}

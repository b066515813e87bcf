package main

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func someVF() VF {
	return VF{
		PCI: "0000:01:10.0", PF: "enp1s0", Netns: "host", Name: "enp1s0v0", MAC: "02:00:00:00:00:01", MTU: "1500", State: "down",
		AdminMAC: "02:00:00:00:00:01", VLAN: "0/0", SpoofChk: "on", Trust: "off", LinkState: "auto",
	}
}

func TestDifferencesOfTheSame(t *testing.T) {
	assert.Empty(t, differences([]VF{someVF()}, []VF{someVF()}))
}

// Every field of a VF is compared, also one that is added later.
func TestDifferencesInEachField(t *testing.T) {
	identity := []string{"PCI", "PF", "Number"}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[VF]()) {
		if slices.Contains(identity, f.Name) {
			continue
		}
		after := someVF()
		was := reflect.ValueOf(&after).Elem().FieldByIndex(f.Index)
		old := was.String()
		was.SetString("other")
		got := differences([]VF{someVF()}, []VF{after})
		require.Len(t, got, 1, f.Name)
		assert.Regexp(t, "^0000:01:10\\.0: .* is other, was "+regexp.QuoteMeta(old)+"$", got[0], f.Name)
	}
}

func TestDifferencesOfMissingAndNew(t *testing.T) {
	other := someVF()
	other.PCI = "0000:02:10.0"
	got := differences([]VF{someVF()}, []VF{other})
	want := []string{"0000:01:10.0: is gone", "0000:02:10.0: is new"}
	assert.Equal(t, want, got)
}

// As ip of iproute2 6.1 prints it, with what does not matter left out.
const hostLinks = `[
	{"ifname":"enp1s0","flags":["UP"],"mtu":1500,"address":"52:54:00:00:00:01","parentdev":"0000:01:00.0","vfinfo_list":[
		{"vf":0,"address":"e6:03:b0:01:b0:5b","vlan_list":[{}],"spoofchk":true,"link_state":"auto","trust":false},
		{"vf":1,"address":"e6:03:b0:01:b0:5c","vlan_list":[{"vlan":100,"qos":3}],"spoofchk":false,"link_state":"enable"}]},
	{"ifname":"enp1s0v0","flags":["BROADCAST"],"mtu":1400,"address":"e6:03:b0:01:b0:5b","parentdev":"0000:01:10.0"}
]`

const podLinks = `[{"ifname":"bond0-1","flags":["SLAVE","UP"],"mtu":1500,"address":"e6:03:b0:01:b0:5c","parentdev":"0000:01:10.2"}]`

func TestSnapshot(t *testing.T) {
	devices, err := parseDevices([]byte("enp1s0 1 0000:01:10.2\nenp1s0 0 0000:01:10.0\nenp1s0 2 0000:01:10.4\n"))
	require.NoError(t, err)
	namespaces := map[string][]ipLink{}
	for ns, text := range map[string]string{hostNS: hostLinks, pod1: podLinks, pod2: ""} {
		namespaces[ns], err = parseLinks([]byte(text))
		require.NoError(t, err)
	}
	got := snapshot(devices, namespaces)
	want := []VF{
		{PCI: "0000:01:10.0", PF: "enp1s0", Number: 0, Netns: "host", Name: "enp1s0v0", MAC: "e6:03:b0:01:b0:5b", MTU: "1400", State: "down",
			AdminMAC: "e6:03:b0:01:b0:5b", VLAN: "0/0", SpoofChk: "on", Trust: "off", LinkState: "auto"},
		{PCI: "0000:01:10.2", PF: "enp1s0", Number: 1, Netns: "pod1", Name: "bond0-1", MAC: "e6:03:b0:01:b0:5c", MTU: "1500", State: "up",
			AdminMAC: "e6:03:b0:01:b0:5c", VLAN: "100/3", SpoofChk: "off", Trust: "unknown", LinkState: "enable"},
		{PCI: "0000:01:10.4", PF: "enp1s0", Number: 2, Netns: "nowhere"},
	}
	assert.Equal(t, want, got)
}

func TestPrintSnapshots(t *testing.T) {
	after := someVF()
	after.MTU = "1400"
	var out strings.Builder
	require.NoError(t, printSnapshots(&out, []VF{someVF()}, []VF{after}))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	assert.Regexp(t, "before.*1500", lines[1])
	assert.Regexp(t, "after.*1400", lines[2])
}

package kubeclient

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/multibond/multibond/delegate"
)

// cluster has the networks of these tests.
var cluster = map[string]string{
	"demo/bond-net1": `{"cniVersion":"1.0.0","type":"multibond","links":[{"resourceName":"intel.com/a"},{"resourceName":"intel.com/b"}],"ipam":{"type":"host-local"}}`,
	"demo/pair":      `{"type":"multibond","links":[{"resourceName":"intel.com/a","count":2}]}`,
	"demo/outside":   `{"type":"multibond","links":[{"network":"other/vf"},{"network":"other/vf"}]}`,
	"demo/bond-cni":  `{"type":"bond","ifname":"bond0","mode":"active-backup","failOverMac":1,"linksInContainer":true,"miimon":"100","links":[{"name":"net2"},{"name":"net3","resourceName":"intel.com/a"}],"ipam":{"type":"host-local"}}`,
	"demo/listed":    `{"plugins":[{"type":"bond","links":[{"name":"net2"},{"name":"net3"}]},{"type":"tuning"}]}`,
	"demo/chained":   `{"plugins":[{"type":"multibond","links":[]},{"type":"tuning"}]}`,
	"demo/bad":       `{"type":7}`,
	"demo/vf":        `intel.com/a {"type":"sriov","capabilities":{"CNIDeviceInfoFile":true}}`,
	"demo/lan":       `{"type":"macvlan"}`,
	"other/vf":       `intel.com/a {"type":"sriov"}`,
	"system/default": `{"type":"multibond","links":[{"network":"vf"},{"network":"vf"}]}`,
	"system/vf":      `intel.com/a {"type":"sriov"}`,
}

func attachments(t *testing.T, elements []Element, containers ...Container) ([]Attachment, error) {
	t.Helper()
	r := Resolver{Isolated: true, NAD: nads(cluster)}
	infoFile := func(e Element) string { return "/info/" + e.Interface }
	return Attachments(named("demo", "p"), elements, r, Node{Containers: gives(containers...), PF: letterPF, InfoFile: infoFile})
}

// gives is a node on which the pod has these devices.
func gives(containers ...Container) func() ([]Container, error) {
	return func() ([]Container, error) { return containers, nil }
}

func TestAttachments(t *testing.T) {
	got, err := attachments(t, parse(t, `lan,vf,bond-net1@bond0,pair`),
		Container{Resources: map[string][]string{"intel.com/a": {"0000:3b:02.3", "0000:3b:02.2", "0000:3b:02.1", "0000:3b:02.4"}}},
		Container{Resources: map[string][]string{"intel.com/b": {"0000:5e:02.1"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, a := range got {
		lines = append(lines, fmt.Sprint(a.Element.Interface, " ", a.Network.Name, " ", a.Devices))
	}
	want := []string{
		"net1 demo/lan []",
		"net2 demo/vf [0000:3b:02.1]",
		"bond0 demo/bond-net1 [0000:3b:02.2 0000:5e:02.1]",
		"net4 demo/pair [0000:3b:02.3 0000:3b:02.4]",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	compareJSON(t, `{"cniVersion":"0.3.1","name":"lan","type":"macvlan"}`, got[0].Network.Config)
	compareJSON(t, `{"cniVersion":"0.3.1","name":"vf","type":"sriov","capabilities":{"CNIDeviceInfoFile":true},
		"deviceID":"0000:3b:02.1","pciBusID":"0000:3b:02.1","runtimeConfig":{"CNIDeviceInfoFile":"/info/net2"}}`, got[1].Network.Config)
	for _, a := range got[2:] {
		n, err := delegate.ParseNetwork(a.Network.Config, a.Element.Interface)
		if err != nil || n.Links[0].Device != a.Devices[0] || n.Links[1].Device != a.Devices[1] {
			t.Errorf("%s: %+v, %v", a.Network.Config, n.Links, err)
		}
	}
}

func TestSameNetworkTwiceTakesTwoDevices(t *testing.T) {
	got, err := attachments(t, parse(t, "vf,vf"), has("intel.com/a", "b", "a"))
	if err != nil || got[0].Devices[0] != "a" || got[1].Devices[0] != "b" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = attachments(t, parse(t, "vf,vf"), has("intel.com/a", "a"))
	if err == nil || err.Error() != "network demo/vf needs 1 x intel.com/a, pod demo/p has 1 (a), of which other networks take 1" {
		t.Error(err)
	}
}

// TestBondCNI: a network of type bond is one of ours, which takes no device
// of the pod whatever its links say, and keeps the place and the name that the
// annotation gives it. In a list of plugins it is executed as the others are.
func TestBondCNI(t *testing.T) {
	got, err := attachments(t, parse(t, `bond-cni,vf,vf,listed`), has("intel.com/a", "b", "a"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, a := range got {
		lines = append(lines, fmt.Sprint(a.Element.Interface, " ", a.Network.Name, " ", a.Devices, " ", a.Bond))
	}
	want := []string{"net1 demo/bond-cni [] true", "net2 demo/vf [a] false", "net3 demo/vf [b] false", "net4 demo/listed [] false"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	compareJSON(t, `{"cniVersion":"0.3.1","name":"bond-cni",`+cluster["demo/bond-cni"][1:], got[0].Network.Config)
	n, err := delegate.ParseNetwork(got[0].Network.Config, "net1")
	if err != nil || n.NeedsAgent() || n.Links[1].Name != "net3" || n.Links[1].Source != delegate.FromPod {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestDeviceIDOfTheAnnotation(t *testing.T) {
	got, err := attachments(t, parse(t, `[{"name":"vf"},{"name":"vf","deviceID":"a"},{"name":"lan","deviceID":"c"}]`), has("intel.com/a", "b", "a"), has("x", "c"))
	if err != nil || got[0].Devices[0] != "b" || got[1].Devices[0] != "a" || got[2].Devices[0] != "c" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = attachments(t, parse(t, `[{"name":"vf","deviceID":"c"}]`), has("intel.com/a", "b", "a"), has("x", "c"))
	if err == nil || err.Error() != "network demo/vf asks for device c of intel.com/a, pod demo/p has 2 (a, b)" {
		t.Error(err)
	}
}

func TestIsolationHoldsForLinksToo(t *testing.T) {
	_, err := attachments(t, parse(t, "outside"), has("intel.com/a", "a", "b"))
	if !errors.Is(err, ErrNamespace) || !strings.HasPrefix(err.Error(), "networks[0]: network demo/outside: links[0].network: network other/vf: NADs can be named in demo, default only") {
		t.Error(err)
	}
}

func TestIsolationHoldsForTheDefaultNetworkToo(t *testing.T) {
	parse := func(annotation string) []Element {
		e, err := ParseDefaultNetwork(annotation, "demo", "system", "eth0")
		if err != nil {
			t.Fatal(err)
		}
		return []Element{e}
	}
	got, err := attachments(t, parse("default"), has("intel.com/a", "a", "b"))
	if err != nil || len(got[0].Devices) != 2 || got[0].Element.Interface != "eth0" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := attachments(t, parse("other/vf"), has("intel.com/a", "a")); !errors.Is(err, ErrNamespace) {
		t.Error(err)
	}
}

func TestAttachmentProblemsAllAtOnce(t *testing.T) {
	_, err := attachments(t, parse(t, `[{"name":"gone"},{"name":"bad"},{"name":"chained"},{"name":"pair","deviceID":"a"},{"name":"vf","namespace":"other"}]`))
	if !errors.Is(err, errNoNAD) || !errors.Is(err, ErrNamespace) {
		t.Fatal(err)
	}
	want := []string{
		"networks[0]: network demo/gone: not found",
		"networks[1]: network demo/bad: spec.config: type: is 7, wanted is a string",
		"networks[2]: network demo/chained: plugins has one of type multibond; a bond is a network of its own, not part of a list",
		"networks[3]: deviceID: is a, and network demo/pair is a bond, each of whose links has a device",
		"networks[4]: network other/vf: NADs can be named in demo, default only: namespaces are isolated",
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\nwanted is %s", err, w)
		}
	}
	_, err = attachments(t, parse(t, `[{"name":"lan","mac":"02:00:00:00:00:01"},{"name":"pair"},{"name":"lan","ips":["10.0.0.1"]}]`), has("intel.com/a", "a", "b"))
	if err == nil || strings.Count(err.Error(), "no plugin of network demo/lan takes it") != 2 {
		t.Error(err)
	}
}

// BenchmarkLookup is the pure part of a lookup for a pod with 8 networks,
// three of them bonds.
func BenchmarkLookup(b *testing.B) {
	r := Resolver{Isolated: true, NAD: nads(cluster)}
	var pool []string
	for i := range 12 {
		pool = append(pool, fmt.Sprintf("%c%02d", 'a'+rune(i%3), i))
	}
	node := Node{Containers: gives(has("intel.com/a", pool...)), PF: letterPF, InfoFile: func(Element) string { return "" }}
	for b.Loop() {
		elements, err := ParseNetworks("lan,vf,vf,pair,pair,pair,lan,demo/vf@eth9", "demo", []string{"eth0"})
		if err == nil {
			_, err = Attachments(named("demo", "p"), elements, r, node)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

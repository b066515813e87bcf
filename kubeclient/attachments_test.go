package kubeclient

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/netconf"
)

// cluster has the NADs of these tests.
var cluster = map[string]string{
	"demo/bond-net1": `{"cniVersion":"1.0.0","type":"multibond","links":[{"resourceName":"intel.com/a"},{"resourceName":"intel.com/b"}],"ipam":{"type":"host-local"}}`,
	"demo/pair":      `{"type":"multibond","links":[{"resourceName":"intel.com/a","count":2}]}`,
	"demo/outside":   `{"type":"multibond","links":[{"network":"other/vf"},{"network":"other/vf"}]}`,
	"demo/bond-cni":  `{"type":"bond","ifname":"bond0","mode":"active-backup","failOverMac":1,"linksInContainer":true,"miimon":"100","links":[{"name":"net2"},{"name":"net3","resourceName":"intel.com/a"}],"ipam":{"type":"host-local"}}`,
	"demo/listed":    `{"plugins":[{"type":"bond","linksInContainer":true,"links":[{"name":"net2"},{"name":"net3"}]},{"type":"tuning"}]}`,
	"demo/later":     `{"plugins":[{"type":"sriov"},{"type":"bond","links":[{"name":"net2"},{"name":"net3"}]},{"type":"tuning"}]}`,
	"demo/followed":  `{"cniVersion":"1.0.0","plugins":[{"type":"multibond","links":[{"resourceName":"intel.com/a","count":2}]},{"type":"tuning","sysctl":{"x":"1"},"capabilities":{"mac":true}},{"type":"bandwidth","capabilities":{"bandwidth":true}}],"disableCheck":true}`,
	"demo/chained":   `{"plugins":[{"type":"tuning"},{"type":"multibond","links":[]}]}`,
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

// gives returns the Containers of a node on which the pod has these devices.
func gives(containers ...Container) func() ([]Container, error) {
	return func() ([]Container, error) { return containers, nil }
}

func TestAttachments(t *testing.T) {
	got, err := attachments(t, parse(t, `lan,vf,bond-net1@bond0,pair`),
		Container{Resources: map[string][]string{"intel.com/a": {"0000:3b:02.3", "0000:3b:02.2", "0000:3b:02.1", "0000:3b:02.4"}}},
		Container{Resources: map[string][]string{"intel.com/b": {"0000:5e:02.1"}}},
	)
	require.NoError(t, err)
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
	assert.Equal(t, want, lines)
	assert.JSONEq(t, `{"cniVersion":"0.3.1","name":"lan","type":"macvlan"}`, string(got[0].Config))
	assert.JSONEq(t, `{"cniVersion":"0.3.1","name":"vf","type":"sriov","capabilities":{"CNIDeviceInfoFile":true},
		"deviceID":"0000:3b:02.1","pciBusID":"0000:3b:02.1","runtimeConfig":{"CNIDeviceInfoFile":"/info/net2"}}`, string(got[1].Config))
	for _, a := range got[2:] {
		n, err := netconf.ParseNetwork(a.Config, a.Element.Interface)
		require.NoError(t, err, string(a.Config))
		assert.Equal(t, a.Devices, []string{n.Links[0].Device, n.Links[1].Device})
	}
}

func TestSameNetworkTwiceTakesTwoDevices(t *testing.T) {
	got, err := attachments(t, parse(t, "vf,vf"), has("intel.com/a", "b", "a"))
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, got[0].Devices)
	assert.Equal(t, []string{"b"}, got[1].Devices)
	_, err = attachments(t, parse(t, "vf,vf"), has("intel.com/a", "a"))
	assert.EqualError(t, err, "network demo/vf needs 1 x intel.com/a, pod demo/p has 1 (a), of which other networks take 1 (request 2 x intel.com/a in resources.limits of its containers)")
}

// TestBondCNI checks that a network of type bond is a bond of ours. It takes no
// device of the pod, whatever its links say, and keeps its position and its name in
// the annotation. In a list, it is one if it is the first plugin; later ones are executed
// like any other.
func TestBondCNI(t *testing.T) {
	got, err := attachments(t, parse(t, `bond-cni,vf,vf,listed,later`), has("intel.com/a", "b", "a"))
	require.NoError(t, err)
	var lines []string
	for _, a := range got {
		lines = append(lines, fmt.Sprint(a.Element.Interface, " ", a.Network.Name, " ", a.Devices, " ", a.Bond))
	}
	want := []string{"net1 demo/bond-cni [] true", "net2 demo/vf [a] false", "net3 demo/vf [b] false", "net4 demo/listed [] true", "net5 demo/later [] false"}
	assert.Equal(t, want, lines)
	assert.JSONEq(t, `{"cniVersion":"0.3.1","name":"bond-cni",`+cluster["demo/bond-cni"][1:], string(got[0].Config))
	n, err := netconf.ParseNetwork(got[0].Config, "net1")
	require.NoError(t, err)
	assert.False(t, n.NeedsAgent())
	assert.Equal(t, "net3", n.Links[1].Name)
	assert.Equal(t, netconf.FromPod, n.Links[1].Source)
}

// TestBondInAList: a bond that is the first plugin of a list gets its devices. The plugins
// after it get what the pod asks for, if they declare the capability.
func TestBondInAList(t *testing.T) {
	got, err := attachments(t, parse(t, `[{"name":"followed","interface":"bond0","mac":"02:00:00:00:00:01","bandwidth":{"egressRate":1}}]`), has("intel.com/a", "0000:5e:02.1", "0000:3b:02.1"))
	require.NoError(t, err)
	assert.True(t, got[0].Bond)
	assert.Empty(t, got[0].Doubts)
	assert.JSONEq(t, `{"cniVersion":"1.0.0","name":"followed","disableCheck":true,"plugins":[
		{"type":"multibond","mac":"02:00:00:00:00:01","links":[{"deviceID":"0000:3b:02.1"},{"deviceID":"0000:5e:02.1"}]},
		{"type":"tuning","sysctl":{"x":"1"},"capabilities":{"mac":true},"runtimeConfig":{"mac":"02:00:00:00:00:01"}},
		{"type":"bandwidth","capabilities":{"bandwidth":true},"runtimeConfig":{"bandwidth":{"ingressRate":0,"ingressBurst":0,"egressRate":1,"egressBurst":0}}}]}`, string(got[0].Config))
	n, err := netconf.ParseNetwork(got[0].Config, "bond0")
	require.NoError(t, err)
	assert.Equal(t, got[0].Devices, []string{n.Links[0].Device, n.Links[1].Device})
	assert.Len(t, n.After, 2)
}

func TestDeviceIDOfTheAnnotation(t *testing.T) {
	got, err := attachments(t, parse(t, `[{"name":"vf"},{"name":"vf","deviceID":"a"},{"name":"lan","deviceID":"c"}]`), has("intel.com/a", "b", "a"), has("x", "c"))
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, got[0].Devices)
	assert.Equal(t, []string{"a"}, got[1].Devices)
	assert.Equal(t, []string{"c"}, got[2].Devices)
	_, err = attachments(t, parse(t, `[{"name":"vf","deviceID":"c"}]`), has("intel.com/a", "b", "a"), has("x", "c"))
	assert.EqualError(t, err, "network demo/vf requests device c of intel.com/a, pod demo/p has 2 (a, b)")
}

// TestNoDeviceLeft checks that a network is attached without a device of its resource, unless
// its plugin can do nothing without one.
func TestNoDeviceLeft(t *testing.T) {
	r := Resolver{NAD: nads(map[string]string{
		"demo/marked": `br/br1 {"type":"cnv-bridge"}`, "demo/vf": `intel.com/a {"type":"sriov"}`, "demo/list": `intel.com/a {"plugins":[{"type":"sriov"},{"type":"tuning"}]}`,
	})}
	node := Node{Containers: gives(has("other", "x")), PF: letterPF, InfoFile: func(Element) string { return "" }}
	got, err := Attachments(named("demo", "p"), parse(t, "marked"), r, node)
	require.NoError(t, err)
	assert.Empty(t, got[0].Devices)
	assert.NotContains(t, string(got[0].Config), "deviceID")
	for _, name := range []string{"vf", "list"} {
		_, err = Attachments(named("demo", "p"), parse(t, name), r, node)
		assert.EqualError(t, err, "network demo/"+name+" needs 1 x intel.com/a, pod demo/p has 0 (request 1 x intel.com/a in resources.limits of its containers)")
	}
}

func TestIsolationHoldsForLinksToo(t *testing.T) {
	_, err := attachments(t, parse(t, "outside"), has("intel.com/a", "a", "b"))
	assert.ErrorIs(t, err, ErrNamespace)
	assertPrefix(t, "networks[0]: network demo/outside: links[0].network: network other/vf: the pod may only use NADs of demo, default", fmt.Sprint(err))
}

func TestIsolationHoldsForTheDefaultNetworkToo(t *testing.T) {
	parse := func(annotation string) []Element {
		e, err := ParseDefaultNetwork(annotation, "demo", "system", "eth0")
		require.NoError(t, err)
		return []Element{e}
	}
	got, err := attachments(t, parse("default"), has("intel.com/a", "a", "b"))
	require.NoError(t, err)
	assert.Len(t, got[0].Devices, 2)
	assert.Equal(t, "eth0", got[0].Element.Interface)
	_, err = attachments(t, parse("other/vf"), has("intel.com/a", "a"))
	assert.ErrorIs(t, err, ErrNamespace)
}

// TestIsolationInEachWay: with isolation, a pod of demo gets NADs of demo and of the global
// namespaces, in each way in which an annotation, or a NAD that it names, can name a NAD. The
// one exception is the default network, which may be one of the cluster's own, with links of
// the same namespace.
func TestIsolationInEachWay(t *testing.T) {
	over := func(link string) string {
		return `{"type":"multibond","links":[{"network":"` + link + `"},{"network":"` + link + `"}]}`
	}
	all := map[string]string{}
	for _, namespace := range []string{"demo", "shared", "system", "other"} {
		all[namespace+"/vf"] = `{"type":"sriov"}`
		for _, of := range []string{"demo", "shared", "system", "other"} {
			all[namespace+"/over-"+of] = over(of + "/vf")
			all[namespace+"/list-"+of] = `{"plugins":[` + over(of+"/vf") + `,{"type":"tuning"}]}`
		}
		all[namespace+"/over-own"] = over("vf")
		all[namespace+"/list-own"] = `{"plugins":[` + over("vf") + `,{"type":"tuning"}]}`
	}
	r := Resolver{Isolated: true, Global: []string{"shared"}, NAD: nads(all)}
	allowed := func(e Element) bool {
		_, err := Attachments(named("demo", "p"), []Element{e}, r, Node{Containers: gives(), PF: noPF, InfoFile: func(Element) string { return "" }})
		if err != nil {
			assert.ErrorIs(t, err, ErrNamespace, "%v", e.Network)
		}
		return err == nil
	}
	inNetworks := map[string]string{ // where the NAD is: what its links may name
		"demo": "demo shared own", "shared": "demo shared own", "system": "", "other": "",
	}
	inDefault := map[string]string{
		"demo": "demo shared own", "shared": "demo shared own", "system": "demo shared system own", "other": "",
	}
	for namespace := range inNetworks {
		for _, link := range []string{"", "demo", "shared", "system", "other", "own"} {
			name := "vf"
			if link != "" {
				name = "over-" + link
			}
			for _, annotation := range []string{namespace + "/" + name, `[{"name":"` + name + `","namespace":"` + namespace + `"}]`, strings.Replace(namespace+"/"+name, "over", "list", 1)} {
				want := func(may map[string]string) bool {
					return may[namespace] != "" && (link == "" || slices.Contains(strings.Fields(may[namespace]), link))
				}
				assert.Equal(t, want(inNetworks), allowed(parse(t, annotation)[0]), "networks: %s", annotation)
				e, err := ParseDefaultNetwork(annotation, "demo", "system", "eth0")
				require.NoError(t, err)
				assert.Equal(t, want(inDefault), allowed(e), "default-network: %s", annotation)
			}
		}
	}
}

func TestAttachmentProblemsAllAtOnce(t *testing.T) {
	_, err := attachments(t, parse(t, `[{"name":"gone"},{"name":"bad"},{"name":"chained"},{"name":"pair","deviceID":"a"},{"name":"vf","namespace":"other"}]`))
	require.ErrorIs(t, err, errNoNAD)
	require.ErrorIs(t, err, ErrNamespace)
	for _, want := range []string{
		"networks[0]: network demo/gone: not found",
		"networks[1]: network demo/bad: spec.config: type: is 7, want a string",
		"networks[2]: network demo/chained: plugins[1].type: is multibond, but a bond can only be the first plugin of a list: make it the first, or a network of its own",
		"networks[3]: deviceID: is a, but network demo/pair is a bond, whose links have devices of their own",
		"networks[4]: network other/vf: the pod may only use NADs of demo, default: namespaces are isolated",
	} {
		assert.ErrorContains(t, err, want)
	}
	_, err = attachments(t, parse(t, `[{"name":"pair","bandwidth":{"ingressRate":1}},{"name":"lan"},{"name":"pair","bandwidth":{"ingressRate":1}}]`), has("intel.com/a", "a", "b", "c", "d"))
	assert.Equal(t, 2, strings.Count(fmt.Sprint(err), "no plugin of network demo/pair supports it"), err)
}

// BenchmarkLookup measures the pure part of a lookup for a pod with 8 networks, three
// of which are bonds.
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
		require.NoError(b, err)
	}
}

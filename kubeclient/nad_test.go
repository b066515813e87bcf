package kubeclient

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/strictjson"
)

var errNoNAD = errors.New("not found")

// nads returns the NADs of a cluster by "namespace/name". A value is the spec.config,
// after the name of the resource and a blank if it has one.
func nads(configs map[string]string) func(types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
	return func(ref types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		config, there := configs[ref.String()]
		if !there {
			return nil, errNoNAD
		}
		nad := &nettypes.NetworkAttachmentDefinition{}
		nad.Name, nad.Namespace = ref.Name, ref.Namespace
		if resource, rest, found := strings.Cut(config, " "); found && !strings.HasPrefix(config, "{") {
			nad.Annotations, config = map[string]string{ResourceAnnotation: resource}, rest
		}
		nad.Spec.Config = config
		return nad, nil
	}
}

// decoded returns a configuration as it is, without checking it.
func decoded(text string) Config {
	o, _ := strictjson.Decode([]byte(text), "", &bond.Problems{})
	return readConfig([]byte(text), o)
}

func resolve(t *testing.T, config string, dir fs.FS) (Network, error) {
	t.Helper()
	r := Resolver{NAD: nads(map[string]string{"demo/net-a": config}), ConfDirs: []fs.FS{dir}}
	return r.Resolve(named("demo", "net-a"), "demo")
}

func TestStandard1SpecConfig(t *testing.T) {
	for config, want := range map[string]string{
		`{"cniVersion":"1.0.0","name":"x","type":"macvlan"}`:                    `{"cniVersion":"1.0.0","name":"x","type":"macvlan"}`,
		`{ "cniVersion":"1.0.0", "name":"x", "plugins":[ {"type":"macvlan"} ]}`: `{ "cniVersion":"1.0.0", "name":"x", "plugins":[ {"type":"macvlan"} ]}`,
		`{"cniVersion":"","name":null,"type":"macvlan"}`:                        `{"cniVersion":"0.3.1","name":"net-a","type":"macvlan"}`,
	} {
		n, err := resolve(t, config, fstest.MapFS{})
		require.NoError(t, err, config)
		assert.Equal(t, named("demo", "net-a"), n.Name, config)
		assert.Empty(t, n.Resource, config)
		assert.Equal(t, want, string(n.Config.text))
	}
}

func TestStandard1MissingNameIsTheNADs(t *testing.T) {
	n, err := resolve(t, `{"type":"macvlan"}`, nil)
	require.NoError(t, err)
	assert.Equal(t, `{"name":"net-a","cniVersion":"0.3.1","type":"macvlan"}`, string(n.Config.text))
}

func TestStandard1BadSpecConfig(t *testing.T) {
	for config, problem := range map[string]string{
		`{`:                                    "is not a JSON object: unexpected end",
		`{"type":"x"} x`:                       "is not a JSON object: invalid character",
		`"x"`:                                  "is not a JSON object: json: cannot unmarshal string",
		`null`:                                 "is not a JSON object: null",
		"{\"type\":\"\xff\"}":                  "is not valid UTF-8",
		`{}`:                                   "type: is missing, want the name of a CNI plugin",
		`{"type":7}`:                           "type: is 7, want a string",
		`{"type":"../x"}`:                      `type: is "../x", which is not a valid name of a CNI plugin`,
		`{"type":"x","name":"../../etc"}`:      `name: is "../../etc", which is not a valid name of a CNI network`,
		`{"type":"x","cniVersion":1}`:          "cniVersion: is 1, want a string",
		`{"plugins":[]}`:                       "plugins: is empty, want at least one plugin",
		`{"plugins":{}}`:                       "plugins: is an object, want a list",
		`{"plugins":[{"type":"x"},{}]}`:        "plugins[1].type: is missing",
		`{"plugins":[7]}`:                      "plugins[0]: is 7, want a JSON object",
		`{"type":"x","capabilities":["ips"]}`:  "capabilities: is a list, want an object whose values are true or false",
		`{"type":"x","runtimeConfig":7}`:       "runtimeConfig: is 7, want a JSON object",
		`{"type":"x","args":7}`:                "args: is 7, want a JSON object",
		`{"type":"x","args":{"cni":["a"]}}`:    "args.cni: is a list, want a JSON object",
		`{"name":7,"plugins":[{"type":"a/b"}]`: "is not a JSON object",
	} {
		_, err := resolve(t, config, nil)
		assertPrefix(t, "network demo/net-a: spec.config: ", fmt.Sprint(err), config)
		assert.ErrorContains(t, err, problem, config)
	}
}

func TestStandard1ConfigurationDirectory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	broken := fstest.MapFS{
		"00-half.conf":       file(`{"name":"net-a","ty`),
		"00-half.conflist":   file(``),
		"01-typeless.conf":   file(`{"name":"net-a"}`),
		"dir.conf/net-a.txt": file(`{"name":"net-a","type":"in-a-directory"}`),
		"05-a.txt":           file(`{"name":"net-a","type":"no-configuration"}`),
		"06-b.conf":          file(`{"name":"net-b","type":"other"}`),
	}
	with := func(more fstest.MapFS) fstest.MapFS {
		out := fstest.MapFS{}
		for _, m := range []fstest.MapFS{broken, more} {
			for name, f := range m {
				out[name] = f
			}
		}
		return out
	}
	single := fstest.MapFS{
		"10-a.conf": file(`{"name":"net-a","type":"first"}`),
		"11-a.json": file(`{"name":"net-a","type":"second"}`),
	}
	n, err := resolve(t, " \n", with(single))
	require.NoError(t, err)
	assert.Equal(t, `{"cniVersion":"0.3.1","name":"net-a","type":"first"}`, string(n.Config.text))
	single["99-a.conflist"] = file(`{"name":"net-a","plugins":[{"type":"listed"}]}`)
	n, err = resolve(t, "", with(single))
	require.NoError(t, err)
	assert.Contains(t, string(n.Config.text), "listed", "a list comes before")
	n, err = resolve(t, "", with(fstest.MapFS{"a.json": single["11-a.json"]}))
	require.NoError(t, err)
	assert.Contains(t, string(n.Config.text), "second")
	_, err = resolve(t, "", broken)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	for _, word := range []string{"no file in the configuration directory has the name net-a", "00-half.conf: ", "00-half.conflist: ", "01-typeless.conf: has neither type nor plugins"} {
		assert.ErrorContains(t, err, word)
	}
	_, err = resolve(t, "", fstest.MapFS{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.NotContains(t, err.Error(), "could not be used")
	_, err = resolve(t, "", brokenDir{})
	assert.ErrorIs(t, err, fs.ErrPermission)
	_, err = resolve(t, "", fstest.MapFS{"a.conf": {Mode: fs.ModeSymlink, Data: []byte("nowhere")}})
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "a.conf")
}

type brokenDir struct{}

func (brokenDir) Open(string) (fs.File, error) { return nil, fs.ErrPermission }

func TestStandard8ForbiddenNADFailsThePod(t *testing.T) {
	all := map[string]string{}
	for _, ns := range []string{"demo", "default", "shared", "kube-system", "other"} {
		all[ns+"/n"] = `{"type":"macvlan"}`
	}
	for _, test := range []struct {
		r       Resolver
		from    []string
		allowed string
	}{
		{Resolver{}, []string{"demo"}, "demo default shared kube-system other"},
		{Resolver{Isolated: true}, []string{"demo"}, "demo default"},
		{Resolver{Isolated: true}, []string{"demo", "kube-system"}, "demo default kube-system"},
		{Resolver{Isolated: true, Global: []string{"shared"}}, []string{"demo"}, "demo shared"},
		{Resolver{Isolated: true, Global: []string{}}, []string{"demo"}, "demo"},
	} {
		test.r.NAD = nads(all)
		for _, ns := range []string{"demo", "default", "shared", "kube-system", "other"} {
			_, err := test.r.Resolve(named(ns, "n"), test.from...)
			if slices.Contains(strings.Fields(test.allowed), ns) {
				assert.NoError(t, err, "%+v from %v: %s/n", test.r.Global, test.from, ns)
			} else {
				assert.ErrorIs(t, err, ErrNamespace, "%+v from %v: %s/n", test.r.Global, test.from, ns)
			}
		}
	}
	r := Resolver{Isolated: true, NAD: nads(all)}
	_, err := r.Resolve(named("other", "n"), "demo")
	assert.EqualError(t, err, "network other/n: the pod may only use NADs of demo, default: namespaces are isolated")
}

func TestNADErrorIsKept(t *testing.T) {
	_, err := Resolver{NAD: nads(nil)}.Resolve(named("demo", "n"))
	assert.ErrorIs(t, err, errNoNAD)
	assert.EqualError(t, err, "network demo/n: not found")
}

func TestResourceName(t *testing.T) {
	n, err := resolve(t, `intel.com/a {"type":"sriov"}`, nil)
	require.NoError(t, err)
	assert.Equal(t, "intel.com/a", n.Resource)
}

func TestIsBond(t *testing.T) {
	for config, want := range map[string]bool{
		`{"type":"multibond","links":[]}`:            true,
		`{"type":"sriov"}`:                           false,
		`{"plugins":[{"type":"multibond"}]}`:         true,
		`{"type":"bond","links":[{}]}`:               true,
		`{"plugins":[{"type":"bond"}]}`:              true,
		`{"plugins":[{"type":"a"},{"type":"bond"}]}`: false,
		`{"plugins":[]}`:                             false,
		`{"plugins":null,"type":"multibond"}`:        true,
		`{"delegate":{"type":"multibond"}}`:          false,
		`{"type":"x","links":[{"type":"y"}]}  `:      false,
	} {
		assert.Equal(t, want, Network{Config: decoded(config)}.IsBond(), config)
	}
}

// TestConfDirOfTheCluster checks that the configuration of a NAD without one is looked for
// where the cluster's configuration says, and then in the agent's directory.
func TestConfDirOfTheCluster(t *testing.T) {
	file := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`{"cniVersion":"1.0.0","name":"` + name + `","type":"istio-cni"}`)}
	}
	m := Machine{
		Root:    fstest.MapFS{"etc/cni/multus/net.d/istio-cni.conf": file("istio-cni")},
		ConfDir: fstest.MapFS{"10-own.conf": file("own")},
	}
	for dir, found := range map[string][]string{"": {"own"}, "/etc/cni/multus/net.d": {"istio-cni", "own"}, "/etc/cni/multus/net.d/": {"istio-cni", "own"}, "/none": {"own"}} {
		for _, name := range []string{"istio-cni", "own"} {
			_, err := findConfig(m.confDirs(dir), name)
			assert.Equal(t, slices.Contains(found, name), err == nil, "%s in %q: %v", name, dir, err)
		}
	}
}

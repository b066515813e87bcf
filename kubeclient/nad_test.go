package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"k8s.io/apimachinery/pkg/types"
)

var errNoNAD = errors.New("not found")

// nads is a cluster's NADs by "namespace/name"; a value is the spec.config,
// with the resource before a blank where there is one.
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

func resolve(t *testing.T, config string, dir fs.FS) (Network, error) {
	t.Helper()
	r := Resolver{NAD: nads(map[string]string{"demo/net-a": config}), ConfDir: dir}
	return r.Resolve(named("demo", "net-a"), "demo")
}

func TestStandard1SpecConfig(t *testing.T) {
	for config, want := range map[string]string{
		`{"cniVersion":"1.0.0","name":"x","type":"macvlan"}`:                    `{"cniVersion":"1.0.0","name":"x","type":"macvlan"}`,
		`{ "cniVersion":"1.0.0", "name":"x", "plugins":[ {"type":"macvlan"} ]}`: `{ "cniVersion":"1.0.0", "name":"x", "plugins":[ {"type":"macvlan"} ]}`,
		`{"cniVersion":"","name":null,"type":"macvlan"}`:                        `{"cniVersion":"0.3.1","name":"net-a","type":"macvlan"}`,
	} {
		n, err := resolve(t, config, fstest.MapFS{})
		if err != nil || string(n.Config) != want || n.Resource != "" || n.Name != named("demo", "net-a") {
			t.Errorf("%s: %+v %s, %v", config, n, n.Config, err)
		}
	}
}

func TestStandard1MissingNameIsTheNADs(t *testing.T) {
	n, err := resolve(t, `{"type":"macvlan"}`, nil)
	if err != nil || string(n.Config) != `{"name":"net-a","cniVersion":"0.3.1","type":"macvlan"}` {
		t.Errorf("%s, %v", n.Config, err)
	}
}

func TestStandard1BadSpecConfig(t *testing.T) {
	for config, problem := range map[string]string{
		`{`:                                    "is no JSON object: unexpected end",
		`{"type":"x"} x`:                       "is no JSON object: invalid character",
		`"x"`:                                  "is no JSON object: json: cannot unmarshal string",
		`null`:                                 "is no JSON object: null",
		"{\"type\":\"\xff\"}":                  "is not valid UTF-8",
		`{}`:                                   "type: is missing, wanted is the name of a CNI plugin",
		`{"type":7}`:                           "type: is 7, wanted is a string",
		`{"type":"../x"}`:                      `type: is "../x", which is no name of a CNI plugin`,
		`{"type":"x","name":"../../etc"}`:      `name: is "../../etc", which is no name of a CNI network`,
		`{"type":"x","cniVersion":1}`:          "cniVersion: is 1, wanted is a string",
		`{"plugins":[]}`:                       "plugins: is empty, wanted is at least one plugin",
		`{"plugins":{}}`:                       "plugins: is an object, wanted is a list",
		`{"plugins":[{"type":"x"},{}]}`:        "plugins[1].type: is missing",
		`{"plugins":[7]}`:                      "plugins[0]: is 7, wanted is a JSON object",
		`{"type":"x","capabilities":["ips"]}`:  "capabilities: is a list, wanted is an object whose values are true or false",
		`{"type":"x","runtimeConfig":7}`:       "runtimeConfig: is 7, wanted is a JSON object",
		`{"type":"x","args":7}`:                "args: is 7, wanted is a JSON object",
		`{"type":"x","args":{"cni":["a"]}}`:    "args.cni: is a list, wanted is a JSON object",
		`{"name":7,"plugins":[{"type":"a/b"}]`: "is no JSON object",
	} {
		_, err := resolve(t, config, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "network demo/net-a: spec.config: ") || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v\nwanted is %q", config, err, problem)
		}
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
	if err != nil || string(n.Config) != `{"cniVersion":"0.3.1","name":"net-a","type":"first"}` {
		t.Errorf("%s, %v", n.Config, err)
	}
	single["99-a.conflist"] = file(`{"name":"net-a","plugins":[{"type":"listed"}]}`)
	if n, err = resolve(t, "", with(single)); err != nil || !strings.Contains(string(n.Config), "listed") {
		t.Errorf("a list comes before: %s, %v", n.Config, err)
	}
	if n, err = resolve(t, "", with(fstest.MapFS{"a.json": single["11-a.json"]})); err != nil || !strings.Contains(string(n.Config), "second") {
		t.Errorf("%s, %v", n.Config, err)
	}
	_, err = resolve(t, "", broken)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	for _, word := range []string{"no file of the configuration directory has the name net-a", "00-half.conf: ", "00-half.conflist: ", "01-typeless.conf: has no type and no plugins"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v\nwanted is %q", err, word)
		}
	}
	if _, err = resolve(t, "", fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "could not be used") {
		t.Errorf("%v", err)
	}
	if _, err = resolve(t, "", brokenDir{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
	unreadable := fstest.MapFS{"a.conf": {Mode: fs.ModeSymlink, Data: []byte("nowhere")}}
	if _, err = resolve(t, "", unreadable); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a.conf") {
		t.Errorf("%v", err)
	}
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
			allowed := strings.Contains(" "+test.allowed+" ", " "+ns+" ")
			if allowed && err != nil || !allowed && !errors.Is(err, ErrNamespace) {
				t.Errorf("%+v from %v: %s/n: %v", test.r.Global, test.from, ns, err)
			}
		}
	}
	r := Resolver{Isolated: true, NAD: nads(all)}
	_, err := r.Resolve(named("other", "n"), "demo")
	if got := fmt.Sprint(err); got != "network other/n: NADs can be named in demo, default only: namespaces are isolated" {
		t.Error(got)
	}
}

func TestNADErrorIsKept(t *testing.T) {
	_, err := Resolver{NAD: nads(nil)}.Resolve(named("demo", "n"))
	if !errors.Is(err, errNoNAD) || err.Error() != "network demo/n: not found" {
		t.Error(err)
	}
}

func TestResourceName(t *testing.T) {
	n, err := resolve(t, `intel.com/a {"type":"sriov"}`, nil)
	if err != nil || n.Resource != "intel.com/a" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestIsBond(t *testing.T) {
	for config, want := range map[string]bool{
		`{"type":"multibond","links":[]}`:       true,
		`{"type":"sriov"}`:                      false,
		`{"plugins":[{"type":"multibond"}]}`:    false,
		`{"type":"bond","links":[{}]}`:          true,
		`{"plugins":[{"type":"bond"}]}`:         false,
		`{"plugins":null,"type":"multibond"}`:   true,
		`{"delegate":{"type":"multibond"}}`:     false,
		`{"type":"x","links":[{"type":"y"}]}  `: false,
	} {
		if got := (Network{Config: json.RawMessage(config)}).IsBond(); got != want {
			t.Errorf("%s: %v", config, got)
		}
	}
}

func FuzzNADConfig(f *testing.F) {
	for _, seed := range []string{
		`{"type":"macvlan"}`, `{"name":"x","cniVersion":"1.0.0","plugins":[{"type":"sriov","capabilities":{"ips":true,"mac":true,"deviceID":true}},{"type":"tuning"}]}`,
		`{"type":"multibond","links":[{"resourceName":"a/b","count":2},{"network":"x/y"},{"request":"r"},{"deviceID":"0000:3B:02.1"}],"ipam":{"type":"static"}}`,
		`{"type":"sriov","args":{"cni":{"a":1}},"runtimeConfig":{"mac":"x"}}`, `{"plugins":[null]}`, `[null]`, `null`,
	} {
		f.Add(seed)
	}
	link := Network{Name: named("x", "y"), Resource: "a/c", Config: json.RawMessage(`{"type":"sriov"}`)}
	e := Element{Path: "networks[0]", IPs: []string{"10.0.0.1"}, MAC: "02:00:00:00:00:01", CNIArgs: map[string]json.RawMessage{"a": []byte("2")}}
	f.Fuzz(func(t *testing.T, text string) {
		config, err := ParseConfig([]byte(text), "net-a")
		if err != nil {
			return
		}
		again, err := ParseConfig(config, "other")
		if err != nil || string(again) != string(config) {
			t.Fatalf("%q became %q, then %q, %v", text, config, again, err)
		}
		n := Network{Name: named("demo", "net-a"), Config: config}
		if n.IsBond() {
			b, err := ReadBond(n, func(types.NamespacedName) (Network, error) { return link, nil })
			if err != nil {
				return
			}
			n = b.Network(slices.Repeat([]string{"0000:3b:02.0"}, len(b.Need().Wants)))
		}
		out, err := n.Configure(e, "0000:3b:02.1", "/x")
		if !json.Valid(out) {
			t.Fatalf("%q became %q, %v", text, out, err)
		}
	})
}

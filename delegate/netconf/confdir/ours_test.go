package confdir

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	ourList = `{"cniVersion": "1.0.0", "name": "m", "plugins": [{"type": "multibond", "defaultNetwork": {}}]}`
	chained = `{"name":"m","plugins":[{"defaultNetwork":{},"type":"multibond"},{"type":"istio-cni"}],"cniVersion":"1.0.0"}`
	cilium  = `{"name": "cilium", "plugins": [{"type": "cilium-cni"}]}`
)

// files makes a directory of pairs of a name and a text.
func files(pairs ...string) fstest.MapFS {
	dir := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		dir[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return dir
}

// TestLook has what neighbours are known to do to the directory of the runtime.
func TestLook(t *testing.T) {
	for name, test := range map[string]struct {
		dir   fstest.MapFS
		want  Standing
		words string
	}{
		"installed":                 {files(Ours, ourList, Installed, ourList, "05-cilium.conflist", cilium), Standing{State: Used, First: Ours}, "takes " + Ours},
		"written by hand":           {files(Ours, ourList), Standing{State: Used, First: Ours}, ""},
		"nothing":                   {files(), Standing{State: Absent}, "is not installed"},
		"beside Multus":             {files("00-multus.conf", cilium), Standing{State: Absent, First: "00-multus.conf"}, ""},
		"beside Multus, left":       {files(Installed, "", Ours, ourList), Standing{State: Extra, First: Ours}, "another meta plugin calls Multibond"},
		"chained":                   {files(Ours, chained, Installed, ourList), Standing{State: Used, First: Ours, Others: []string{"istio-cni"}}, "appended istio-cni"},
		"renamed by Cilium":         {files(Ours+".cilium_bak", ourList, Installed, ourList, "05-cilium.conflist", cilium), Standing{State: Renamed, First: "05-cilium.conflist", RenamedTo: Ours + ".cilium_bak"}, "cni.exclusive=false"},
		"renamed by another":        {files(Ours+".bak", ourList, Installed, ourList), Standing{State: Renamed, RenamedTo: Ours + ".bak"}, "no pod starts"},
		"removed":                   {files(Installed, ourList, "05-cilium.conflist", cilium), Standing{State: Gone, First: "05-cilium.conflist"}, "is gone: the container runtime takes 05-cilium.conflist"},
		"another sorts first":       {files(Ours, ourList, Installed, ourList, "00-aaa.conf", cilium), Standing{State: Behind, First: "00-aaa.conf"}, "remove or rename 00-aaa.conf"},
		"by hand, and behind":       {files(Ours, ourList, "00-aaa.conf", cilium), Standing{State: Behind, First: "00-aaa.conf"}, ""},
		"half":                      {files(Ours, ourList[:40], Installed, ourList), Standing{State: Changed, First: Ours}, "is not what was installed"},
		"another's plugin is first": {files(Ours, strings.Replace(ourList, `[{`, `[{"type": "x"}, {`, 1), Installed, ourList), Standing{State: Changed, First: Ours, Others: []string{"x"}}, ""},
		"another name":              {files(Ours, strings.Replace(ourList, `"m"`, `"n"`, 1), Installed, ourList), Standing{State: Changed, First: Ours}, ""},
		"given up":                  {files(Installed, ourList, GivenUp, "gave up after 5 times\n"), Standing{State: Gone, GivenUp: "gave up after 5 times"}, "; gave up after 5 times"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Look(test.dir)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			assert.Contains(t, got.String(), test.words)
			assert.Equal(t, got.State == Used || got.State == Absent, got.OK())
		})
	}
}

// TestWithOthers checks that only our own plugins are replaced. What is formatted in
// another way stays as it is.
func TestWithOthers(t *testing.T) {
	const newer = `{"cniVersion": "1.0.0", "name": "m", "plugins": [{"type": "multibond", "defaultNetwork": {"name": "x"}}]}`
	const both = `{"cniVersion": "1.0.0", "name": "m", "plugins": [{"type": "multibond", "defaultNetwork": {"name": "x"}}, {"type":"istio-cni"}]}`
	for _, test := range []struct {
		name, text, now, installed, want string
	}{
		{"nothing there", ourList, "", "", ourList},
		{"no list there", ourList, `{"type": "x"}`, "", ourList},
		{"half a list there", ourList, chained[:40], ourList, ourList},
		{"the same", ourList, chained, ourList, chained},
		{"changed", newer, chained, ourList, both},
		{"by an older installer", newer, chained, "", both},
		{"an older one of ours", newer, strings.Replace(chained, "istio-cni", "tuning", 1), strings.Replace(chained, "istio-cni", "tuning", 1), newer},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := WithOthers([]byte(test.text), []byte(test.now), []byte(test.installed))
			assert.Equal(t, test.want, string(got))
		})
	}
}

// TestWithoutRepeated checks that a mesh's plugin that is in our list and in the default
// network's runs once, and that the administrator's own choice stays.
func TestWithoutRepeated(t *testing.T) {
	const (
		calico = `{"name": "k8s", "plugins": [{"type": "calico"}, {"type": "tuning"}, {"type": "istio-cni"}, {"type": "portmap"}]}`
		once   = `{"name": "k8s", "plugins": [{"type": "calico"}, {"type": "tuning"}, {"type": "portmap"}]}`
	)
	tuned := strings.Replace(ourList, "}]}", `}, {"type": "tuning"}]}`, 1)
	for _, test := range []struct {
		name string
		dir  fstest.MapFS
		raw  string
		want string
	}{
		{"chained into both", files(Ours, chained, Installed, ourList), calico, once},
		{"chained into the default network's", files(Ours, ourList, Installed, ourList), calico, calico},
		{"the administrator's own in both", files(Ours, tuned, Installed, tuned), calico, calico},
		{"it is not known who chained", files(Ours, chained), calico, calico},
		{"the only plugin", files(Ours, chained, Installed, ourList), `{"type": "istio-cni"}`, `{"type": "istio-cni"}`},
		{"half of ours", files(Ours, chained[:30], Installed, ourList), calico, calico},
		{"none of ours", files(), calico, calico},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, string(WithoutRepeated([]byte(test.raw), test.dir)))
		})
	}
}

package admission

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/kubeclient"
)

var update = flag.Bool("update", false, "write the policies of deploy")

// made are the policies of deploy, and what each is made from.
var made = map[string]string{
	injectFile:   "testdata/inject.yaml",
	validateFile: "testdata/validate.yaml",
}

const (
	injectFile   = "../../deploy/inject/policy.yaml"
	validateFile = "../../deploy/validate/policy.yaml"
)

// TestMade checks that the policies are what is made from their templates. With -update it
// writes them.
func TestMade(t *testing.T) {
	for file, from := range made {
		text := fill(t, from)
		if *update {
			require.NoError(t, os.WriteFile(file, text, 0o644))
		}
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(text), string(got), "%s: cd tests/admission && go test -update", file)
	}
}

// fill fills a template with the agent's own names, and with expressions for JSON.
func fill(t *testing.T, from string) []byte {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	to, err := template.New(from).Option("missingkey=error").Funcs(template.FuncMap{"fold": fold}).Parse(string(text))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, to.Execute(&out, words))
	return out.Bytes()
}

var words = map[string]any{
	"Networks": kubeclient.NetworksAnnotation,
	"Resource": kubeclient.ResourceAnnotation,
	"Marker":   "multibond.io/resources",
	"Bond":     "multibond",
	"BondCNI":  netconf.BondCNI,

	"List":   `^\s*\[` + inside(depth) + `\]\s*$`,
	"Config": `^\s*\{` + inside(depth) + `\}\s*$`,
	"Object": `\{` + inside(depth) + `\}`,
	"Member": text + `\s*:\s*(?:` + text + `|[\[{]` + inside(depth) + `[\]}]|[^\s,:"\[\]{}]+)`,
	"Value":  `"[^"]*"$`,
	"Count":  `^"count"\s*:\s*[0-9]{1,2}$`,
	"Key":    `^` + text,
	"IsBond": `^"type"\s*:\s*"multibond"$`,
	// A comma before the end of a list or an object, or none between two values.
	"Broken":   `^(?:[^"]|` + text + `)*(?:,\s*[}\]]|(?:` + text + `|[}\]])\s*["{\[])`,
	"Brackets": `[\[\]{}]|` + text,
	"Name":     `^(?:` + label + `/)?` + label + `(?:\.` + label + `)*$`,

	"Keys":      list(netconf.Keys()),
	"LinkKeys":  list(netconf.LinkKeys()),
	"LinkWords": strings.Join(netconf.LinkKeys(), ", "),
	"Sources":   `['"resourceName"', '"request"', '"network"', '"deviceID"', '"pool"']`,
	"Modes":     strings.ReplaceAll(strings.Join(modes, "|"), ".", `\.`),
	"ModeWords": strings.Join(modes, ", "),
	"TwoVFs":    `for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]`,

	"NotJSON": code.NotJSON, "LaterBond": code.LaterBond, "FewLinks": code.FewLinks, "UnknownKey": code.UnknownKey, "SeveralSources": code.SeveralSources,
	"NoSource": code.NoSource, "LinkCount": code.LinkCount, "BadValue": code.BadValue, "LACPOverVFs": code.LACPOverVFs, "SRIOVWord": code.SRIOVWord,
	"ForcedState": code.ForcedState, "BadAnnotation": code.BadAnnotation, "NetworkName": code.NetworkName, "BadInterface": code.BadInterface, "SameInterface": code.SameInterface,
}

var modes = []string{bond.BalanceRR, bond.ActiveBackup, bond.BalanceXOR, bond.Broadcast, bond.LACP, bond.BalanceTLB, bond.BalanceALB}

// label is a label of a name in Kubernetes.
const label = `[a-z0-9](?:[-a-z0-9]*[a-z0-9])?`

// list is a list of strings in CEL.
func list(all []string) string { return "['" + strings.Join(all, "', '") + "']" }

// fold is the expression for a key without what people spell differently.
func fold(key string) string { return key + ".lowerAscii().replace('_', '').replace('-', '')" }

// depth is how deep lists and objects may be nested in what is looked at. The deepest that
// has been seen is a plugin's args in a list of plugins of a link's config: 7.
const depth = 8

// text is a string of JSON.
const text = `"(?:[^"\\]|\\.)*"`

// inside is what can be inside of a list or an object of JSON that has so many levels.
func inside(levels int) string {
	if levels == 1 {
		return `(?:[^"\[\]{}]|` + text + `)*`
	}
	return `(?:[^"\[\]{}]|` + text + `|[\[{]` + inside(levels-1) + `[\]}])*`
}

// manifest returns the policies and bindings of a file. If kinds are named, it leaves out all
// others.
func manifest[P, B any](t testing.TB, file string, kinds ...string) (policies []*P, bindings []*B) {
	t.Helper()
	all, err := os.ReadFile(file)
	require.NoError(t, err)
	for one := range strings.SplitSeq(string(all), "\n---\n") {
		var head struct{ Kind string }
		require.NoError(t, yaml.Unmarshal([]byte(one), &head))
		if len(kinds) > 0 && !slices.Contains(kinds, head.Kind) {
			continue
		}
		if strings.HasSuffix(head.Kind, "Binding") {
			bindings = append(bindings, read[B](t, one))
		} else {
			policies = append(policies, read[P](t, one))
		}
	}
	return policies, bindings
}

// read reads an object strictly.
func read[T any](t testing.TB, text string) *T {
	t.Helper()
	into := new(T)
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), into), text)
	return into
}

// onlyMutating is the only policy of a file.
func onlyMutating(t testing.TB, file string) *admissionv1.MutatingAdmissionPolicy {
	policies, bindings := manifest[admissionv1.MutatingAdmissionPolicy, admissionv1.MutatingAdmissionPolicyBinding](t, file)
	require.Len(t, policies, 1)
	require.Len(t, bindings, 1)
	require.Equal(t, policies[0].Name, bindings[0].Spec.PolicyName)
	return policies[0]
}

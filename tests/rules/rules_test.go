// Package rules tests the rules about imports that the design relies on. The message
// of each gives the reason.
package rules

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/multibond/multibond/"

// reserved lists the packages that only some packages and those below them may import.
var reserved = []struct {
	imported string
	only     []string
	reason   string
}{
	{"github.com/vishvananda/", []string{"bond"}, "netlink and network namespaces enter the project in bond, so that the fake kernel stands for all of it"},
	{"k8s.io/", []string{"kubeclient", "cmd/multibondctl"}, "Kubernetes enters the project in kubeclient; the operator's tool is a plugin of kubectl"},
	{"k8s.io/cli-runtime/", []string{"cmd/multibondctl"}, "kubectl's flags are the operator's tool's"},
	{"github.com/spf13/", []string{"cmd/multibondctl"}, "the other programs need no more flags than Go's own package has"},
}

// order lists the folders from the lowest up. Imports go down only.
var order = []string{"bond", "delegate", "kubeclient", "cmd", "tests"}

// rooms lists the packages of delegate. Each imports only those of the rows before it.
var rooms = [][]string{
	{"delegate/cnierror", "delegate/strictjson", "delegate/atomicfile", "delegate/dirwatch"},
	{"delegate/invoke", "delegate/agentapi"},
	{"delegate/netconf"},
	{"delegate/netconf/confdir"},
	{"delegate/plan"},
	{"delegate/record"},
	{"delegate"},
}

// room returns the row of a package in rooms, or -1.
func room(path string) int {
	return slices.IndexFunc(rooms, func(row []string) bool { return slices.Contains(row, strings.TrimPrefix(path, module)) })
}

type goPackage struct {
	ImportPath           string
	Imports, TestImports []string
	XTestImports         []string
}

func list(t *testing.T, args ...string) (packages []goPackage) {
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports", "-tags", "lab"}, args...)...)
	out, err := cmd.Output()
	require.NoError(t, err, "%v", cmd.Args)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if err == io.EOF {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

// folder returns the top-level folder of a package of this module.
func folder(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
	return first
}

func TestImports(t *testing.T) {
	packages := list(t, module+"...")
	require.GreaterOrEqual(t, len(packages), 4, "%v", packages)
	for _, p := range packages {
		own := folder(p.ImportPath)
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			checkReserved(t, strings.TrimPrefix(p.ImportPath, module), imported)
			if strings.HasPrefix(imported, module) {
				assert.LessOrEqual(t, slices.Index(order, folder(imported)), slices.Index(order, own),
					"%s imports %s: imports run cmd -> kubeclient -> delegate -> bond, so that each can be understood without those above it", p.ImportPath, imported)
			}
		}
	}
}

// TestRooms checks that the rooms of delegate can be read from the lowest up.
func TestRooms(t *testing.T) {
	for _, p := range list(t, module+"delegate/...") {
		own := room(p.ImportPath)
		assert.GreaterOrEqual(t, own, 0, "%s is in no row of rooms: say in this test which rooms it may import", p.ImportPath)
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imported, module+"delegate") && imported != p.ImportPath {
				assert.Less(t, room(imported), own, "%s imports %s: the rooms of delegate import one way only, cnierror, strictjson, atomicfile <- invoke, agentapi <- netconf <- plan <- record <- delegate, so that each can be read without those above it", p.ImportPath, imported)
			}
		}
	}
}

// pure lists the packages that depend on their arguments alone, and the imports that
// would let them look at more.
var pure = struct {
	packages, forbidden []string
}{
	[]string{"delegate/netconf", "delegate/plan"},
	[]string{"os", "os/exec", "io/fs", "net", "syscall", "golang.org/x/sys/unix", module + "delegate/netconf/confdir", module + "delegate/record"},
}

func TestPure(t *testing.T) {
	for _, p := range list(t, module+"delegate/...") {
		if !slices.Contains(pure.packages, strings.TrimPrefix(p.ImportPath, module)) {
			continue
		}
		for _, imported := range p.Imports {
			assert.NotContains(t, pure.forbidden, imported, "%s imports %s: what a configuration means and what will be done for it are functions of their arguments, so that a plan can be printed, stored and compared; whoever calls them looks at the machine", p.ImportPath, imported)
		}
	}
}

// carriers lists the packages that execute plugins and record what is done.
var carriers = []string{"delegate/invoke", "delegate/record"}

// mayCarry lists the packages outside of delegate that may import carriers, with the
// reason.
var mayCarry = map[string]string{
	"cmd/multibond":       "it makes a Host of them, and prints a result",
	"cmd/multibond-agent": "the uninstaller reads which pods still have Records",

	"cmd/multibondctl/written": "a test makes a Host over a fake kernel, to compare its verdict with that of validate",
}

func TestCarriers(t *testing.T) {
	for _, p := range list(t, module+"...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			what := strings.TrimPrefix(imported, module)
			if path != what && slices.Contains(carriers, what) && folder(p.ImportPath) != "delegate" {
				assert.Contains(t, mayCarry, path, "%s imports %s: plugins are executed, and Records written, by delegate alone, so that one restore knows of all that was done", p.ImportPath, imported)
			}
			if folder(p.ImportPath) == "kubeclient" {
				assert.NotEqual(t, "delegate", what, "%s imports %s: the agent answers and watches; it has no Host, Store or Runner, and can change nothing on its node", p.ImportPath, imported)
			}
		}
	}
}

func checkReserved(t *testing.T, path, imported string) {
	for _, r := range reserved {
		if strings.HasPrefix(imported, r.imported) {
			may := func(only string) bool { return path == only || strings.HasPrefix(path, only+"/") }
			assert.True(t, slices.ContainsFunc(r.only, may), "%s imports %s: %s", path, imported, r.reason)
		}
	}
}

// heavy lists what must not be linked into the plugin, with the reason.
var heavy = map[string]string{
	"k8s.io/":                  "the plugin has no API access",
	"net/http":                 "the plugin starts twice per pod, and an HTTP stack is a third of such a binary",
	"go.opentelemetry.io/":     "it comes with an HTTP stack",
	"google.golang.org/grpc":   "the kubelet is the agent's to ask",
	"github.com/stretchr/":     "tests only",
	"github.com/google/go-cmp": "tests only",
}

func TestPluginIsLight(t *testing.T) {
	packages := list(t, "-deps", module+"cmd/multibond")
	require.GreaterOrEqual(t, len(packages), 50)
	for _, p := range packages {
		for prefix, reason := range heavy {
			assert.False(t, strings.HasPrefix(p.ImportPath, prefix), "the plugin links %s: %s", p.ImportPath, reason)
		}
	}
}

// TestNoProgramRenders checks that kustomize stays with the tests of the manifests. The
// operator's tool has it by kubectl's flags.
func TestNoProgramRenders(t *testing.T) {
	for _, p := range list(t, "-deps", module+"cmd/multibond", module+"cmd/multibond-agent") {
		assert.False(t, strings.HasPrefix(p.ImportPath, "sigs.k8s.io/kustomize"), "a program links %s: tests only", p.ImportPath)
	}
}

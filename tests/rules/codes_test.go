package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCodes: each code is used, and has the number that it has always had. A code that is
// retired stays in the list, so that nothing else gets its number.
func TestCodes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "bond/code/testdata/codes"))
	require.NoError(t, err)
	listed, numbers := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		require.Len(t, words, 2, "bond/code/testdata/codes: %s", line)
		require.Emptyf(t, numbers[words[0]], "two codes have the number %s", words[0])
		listed[words[1]], numbers[words[0]] = words[0], words[1]
	}
	used := map[string]bool{}
	var declared []string
	inspect(t, func(path string, n ast.Node) {
		if s, is := n.(*ast.SelectorExpr); is && isName(s.X, "code") {
			used[s.Sel.Name] = true
		}
		if v, is := n.(*ast.ValueSpec); is && filepath.Dir(path) == "bond/code" && isName(v.Type, "Code") {
			name := v.Names[0].Name
			assert.Equalf(t, listed[name], v.Values[0].(*ast.BasicLit).Value, "%s: add it to bond/code/testdata/codes, or give it its number there", name)
			declared = append(declared, name)
		}
	})
	require.NotEmpty(t, declared)
	for _, name := range declared {
		assert.Truef(t, used[name], "nothing uses code.%s", name)
	}
}

// TestProblemsHaveCodes: a user can ask about each problem. Problems.Add takes a code; what
// is made without it names one.
func TestProblemsHaveCodes(t *testing.T) {
	inspect(t, func(path string, n ast.Node) {
		lit, is := n.(*ast.CompositeLit)
		if !is || len(lit.Elts) == 0 {
			return
		}
		if s, qualified := lit.Type.(*ast.SelectorExpr); !isName(lit.Type, "Problem") && !(qualified && s.Sel.Name == "Problem") {
			return
		}
		for _, e := range lit.Elts {
			if pair, is := e.(*ast.KeyValueExpr); is && isName(pair.Key, "Code") {
				return
			}
		}
		assert.Failf(t, "a problem without a code", "%s: name the kind of problem, of package bond/code", path)
	})
}

func isName(e ast.Expr, name string) bool {
	ident, is := e.(*ast.Ident)
	return is && ident.Name == name
}

// inspect calls do for each node of each Go file of the programs, without tests.
func inspect(t *testing.T, do func(path string, n ast.Node)) {
	t.Helper()
	for _, dir := range []string{"bond", "delegate", "kubeclient", "cmd"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			short, _ := filepath.Rel(root, path)
			ast.Inspect(file, func(n ast.Node) bool { do(short, n); return true })
			return nil
		}))
	}
}

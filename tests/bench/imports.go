package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Import is the code and data that one package adds to the plugin's binary,
// summed over its symbols.
type Import struct {
	Package string `json:"package"`
	Bytes   int    `json:"bytes"`
}

// imports reports the size of the plugin and of its packages, the largest first.
func (r *Report) imports(ctx context.Context) error {
	plugin := filepath.Join(binDir, "multibond")
	st, err := os.Stat(plugin)
	if err != nil {
		return err
	}
	r.PluginBytes = int(st.Size())
	if st, err := os.Stat(filepath.Join(binDir, "other")); err == nil {
		r.OtherBytes = int(st.Size())
		fmt.Printf("the other version of the plugin has %d bytes\n", r.OtherBytes)
	}
	whole := filepath.Join(stateDir, "multibond-with-symbols")
	if err := buildWith(ctx, "", ".", whole, "./cmd/multibond"); err != nil {
		return err
	}
	out, err := command(ctx, "go", "tool", "nm", "-size", whole).Output()
	if err != nil {
		return err
	}
	r.Imports = weigh(out)
	fmt.Printf("the plugin has %d bytes; the heaviest of %d packages:", r.PluginBytes, len(r.Imports))
	for _, one := range r.Imports[:min(8, len(r.Imports))] {
		fmt.Printf(" %s %d,", one.Package, one.Bytes)
	}
	fmt.Println()
	return nil
}

// weigh sums the sizes of symbols by package. It reads what go tool nm -size
// prints.
func weigh(symbols []byte) (all []Import) {
	sums := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(symbols)); lines.Scan(); {
		var address, size, kind, name string
		if n, _ := fmt.Sscan(lines.Text(), &address, &size, &kind, &name); n < 4 || strings.ContainsAny(kind, "bBU") {
			continue // zeroed data takes no room in the file
		}
		n := 0
		fmt.Sscan(size, &n)
		sums[packageOf(name)] += n
	}
	for name, n := range sums {
		all = append(all, Import{name, n})
	}
	slices.SortFunc(all, func(a, b Import) int { return cmp.Or(b.Bytes-a.Bytes, cmp.Compare(a.Package, b.Package)) })
	return all
}

// packageOf returns the package of a symbol: "encoding/json" for
// "encoding/json.(*decodeState).value". Symbols that the linker makes have none.
func packageOf(symbol string) string {
	symbol, _, _ = strings.Cut(symbol, "[") // of a generic function
	slash := strings.LastIndexByte(symbol, '/')
	name, _, has := strings.Cut(symbol[slash+1:], ".")
	if !has || strings.ContainsAny(symbol[:slash+1]+name, ":*( ") {
		return "(types and tables)"
	}
	return symbol[:slash+1] + name
}

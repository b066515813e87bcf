package netconf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLimits: what is as large as a limit is accepted, and what is larger by one refused.
func TestLimits(t *testing.T) {
	const plugin = `, {"type": "x"}`
	network := func(name, links string) string {
		return fmt.Sprintf(`{"name": %q, "links": [{"deviceID": "0000:3b:02.0"}, %s]}`, name, links)
	}
	links := func(n int) string {
		list := []string{`{"name": "l1"}`}
		for i := 2; i <= n; i++ {
			list = append(list, fmt.Sprintf(`{"name": "l%d"}`, i))
		}
		return strings.Join(list, ", ")
	}
	for _, test := range []struct{ name, most, more, text string }{
		{"links", network("n", links(31)), network("n", links(32)), "network n: links: has 33 links, want at most 32"},
		{"name of a link", network("n", `{"name": "fifteen-bytes-1"}`), network("n", `{"name": "sixteen-bytes-16"}`),
			`network n: links[1].name: is "sixteen-bytes-16", which has 16 bytes, but an interface name has at most 15`},
		{"name", network(strings.Repeat("n", 255), links(1)), network(strings.Repeat("n", 256), links(1)), "name: has 256 bytes, want at most 255"},
		{"plugins of a list",
			network("n", `{"config": {"plugins": [{"type": "x"}`+strings.Repeat(plugin, 31)+`]}}`),
			network("n", `{"config": {"plugins": [{"type": "x"}`+strings.Repeat(plugin, 32)+`]}}`),
			"network n: links[1].config.plugins: has 33 plugins, want at most 32"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseNetwork([]byte(test.most), "bond0")
			require.NoError(t, err)
			_, err = ParseNetwork([]byte(test.more), "bond0")
			assert.EqualError(t, err, test.text)
		})
	}
}

package agentapi

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/delegate/atomicfile"
)

// TestHosts: the file is as keep expects it, sorted, and is read as it was written.
func TestHosts(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hosts.json")
	_, err := ReadHosts(name)
	require.ErrorIs(t, err, fs.ErrNotExist)

	eth1 := func(ip string) []HostNIC { return []HostNIC{{"eth1", []netip.Prefix{netip.MustParsePrefix(ip)}}} }
	h := Hosts{Self: Self{0, "n1"}, Hosts: []PeerHost{{2, "n3", eth1("fd00::3/64")}, {1, "n2", eth1("10.0.1.2/24")}}}
	require.NoError(t, h.Write(name))
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, `{"version":1,"self":{"index":0,"node":"n1"},"hosts":[`+
		`{"index":1,"node":"n2","nics":[{"name":"eth1","addresses":["10.0.1.2/24"]}]},`+
		`{"index":2,"node":"n3","nics":[{"name":"eth1","addresses":["fd00::3/64"]}]}]}`+"\n", string(raw))
	assert.Equal(t, "n3", h.Hosts[0].Node, "Write changes nothing of its argument")
	read, err := ReadHosts(name)
	require.NoError(t, err)
	assert.Equal(t, Hosts{h.Self, []PeerHost{h.Hosts[1], h.Hosts[0]}}, read)

	require.NoError(t, Hosts{Self: Self{3, "n4"}}.Write(name))
	raw, err = os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, `{"version":1,"self":{"index":3,"node":"n4"},"hosts":[]}`+"\n", string(raw))
}

// TestHostsOfTwoAgents: an update has two agents on a node for a while, and what they write at
// the same time is whole.
func TestHostsOfTwoAgents(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hosts.json")
	require.NoError(t, Hosts{Self: Self{0, "n1"}}.Write(name))
	var writing sync.WaitGroup
	for i := range 2 {
		writing.Go(func() {
			for range 100 {
				assert.NoError(t, Hosts{Self: Self{i, "n1"}, Hosts: make([]PeerHost, 0, i)}.Write(name))
			}
		})
	}
	for range 100 {
		_, err := ReadHosts(name)
		require.NoError(t, err)
	}
	writing.Wait()
	files, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	assert.Len(t, files, 1)
}

// TestHostsOfEnemies: a host that tells too much of itself, and what is no file, keep nobody
// waiting.
func TestHostsOfEnemies(t *testing.T) {
	many := func(text string) string { return strings.TrimSuffix(strings.Repeat(text+",", 100), ",") }
	h, err := parseHosts(fmt.Appendf(nil, `{"version":1,"self":{"node":"a"},"hosts":[{"index":1,"node":"b","nics":[{},%s]},{"index":2,"node":"c","nics":[{"name":"eth1","addresses":[%s]},{"name":"eth2","addresses":["10.0.0.1/8"]}]}]}`,
		many(`{"name":"eth1"}`), many(`"10.0.0.1/8"`)))
	require.NoError(t, err)
	assert.Len(t, h.Hosts[0].NICs, maxNICs)
	assert.Len(t, h.Hosts[1].NICs[0].Addresses, maxAddresses)
	assert.Empty(t, h.Hosts[1].NICs[1].Addresses)

	name := filepath.Join(t.TempDir(), "hosts.json")
	require.NoError(t, Hosts{Self: Self{0, "n1"}}.Write(name))
	require.NoError(t, os.Symlink(name, name+".link"))
	_, err = ReadHosts(name + ".link")
	require.ErrorIs(t, err, unix.ELOOP)
	require.NoError(t, unix.Mkfifo(name+".fifo", 0o600))
	_, err = ReadHosts(name + ".fifo")
	require.ErrorContains(t, err, "it is no regular file")
	require.NoError(t, os.WriteFile(name, make([]byte, maxHostsFile+1), 0o600))
	_, err = ReadHosts(name)
	require.ErrorIs(t, err, atomicfile.ErrTooLarge)
}

// TestParseHosts: what is damaged, or of another release, is refused.
func TestParseHosts(t *testing.T) {
	for text, want := range map[string]string{
		`{`:             "unexpected end of JSON input",
		`{"version":2}`: "version is 2, want 1 (plugin, agent and keep should be of one release)",
		`{"version":1,"self":{"node":"a"},"hosts":[` + strings.Repeat("{},", maxHosts) + `{}]}`: "hosts has more than 65536 elements",
		`{"version":1,"self":{"node":"a"},"hosts":{}}`:                                          "{ is no list",
		`{"version":1}`: `self is "" with index 0, want a node and its index`,
		`{"version":1,"self":{"node":"a"},"hosts":[{"index":1}]}`:                                                  `hosts[0] is "" with index 1, want a node and its index`,
		`{"version":1,"self":{"node":"a"},"hosts":[{"index":0,"node":"b"}]}`:                                       "hosts[0].index is 0, which a already has",
		`{"version":1,"self":{"node":"a"},"hosts":[{"index":1,"node":"b"},{"index":1,"node":"c"}]}`:                "hosts[1].index is 1, which b already has",
		`{"version":1,"self":{"node":"a"},"hosts":[{"index":1,"node":"b","nics":[{"name":"e","addresses":[1]}]}]}`: "json: cannot unmarshal number",
	} {
		_, err := parseHosts([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}

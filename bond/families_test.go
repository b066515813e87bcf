package bond

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOneNetlinkFamily: opening a namespace opens sockets of NETLINK_ROUTE and
// of no other family. bond-cni opens all families and fails on kernels without
// xfrm.
func TestOneNetlinkFamily(t *testing.T) {
	before := families(t)
	host, err := System{}.Host()
	require.NoError(t, err)
	defer host.Close()
	after := families(t)
	require.Greater(t, after["0"], before["0"], "sockets of NETLINK_ROUTE")
	for family, n := range after {
		if family != "0" {
			assert.LessOrEqual(t, n, before[family], "sockets of netlink family %s", family)
		}
	}
}

// families counts the netlink sockets of this process by family, numbered as in
// include/uapi/linux/netlink.h.
func families(t *testing.T) map[string]int {
	t.Helper()
	own := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			own[to] = true
		}
	}
	text, err := os.ReadFile("/proc/self/net/netlink")
	require.NoError(t, err)
	count := map[string]int{}
	for line := range strings.Lines(string(text)) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		if words := strings.Fields(line); len(words) == 10 && own["socket:["+words[9]+"]"] {
			count[words[1]]++
		}
	}
	return count
}

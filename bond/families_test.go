package bond

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneNetlinkFamily: a namespace is opened with sockets of NETLINK_ROUTE
// and of no other family. Observed of bond-cni: it opens all of them, and fails
// on kernels without xfrm.
func TestOneNetlinkFamily(t *testing.T) {
	before := families(t)
	host, err := System{}.Host()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	after := families(t)
	if after["0"] <= before["0"] {
		t.Fatalf("no socket of NETLINK_ROUTE was opened: %v, %v", before, after)
	}
	for family, n := range after {
		if family != "0" && n > before[family] {
			t.Errorf("%d sockets of netlink family %s were opened", n-before[family], family)
		}
	}
}

// families counts this process's netlink sockets by their family, as numbered
// in include/uapi/linux/netlink.h.
func families(t *testing.T) map[string]int {
	t.Helper()
	own := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			own[to] = true
		}
	}
	text, err := os.ReadFile("/proc/self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(text)) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		if words := strings.Fields(line); len(words) == 10 && own["socket:["+words[9]+"]"] {
			count[words[1]]++
		}
	}
	return count
}

package bond

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond/code"
)

func TestNearest(t *testing.T) {
	for typed, want := range map[string]string{
		"miimn":            "miimon",
		"mimon":            "miimon",
		"miimonn":          "miimon",
		"mii_mon":          "miimon",
		"MIIMON":           "miimon",
		"fail_over_mac":    "failOverMac",
		"failovermac":      "failOverMac",
		"failOverMAC":      "failOverMac",
		"fail-over-mac":    "failOverMac",
		"xmit_hash_policy": "xmitHashPolicy",
		"xmitHashPolcy":    "xmitHashPolicy",
		"arp_ip_target":    "arpIpTarget",
		"arpIpTargets":     "arpIpTarget",
		"arpTarget":        "arpIpTarget",
		"downdealy":        "downdelay",
		"up_delay":         "updelay",
		"moed":             "mode",
		"mtuu":             "mtu",
		"primry":           "primary",
		"tlb_dynamic_lb":   "tlbDynamicLb",
		"lacp_rate":        "lacpRate",
		"bandwidth":        "",
		"":                 "",
		"x":                "",
		"ipam":             "",
		"subnet":           "",
	} {
		assert.Equal(t, want, Nearest(typed, OptionKeys()), typed)
	}
	for typed, want := range map[string]string{
		"active_backup": ActiveBackup, "activebackup": ActiveBackup, "Active-Backup": ActiveBackup, "active-backp": ActiveBackup,
		"balance-alb ": BalanceALB, "balancerr": BalanceRR, "802.3ab": LACP, "lacp": "", "roundrobin": "", "broadcst": Broadcast,
	} {
		assert.Equal(t, want, Nearest(typed, modeNames), typed)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "a", 0}, {"a", "b", 1}, {"ab", "ba", 1}, {"abc", "ac", 1}, {"ac", "abc", 1}, {"abcd", "badc", 2}, {"abc", "abcdef", 3}, {"", "ab", 2},
	} {
		assert.Equal(t, c.want, distance(c.a, c.b), "%s to %s", c.a, c.b)
		assert.Equal(t, c.want, distance(c.b, c.a), "%s to %s", c.b, c.a)
	}
}

func TestProblems(t *testing.T) {
	var p Problems
	require.NoError(t, p.Err())
	p.Add(code.NoDevice, "links[1].deviceID", "use another", "is %s", "0000:01:10.0")
	p.Add(code.NoDevice, "", "", "nothing at all")
	p.Add(code.NoDevice, "links[1].deviceID", "use another", "is %s", "0000:01:10.0") // the same again
	assert.Equal(t, Problems{{code.NoDevice, "links[1].deviceID", "is 0000:01:10.0", "use another"}, {Code: code.NoDevice, Text: "nothing at all"}}, p)
	assert.EqualError(t, p.Err(), "links[1].deviceID: is 0000:01:10.0 (use another); nothing at all")

	var one Problem
	assert.ErrorAs(t, p.Err(), &one)
	assert.Equal(t, p[0], one)
	assert.ErrorIs(t, p.Err(), p[1])
}

// TestProblemsHaveAnEnd: an input that is wrong a million times gets a hundred
// problems.
func TestProblemsHaveAnEnd(t *testing.T) {
	var problems Problems
	for i := range 1_000_000 {
		problems.Add(code.NoDevice, fmt.Sprintf("a[%d]", i), "", "is wrong")
	}
	require.Len(t, problems, 101)
	assert.EqualError(t, problems[99], "a[99]: is wrong")
	assert.EqualError(t, problems[100], "there are more problems")
}

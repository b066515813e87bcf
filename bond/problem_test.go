package bond

import (
	"errors"
	"fmt"
	"testing"
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
		equal(t, typed, want, Nearest(typed, OptionKeys()))
	}
	for typed, want := range map[string]string{
		"active_backup": ActiveBackup, "activebackup": ActiveBackup, "Active-Backup": ActiveBackup, "active-backp": ActiveBackup,
		"balance-alb ": BalanceALB, "balancerr": BalanceRR, "802.3ab": LACP, "lacp": "", "roundrobin": "", "broadcst": Broadcast,
	} {
		equal(t, typed, want, Nearest(typed, modeNames))
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "a", 0}, {"a", "b", 1}, {"ab", "ba", 1}, {"abc", "ac", 1}, {"ac", "abc", 1}, {"abcd", "badc", 2}, {"abc", "abcdef", 3}, {"", "ab", 2},
	} {
		equal(t, c.a+" to "+c.b, c.want, distance(c.a, c.b))
		equal(t, c.b+" to "+c.a, c.want, distance(c.b, c.a))
	}
}

func TestProblems(t *testing.T) {
	var p Problems
	noError(t, "none", p.Err())
	p.Add("links[1].deviceID", "use another", "is %s", "0000:01:10.0")
	p.Add("", "", "nothing at all")
	p.Add("links[1].deviceID", "use another", "is %s", "0000:01:10.0") // once
	equal(t, "problems", Problems{{"links[1].deviceID", "is 0000:01:10.0", "use another"}, {"", "nothing at all", ""}}, p)
	equal(t, "text", "links[1].deviceID: is 0000:01:10.0 (use another); nothing at all", p.Err().Error())

	var one Problem
	equal(t, "a problem is found", true, errors.As(p.Err(), &one))
	equal(t, "the first", p[0], one)
	equal(t, "each is found", true, errors.Is(p.Err(), p[1]))
}

// TestProblemsHaveAnEnd: an input that is wrong a million times is not answered
// a million times.
func TestProblemsHaveAnEnd(t *testing.T) {
	var problems Problems
	for i := range 1_000_000 {
		problems.Add(fmt.Sprintf("a[%d]", i), "", "is wrong")
	}
	if last := problems[len(problems)-1]; len(problems) != 101 || last.Error() != "and more" || problems[99].Error() != "a[99]: is wrong" {
		t.Errorf("%d problems, the last one %v", len(problems), last)
	}
}

//go:build lab

package bond

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ip runs iproute2, which is not ours.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// space makes a network namespace for one test.
func space(t *testing.T, name string) *namespace {
	t.Helper()
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "del", name) })
	n, err := System{}.Open("/run/netns/" + name)
	noError(t, name, err)
	t.Cleanup(func() { n.Close() })
	return n.(*namespace)
}

func host(t *testing.T) *namespace {
	t.Helper()
	n, err := System{}.Host()
	noError(t, "host", err)
	t.Cleanup(func() { n.Close() })
	return n.(*namespace)
}

func find(t *testing.T, n Namespace, name string) Link {
	t.Helper()
	l, err := n.Link(name)
	noError(t, name, err)
	return l
}

// borrow moves a VF of the host into a namespace, until the test ends.
func borrow(t *testing.T, to Namespace, name string) Link {
	t.Helper()
	home := host(t)
	before := find(t, home, name)
	noError(t, name, home.Change(before.Index, Change{Namespace: to}))
	t.Cleanup(func() {
		links, err := to.Links()
		noError(t, "links", err)
		l, there := Find(links, func(l Link) bool { return l.Device == before.Device })
		if !there {
			t.Fatalf("%s is lost", name)
		}
		noError(t, "return", to.Change(l.Index, Change{Namespace: home, Name: &before.Name, MAC: &before.MAC, MTU: &before.MTU}))
	})
	return find(t, to, name)
}

// keptAnyway are the options that the kernel takes in modes where it never looks
// at them; the table refuses them there.
var keptAnyway = []string{FailOverMac, "xmitHashPolicy", arpIPTarget, nsIP6Target, "arpAllTargets", "numGratArp", notifDelay,
	"lpInterval", "adSelect", "primaryReselect"}

// older says whether this kernel is older than the version since.
func older(t *testing.T, since string) bool {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	noError(t, "release", err)
	number := func(version string) int {
		var major, minor int
		_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
		noError(t, version, err)
		return major*1000 + minor
	}
	return since != "" && number(string(release)) < number(since)
}

// TestLabOptions makes a bond with each value of each option in each mode, and
// reads it back. A mode that lacks the option, by the table, is refused by the
// kernel, in the kernel's own words.
func TestLabOptions(t *testing.T) {
	n := space(t, "options")
	partners := map[string]Options{
		updelay:     {Miimon: "1"},
		downdelay:   {Miimon: "1"},
		arpIPTarget: {arpInterval: "100"},
		arpValidate: {arpInterval: "100", arpIPTarget: "10.0.0.1"},
		notifDelay:  {Miimon: "1"},
		nsIP6Target: {arpInterval: "100"},
	}
	for _, row := range table {
		if row.key == Mode || row.key == Primary || row.once || row.perLink || row.ours {
			continue // the mode is in each; the others are where there are links, or not the kernel's
		}
		for _, mode := range modeNames {
			for _, text := range samples(t, row) {
				o := Options{Mode: mode, row.key: text}
				refused := !row.hasMode(mode) && !row.always && text != row.unset && !slices.Contains(keptAnyway, row.key)
				if row.hasMode(mode) || row.key == notifDelay {
					for k, v := range partners[row.key] {
						o[k] = v
					}
				}
				b, err := n.CreateBond("bond0", o)
				if errors.Is(err, unix.EOPNOTSUPP) && older(t, row.since) { // it can have got the option later, as Debian's 6.1 has coupled_control
					want := fmt.Sprintf("creating bond bond0: operation not supported: %s: is %s, and this kernel does not have it; Linux %s and later do (leave it out, or use a newer kernel)", row.key, text, row.since)
					equal(t, "text", want, fmt.Sprint(err))
					_, err := n.Link("bond0")
					equal(t, "nothing is made", true, errors.Is(err, fs.ErrNotExist))
					continue
				}
				if refused {
					equal(t, o.String()+": class", true, errors.Is(err, unix.EACCES))
					want := fmt.Sprintf("creating bond bond0 (%s): permission denied: option not supported in mode", o)
					equal(t, "text", want, fmt.Sprint(err))
					_, err := n.Link("bond0")
					equal(t, "nothing is made", true, errors.Is(err, fs.ErrNotExist))
					continue
				}
				noError(t, o.String(), err)
				equal(t, o.String(), nil, o.Differences(b.Options))
				noError(t, "delete", n.Delete(b.Index))
			}
		}
	}
}

// TestLabLinkOptions gives a link in a bond each value of each option in each
// mode, and reads it back.
func TestLabLinkOptions(t *testing.T) {
	n := space(t, "linkoptions")
	ip(t, "-n", "linkoptions", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	for _, mode := range modeNames {
		for _, row := range table {
			if !row.perLink {
				continue
			}
			b, err := n.CreateBond("bond0", Options{Mode: mode, Miimon: "100"})
			noError(t, mode, err)
			v0 := find(t, n, "v0")
			down := false
			noError(t, "down", n.Change(v0.Index, Change{Up: &down}))
			noError(t, "enslave", n.Change(v0.Index, Change{Master: &b.Index}))
			had, reported := find(t, n, "v0").Options[row.key]
			if reported {
				equal(t, row.key+" unset", row.unset, had)
			}
			for _, text := range samples(t, row) {
				if text == row.unset {
					continue
				}
				what := fmt.Sprintf("%s %s in %s", row.key, text, mode)
				err := n.Change(v0.Index, Change{Options: Options{row.key: text}})
				switch {
				case errors.Is(err, unix.EOPNOTSUPP) && older(t, row.since):
					equal(t, what, fmt.Sprintf("operation not supported: %s: is %s, and this kernel does not have it; Linux %s and later do (leave it out, or use a newer kernel)", row.key, text, row.since), err.Error())
				case !row.hasMode(mode):
					equal(t, what, "permission denied: option not supported in mode", fmt.Sprint(err))
				default:
					noError(t, what, err)
					equal(t, what, text, find(t, n, "v0").Options[row.key])
				}
			}
			noError(t, "delete", n.Delete(b.Index))
			equal(t, "out of the bond", nil, find(t, n, "v0").Options)
		}
	}
}

// TestLabQueueTwice: two links with one queue the kernel refuses, and a queue
// that the bond does not have, in words that name neither.
func TestLabQueueTwice(t *testing.T) {
	n := space(t, "queues")
	ip(t, "-n", "queues", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	b, err := n.CreateBond("bond0", Options{Mode: BalanceRR, Miimon: "100"})
	noError(t, "bond", err)
	for i, name := range []string{"v0", "v1"} {
		l := find(t, n, name)
		noError(t, name, n.Change(l.Index, Change{Master: &b.Index}))
		err := n.Change(l.Index, Change{Options: Options{queueID: "1"}})
		equal(t, name+": "+fmt.Sprint(err), i == 1, errors.Is(err, unix.EPERM))
		err = n.Change(l.Index, Change{Options: Options{queueID: fmt.Sprint(maxQueue + 1)}})
		equal(t, name+": "+fmt.Sprint(err), true, errors.Is(err, unix.EPERM))
	}
}

// TestLabActivate: the link that is asked for is the active one, in each mode
// that has one, and by either kind of monitoring.
func TestLabActivate(t *testing.T) {
	n := space(t, "activate")
	for _, peer := range []string{"v", "w"} {
		ip(t, "-n", "activate", "link", "add", peer+"0", "type", "veth", "peer", "name", peer+"1")
		ip(t, "-n", "activate", "link", "set", peer+"1", "up")
	}
	for _, o := range []Options{
		{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active"},
		{Mode: ActiveBackup, Miimon: "100", updelay: "500"},
		{Mode: ActiveBackup, arpInterval: "100", arpIPTarget: "10.0.0.9"},
		{Mode: BalanceTLB, Miimon: "100"},
		{Mode: BalanceALB, Miimon: "100", Primary: "v0", reselect: "failure"},
	} {
		o[activeSlave] = "w0"
		s := Spec{Name: "bond0", Options: o, Links: []string{"v0", "w0"}}
		b, err := Build(n, s, []Link{find(t, n, "v0"), find(t, n, "w0")})
		noError(t, o.String(), err)
		noError(t, o.String(), Activate(n, s))
		active, err := exec.Command("ip", "netns", "exec", "activate", "cat", "/sys/class/net/bond0/bonding/active_slave").Output()
		noError(t, "sysfs", err)
		equal(t, o.String(), "w0\n", string(active))
		noError(t, "delete", n.Delete(b.Index))
	}
}

// TestLabUnset: what the table says the kernel has where nothing is sent.
func TestLabUnset(t *testing.T) {
	n := space(t, "unset")
	for _, mode := range modeNames {
		b, err := n.CreateBond("bond0", Options{Mode: mode})
		noError(t, mode, err)
		for _, row := range table {
			if _, reported := b.Options[row.key]; !reported && older(t, row.since) {
				continue
			}
			if row.unset != "" && row.key != Mode && row.hasMode(mode) && !row.perLink && !row.ours {
				equal(t, mode+" "+row.key, row.unset, b.Options[row.key])
			}
		}
		// The kernel's document says 100 in all modes.
		want := "0"
		if slices.Contains([]string{LACP, BalanceTLB, BalanceALB}, mode) {
			want = "100"
		}
		equal(t, mode+" miimon", want, b.Options[Miimon])
		noError(t, "delete", n.Delete(b.Index))
	}
}

// TestLabParsed: what ParseOptions makes of nothing but a mode, a bond can be
// made with.
func TestLabParsed(t *testing.T) {
	n := space(t, "parsed")
	for _, mode := range modeNames {
		o, problems := ParseOptions(rawOptions(t, `{"mode":"`+mode+`"}`), nil, nil)
		noError(t, mode, problems.Err())
		b, err := n.CreateBond("bond0", o)
		noError(t, mode, err)
		equal(t, mode, nil, o.Differences(b.Options))
		noError(t, "delete", n.Delete(b.Index))
	}
}

// TestLabNames: the kernel refuses what CheckName refuses; what CheckName takes
// is made, under that very name.
func TestLabNames(t *testing.T) {
	n := space(t, "names")
	for _, name := range []string{"a", "...", "eth0.100", "x-y_z@!", "é", strings.Repeat("n", 15), "\x7f", "a\x85b"} {
		noError(t, name, CheckName(name))
		b, err := n.CreateBond(name, Options{Mode: ActiveBackup})
		noError(t, name, err)
		equal(t, "name", name, b.Name)
		noError(t, name, n.Delete(b.Index))
	}
	for _, name := range []string{"", ".", "..", "a/b", "a:b", "a b", "a\n", "à", "b%x", strings.Repeat("n", 16)} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken", name)
		}
		if name == "" {
			continue // the kernel chooses one
		}
		if _, err := n.CreateBond(name, Options{Mode: ActiveBackup}); err == nil {
			t.Errorf("the kernel takes %q", name)
		}
	}
}

// TestLabHost: the host's namespace is this process's, even while the process's
// first thread is at work elsewhere.
func TestLabHost(t *testing.T) {
	elsewhere := space(t, "elsewhere")
	id := host(t).ID()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				noErrorGo(t, elsewhere.inside(func() error { time.Sleep(time.Millisecond); return nil }))
			}
		})
		wg.Go(func() {
			for range 40 {
				n, err := System{}.Host()
				if noErrorGo(t, err); err == nil {
					equal(t, "ID", id, n.ID())
					n.Close()
				}
			}
		})
	}
	wg.Wait()
}

func noErrorGo(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

func TestLabOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "left")
	noError(t, "file", os.WriteFile(file, nil, 0o600))
	for path, gone := range map[string]bool{
		"/run/netns/nope": true, "/proc/4194305/ns/net": true, file: true, t.TempDir(): true, "/proc/self/ns/mnt": false, "/proc/self/status": false,
	} {
		n, err := System{}.Open(path)
		if err == nil {
			n.Close()
			t.Fatalf("%s: no error", path)
		}
		equal(t, path+": "+err.Error(), gone, errors.Is(err, fs.ErrNotExist))
	}

	// The path comes back with another namespace: another ID.
	first := space(t, "one")
	ip(t, "netns", "del", "one")
	ip(t, "netns", "add", "one")
	second, err := System{}.Open("/run/netns/one")
	noError(t, "second", err)
	defer second.Close()
	if first.ID() == second.ID() {
		t.Errorf("both have the ID %s", first.ID())
	}
	_, err = first.Links() // the handle still works, and keeps its namespace
	noError(t, "first", err)
}

// TestLabNamespaceID: namespaces that come and go at one path all have their
// own ID, though the kernel gives them the same inode again.
func TestLabNamespaceID(t *testing.T) {
	const times = 10
	ids, inodes := map[string]bool{}, map[uint64]bool{}
	for range times {
		ip(t, "netns", "add", "again")
		n, err := System{}.Open("/run/netns/again")
		noError(t, "open", err)
		var st unix.Stat_t
		noError(t, "stat", unix.Fstat(int(n.(*namespace).file.Fd()), &st))
		ids[n.ID()], inodes[st.Ino] = true, true
		equal(t, "form of "+n.ID(), true, regexp.MustCompile(`^cookie:[1-9][0-9]*$`).MatchString(n.ID()))
		noError(t, "close", n.Close())
		ip(t, "netns", "del", "again")
		time.Sleep(100 * time.Millisecond) // the kernel removes it in its own time
	}
	equal(t, "IDs", times, len(ids))
	t.Logf("%d inodes", len(inodes))

	// An error that is not "no such option" gives no ID at all.
	file, err := os.Open("/proc/self/ns/net")
	noError(t, "file", err)
	defer file.Close()
	_, err = identify(file, int(file.Fd()))
	equal(t, "no socket", true, errors.Is(err, unix.ENOTSOCK))
}

// TestLabLeaks: neither a descriptor nor a thread stays.
func TestLabLeaks(t *testing.T) {
	space(t, "leaks")
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		noError(t, dir, err)
		return len(entries)
	}
	use := func() {
		n, err := System{}.Open("/run/netns/leaks")
		noError(t, "open", err)
		defer n.Close()
		lo := find(t, n, "lo")
		up := true
		noError(t, "up", n.Change(lo.Index, Change{Up: &up}))
		noError(t, "configure", n.Configure(lo.Index, Addresses{IPs: []netip.Prefix{prefix("fd00::1/128")}}))
		noError(t, "announce", n.Announce(lo.Index, nil)) // opens the packet socket
		System{}.Open("/proc/self/ns/mnt")                // an error on the way
	}
	for range 10 {
		use()
	}
	files, threads := count("/proc/self/fd"), count("/proc/self/task")
	for range 100 {
		use()
	}
	equal(t, "files", files, count("/proc/self/fd"))
	if now := count("/proc/self/task"); now > threads+3 {
		t.Errorf("%d threads, were %d", now, threads)
	}
}

// TestLabAnnounce: a peer sees exactly the frames.
func TestLabAnnounce(t *testing.T) {
	here, there := space(t, "here"), space(t, "there")
	ip(t, "-n", "here", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "there")
	ip(t, "-n", "here", "link", "set", "v0", "up")
	ip(t, "-n", "there", "link", "set", "v1", "up")
	v0, v1 := find(t, here, "v0"), find(t, there, "v1")
	peer := -1
	noError(t, "socket", there.inside(func() (err error) {
		peer, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
		return err
	}))
	defer unix.Close(peer)
	noError(t, "bind", unix.Bind(peer, &unix.SockaddrLinklayer{Ifindex: v1.Index, Protocol: networkOrder(unix.ETH_P_ALL)}))
	noError(t, "patience", unix.SetsockoptTimeval(peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))

	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	noError(t, "announce", here.Announce(v0.Index, addrs))
	mac, err := net.ParseMAC(v0.MAC)
	noError(t, "MAC", err)
	for _, a := range addrs {
		want := announcement(mac, a)
		frame := make([]byte, 2000)
		for {
			n, _, err := unix.Recvfrom(peer, frame, 0)
			noError(t, a.String(), err)
			if slices.Equal(frame[:n], want) {
				break // others are the kernel's own
			}
		}
	}
}

// TestLabDevice: the kernel says the PCI address of a NIC's link, and of no other.
func TestLabDevice(t *testing.T) {
	n := host(t)
	links, err := n.Links()
	noError(t, "links", err)
	found := 0
	for _, l := range links {
		equal(t, l.Name, l, find(t, n, l.Name))
		if l.Device != "" {
			found++
		}
	}
	equal(t, "with a device", true, found >= 2+8)
	equal(t, "one", "0000:01:10.0", find(t, n, "enp1s0v0").Device)
	equal(t, "lo", "", find(t, n, "lo").Device)
	b, err := n.CreateBond("devicetest", Options{Mode: ActiveBackup})
	noError(t, "bond", err)
	equal(t, "bond", "", b.Device)
	noError(t, "delete", n.Delete(b.Index))
}

// TestLabMany: lists longer than one message.
func TestLabMany(t *testing.T) {
	n := space(t, "many")
	const bonds, addresses = 40, 300
	for i := range bonds {
		_, err := n.CreateBond(fmt.Sprintf("b%d", i), Options{Mode: ActiveBackup, Miimon: "100"})
		noError(t, "bond", err)
	}
	links, err := n.Links()
	noError(t, "links", err)
	equal(t, "links", bonds+1, len(links)) // and lo
	b := find(t, n, "b0")
	up := true
	noError(t, "up", n.Change(b.Index, Change{Up: &up}))
	var a Addresses
	for i := range addresses {
		a.IPs = append(a.IPs, prefix(fmt.Sprintf("10.%d.%d.1/24", i/256, i%256)), prefix(fmt.Sprintf("fd00:0:0:%x::1/64", i)))
	}
	noError(t, "configure", n.Configure(b.Index, a))
	got, err := n.Addresses(b.Index)
	noError(t, "addresses", err)
	byText := func(x, y netip.Prefix) int { return strings.Compare(x.String(), y.String()) }
	slices.SortFunc(a.IPs, byText)
	slices.SortFunc(got.IPs, byText)
	equal(t, "addresses", a, got)
	noError(t, "flush", n.Flush(b.Index))
	got, err = n.Addresses(b.Index)
	noError(t, "addresses", err)
	equal(t, "flushed", Addresses{}, got)
}

// TestLabIPv6AtOnce: an address can be bound to as soon as Configure returns,
// without a carrier and where the runtime had turned IPv6 off.
func TestLabIPv6AtOnce(t *testing.T) {
	n := space(t, "sixth")
	ip(t, "netns", "exec", "sixth", "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
	b, err := n.CreateBond("bond0", Options{Mode: ActiveBackup, Miimon: "100"})
	noError(t, "bond", err)
	up := true
	noError(t, "up", n.Change(b.Index, Change{Up: &up}))
	a := Addresses{IPs: []netip.Prefix{prefix("fd00::1/64")}, Routes: []Route{{Dst: prefix("::/0"), Gateway: netip.MustParseAddr("fd00::ff")}}}
	noError(t, "configure", n.Configure(b.Index, a))
	noError(t, "bind", n.inside(func() error {
		s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		return unix.Bind(s, &unix.SockaddrInet6{Addr: a.IPs[0].Addr().As16()})
	}))
	out, err := exec.Command("ip", "-n", "sixth", "-6", "addr", "show", "dev", "bond0", "tentative").Output()
	noError(t, "ip", err)
	equal(t, "tentative", "", strings.TrimSpace(string(out)))
}

// TestLabFlush: addresses of every kind go, one with a peer and link-local ones
// too.
func TestLabFlush(t *testing.T) {
	n := space(t, "flush")
	ip(t, "-n", "flush", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	ip(t, "-n", "flush", "link", "set", "v1", "up")
	ip(t, "-n", "flush", "link", "set", "v0", "up")
	for _, a := range [][]string{{"10.0.0.1/24"}, {"10.0.0.2/24"}, {"10.0.0.1/16"}, {"10.1.0.1", "peer", "10.1.0.2/32"}, {"fd00::1/64"}, {"fd01::1", "peer", "fd01::2/128"}, {"fe80::77/64"}} {
		ip(t, append([]string{"-n", "flush", "addr", "add", "dev", "v0"}, a...)...)
	}
	ip(t, "-n", "flush", "route", "add", "10.9.0.0/16", "via", "10.0.0.9")
	ip(t, "-n", "flush", "-6", "route", "add", "fd09::/64", "via", "fe80::1", "dev", "v0")
	v0 := find(t, n, "v0")
	noError(t, "flush", n.Flush(v0.Index))
	out, err := exec.Command("ip", "-n", "flush", "addr", "show", "dev", "v0").Output()
	noError(t, "ip", err)
	equal(t, "left", false, strings.Contains(string(out), "inet"))
	for _, family := range []string{"-4", "-6"} {
		out, err := exec.Command("ip", "-n", "flush", family, "route", "show", "dev", "v0").Output()
		noError(t, "ip", err)
		if strings.Contains(string(out), "via") {
			t.Errorf("left: %s", out)
		}
	}
}

// shown is what iproute2 says of a link's addresses and routes, in an order
// that does not depend on who was added first.
func shown(t *testing.T, space, link string) []string {
	t.Helper()
	var out []string
	for _, args := range [][]string{{"addr", "show", "dev", link}, {"-4", "route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"}} {
		text, err := exec.Command("ip", append([]string{"-n", space}, args...)...).Output()
		noError(t, "ip", err)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		slices.Sort(lines)
		out = append(out, lines...)
	}
	return out
}

// TestLabRoundTrip: what Addresses reads, Configure puts back, by iproute2's
// word: peers, a gateway behind another route, and what a route has.
func TestLabRoundTrip(t *testing.T) {
	n := space(t, "round")
	ip(t, "-n", "round", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	ip(t, "-n", "round", "link", "set", "v1", "up")
	ip(t, "-n", "round", "link", "set", "v0", "up")
	for _, a := range []string{"10.0.0.1/24 brd +", "10.0.0.2/24 brd +", "10.1.0.1 peer 10.1.0.2/32", "10.2.0.1 peer 10.2.0.9/24",
		"fd00::1/64 nodad", "fd00::2/64 nodad", "fd01::1 peer fd01::2/128 nodad"} {
		ip(t, append([]string{"-n", "round", "addr", "add", "dev", "v0"}, strings.Fields(a)...)...)
	}
	for _, r := range []string{
		"169.254.1.1 dev v0 scope link", "default via 169.254.1.1 dev v0", // dumped in the other order
		"10.3.0.0/16 via 10.1.0.2", "10.4.0.0/16 via 192.0.2.1 dev v0 onlink", "10.5.0.0/16 via 10.0.0.9 src 10.0.0.2 proto static metric 7",
		"10.6.0.0/16 dev v0 proto bird src 10.2.0.1", "10.7.0.0/16 via 10.0.0.9 mtu 1300 advmss 1200 table 100", "10.8.0.0/16 via inet6 fd00::9 dev v0",
		"fd12::1 dev v0", "fd11::/64 via fd12::1 dev v0", "default via fe80::1 dev v0 metric 9",
		"fd13::/64 via fd99::1 dev v0 onlink", "fd14::/64 via fd00::9 src fd00::1 proto static", "fd15::/64 via fd00::9 mtu 1300 table 100",
	} {
		ip(t, append([]string{"-n", "round", "route", "add"}, strings.Fields(r)...)...)
	}
	v0 := find(t, n, "v0")
	had, err := n.Addresses(v0.Index)
	noError(t, "addresses", err)
	equal(t, "default", true, had.Default)
	record, err := json.Marshal(had)
	noError(t, "record", err)
	var recorded Addresses
	noError(t, "record", json.Unmarshal(record, &recorded))
	// The flush takes the link-local address for good, which has two lines and a route.
	withoutLinkLocal := func() []string {
		return slices.DeleteFunc(shown(t, "round", "v0"), func(line string) bool {
			return strings.Contains(line, "fe80::") && !strings.Contains(line, "via") || strings.Contains(line, "valid_lft forever")
		})
	}
	before := withoutLinkLocal()

	noError(t, "flush", n.Flush(v0.Index))
	empty, err := n.Addresses(v0.Index)
	noError(t, "addresses", err)
	equal(t, "flushed", Addresses{}, empty)
	noError(t, "configure", n.Configure(v0.Index, recorded))
	equal(t, "iproute2", before, withoutLinkLocal())
	again, err := n.Addresses(v0.Index)
	noError(t, "addresses", err)
	for _, a := range []Addresses{had, again} { // the kernel lists the newest IPv6 address first
		slices.SortFunc(a.IPs, netip.Prefix.Compare)
	}
	equal(t, "addresses", had, again)
}

// TestLabDefault: default routes of each kind, by the link that they leave by.
func TestLabDefault(t *testing.T) {
	for _, c := range []struct {
		route          string
		first, second  bool
		firstIsListed  bool
		secondIsListed bool
	}{
		{route: "10.9.0.0/16 via 10.0.0.9", firstIsListed: true},
		{route: "default via 10.0.0.9", first: true, firstIsListed: true},
		{route: "default dev v0 table 77", first: true, firstIsListed: true},
		{route: "default via 10.0.0.9 proto ra", first: true},
		{route: "default via fd00::9 proto ra", first: true},
		{route: "default via fd01::9", second: true, secondIsListed: true},
		{route: "unreachable default"},
		{route: "default nexthop via 10.0.0.9 nexthop via 10.1.0.9", first: true, second: true},
		{route: "default nexthop via fd00::9 nexthop via fd01::9", first: true, second: true},
		{route: "10.9.0.0/16 nexthop via 10.0.0.9 nexthop via 10.1.0.9"},
		{route: "default nhid 5", first: true, firstIsListed: true},
		{route: "default nhid 7", first: true, second: true},
	} {
		t.Run(c.route, func(t *testing.T) {
			n := space(t, "default")
			ip(t, "-n", "default", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
			for i, link := range []string{"v0", "v1"} {
				ip(t, "-n", "default", "link", "set", link, "up")
				ip(t, "-n", "default", "addr", "add", fmt.Sprintf("10.%d.0.1/24", i), "dev", link)
				ip(t, "-n", "default", "addr", "add", fmt.Sprintf("fd0%d::1/64", i), "dev", link, "nodad")
			}
			for _, hop := range []string{"id 5 via 10.0.0.9 dev v0", "id 6 via 10.1.0.9 dev v1", "id 7 group 5/6"} {
				ip(t, append([]string{"-n", "default", "nexthop", "add"}, strings.Fields(hop)...)...)
			}
			ip(t, append([]string{"-n", "default", "route", "add"}, strings.Fields(c.route)...)...)
			first, err := n.Addresses(find(t, n, "v0").Index)
			noError(t, "v0", err)
			second, err := n.Addresses(find(t, n, "v1").Index)
			noError(t, "v1", err)
			equal(t, "v0", c.first, first.Default)
			equal(t, "v1", c.second, second.Default)
			equal(t, "v0 listed", c.firstIsListed, len(first.Routes) > 0)
			equal(t, "v1 listed", c.secondIsListed, len(second.Routes) > 0)
		})
	}
}

// TestLabIndex: a link that moves keeps its index only where it is free.
func TestLabIndex(t *testing.T) {
	n := space(t, "index")
	vf := find(t, host(t), "enp1s0v0")
	for {
		b, err := n.CreateBond(fmt.Sprintf("b%d", vf.Index), Options{Mode: ActiveBackup})
		noError(t, "bond", err)
		if b.Index >= vf.Index {
			break
		}
		noError(t, "rename", n.Change(b.Index, Change{Name: ptr(fmt.Sprintf("other%d", b.Index))}))
	}
	moved := borrow(t, n, "enp1s0v0")
	if moved.Index == vf.Index || moved.Device != vf.Device {
		t.Errorf("index %d, was %d; device %s", moved.Index, vf.Index, moved.Device)
	}
}

// TestLabRename: a link that is up is renamed from kernel 6.2 on.
func TestLabRename(t *testing.T) {
	n := space(t, "rename")
	b, err := n.CreateBond("bond0", Options{Mode: ActiveBackup})
	noError(t, "bond", err)
	noError(t, "up", n.Change(b.Index, Change{Up: ptr(true)}))
	var u unix.Utsname
	noError(t, "uname", unix.Uname(&u))
	var want error
	if release := unix.ByteSliceToString(u.Release[:]); strings.HasPrefix(release, "6.1.") {
		want = unix.EBUSY
	}
	if err := n.Change(b.Index, Change{Name: ptr("bond1")}); !errors.Is(err, want) {
		t.Errorf("%v, wanted is %v", err, want)
	}
}

// TestLabAltNames: a link is found by an alternative name, which nobody else
// can have then.
func TestLabAltNames(t *testing.T) {
	n := space(t, "alt")
	b, err := n.CreateBond("bond0", Options{Mode: ActiveBackup})
	noError(t, "bond", err)
	ip(t, "-n", "alt", "link", "property", "add", "dev", "bond0", "altname", "other", "altname", "a-name-of-more-than-15")
	l := find(t, n, "other")
	equal(t, "index", b.Index, l.Index)
	equal(t, "names", []string{"other", "a-name-of-more-than-15"}, l.AltNames)
	_, err = n.CreateBond("other", Options{Mode: ActiveBackup})
	equal(t, "taken", true, errors.Is(err, unix.EEXIST))
	links, err := n.Links()
	noError(t, "links", err)
	taken, there := Taken(links, "other")
	equal(t, "taken", true, there)
	equal(t, "by", "bond0", taken.Name)
}

// TestLabKernelWords: the kernel's own words are in the errors.
func TestLabKernelWords(t *testing.T) {
	n := space(t, "words")
	vf := borrow(t, n, "enp2s0v1")
	b, err := n.CreateBond("bond0", Options{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active"})
	noError(t, "bond", err)
	noError(t, "up", n.Change(vf.Index, Change{Up: ptr(true)}))
	words := map[string]error{
		"operation not permitted: Device can not be enslaved while up": n.Change(vf.Index, Change{Master: &b.Index}),
		"invalid argument: mtu greater than device maximum":            n.Change(vf.Index, Change{MTU: ptr(99999)}),
		"invalid argument: mtu less than device minimum":               n.Change(vf.Index, Change{MTU: ptr(10)}),
		"network is unreachable: Nexthop has invalid gateway":          n.Configure(vf.Index, Addresses{Routes: []Route{{Dst: prefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.0.0.1")}}}),
	}
	for want, err := range words {
		equal(t, fmt.Sprintf("%q has %q", fmt.Sprint(err), want), true, strings.Contains(fmt.Sprint(err), want))
	}
	noError(t, "down", n.Change(vf.Index, Change{Up: ptr(false)}))
}

// TestLabBuild makes a bond of real VFs in the documented order, verifies it,
// waits for its carrier, and deletes it.
func TestLabBuild(t *testing.T) {
	n := space(t, "build")
	first, second := borrow(t, n, "enp1s0v0"), borrow(t, n, "enp2s0v0")
	noError(t, "up", n.Change(first.Index, Change{Up: ptr(true)}))
	noError(t, "address", n.Configure(first.Index, Addresses{IPs: []netip.Prefix{prefix("10.0.0.1/24")}}))
	o, problems := ParseOptions(rawOptions(t, `{"primary":"enp2s0v0","mtu":1400}`), []string{"enp1s0v0", "enp2s0v0"}, nil)
	noError(t, "options", problems.Err())
	s := Spec{Name: "bond0", Options: o, Links: []string{"enp1s0v0", "enp2s0v0"}}
	b, err := Build(n, s, []Link{first, second})
	noError(t, "build", err)
	equal(t, "primary", "enp2s0v0", b.Options[Primary])
	devices := map[string]string{"enp1s0v0": "0000:01:10.0", "enp2s0v0": "0000:02:10.0"}
	problems, err = Verify(n, s, b.Index, devices)
	noError(t, "verify", err)
	equal(t, "problems", nil, lines(problems))
	for end := time.Now().Add(20 * time.Second); VerifyCarrier(n, b.Index) != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(VerifyCarrier(n, b.Index))
		}
	}
	noError(t, "announce", Announce(n, s, Addresses{IPs: []netip.Prefix{prefix("10.0.0.7/24")}}))
	a, err := n.Addresses(first.Index)
	noError(t, "addresses", err)
	equal(t, "flushed", Addresses{}, a)
	noError(t, "delete", n.Delete(b.Index))
	equal(t, "first", []string{"up is false, was true"}, find(t, n, "enp1s0v0").Differences(Link{Name: first.Name, MAC: first.MAC, MTU: first.MTU, Up: true}))
	equal(t, "second", nil, find(t, n, "enp2s0v0").Differences(second))
}

// TestLabSurvey reads the real sysfs.
func TestLabSurvey(t *testing.T) {
	home, n := host(t), space(t, "survey")
	sys := os.DirFS("/sys")
	noError(t, "bonding", System{}.EnableBonding(t.Context()))
	d, err := SurveyDevice(sys, home, "0000:02:10.2")
	noError(t, "VF", err)
	equal(t, "VF", Device{Address: "0000:02:10.2", PF: "0000:02:00.0", Number: 1, Driver: "igbvf", Netdev: "enp2s0v1", PFNetdev: "enp2s0"}, d.Device)
	equal(t, "its own MAC", d.Link.MAC, d.Admin.MAC) // igb reports it
	equal(t, "its address", "0000:02:10.2", d.Link.Device)
	equal(t, "its permanent MAC", d.Link.MAC, d.Link.PermMAC)
	pf, err := SurveyDevice(sys, home, "0000:02:00.0")
	noError(t, "PF", err)
	equal(t, "PF", Device{Address: "0000:02:00.0", Driver: "igb", Netdev: "enp2s0"}, pf.Device)

	borrow(t, n, "enp2s0v1")
	d, err = SurveyDevice(sys, home, "0000:02:10.2")
	noError(t, "in a pod", err)
	equal(t, "in a pod", Device{Address: "0000:02:10.2", PF: "0000:02:00.0", Number: 1, Driver: "igbvf", PFNetdev: "enp2s0"}, d.Device)
	equal(t, "no link", true, d.Link == nil && d.Admin != nil)
	d, err = SurveyDevice(sys, home, "0000:0f:10.2")
	noError(t, "none", err)
	equal(t, "none", true, d.Missing)
}

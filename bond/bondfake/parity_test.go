package bondfake_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
)

// machine is what the script runs on: the fake or a real kernel. Both have two PFs
// with VFs, enp1s0 and enp2s0. The script uses the first two VFs of each.
type machine interface {
	bond.Kernel
	addNamespace(t *testing.T, name string)
	removeNamespace(t *testing.T, name string)
	path(name string) string            // of a namespace; "host" is that of this process
	attachXDP(name string) error        // gives a link of the host a program in generic mode
	acceptRA(space, name string) string // accept_ra of a link; "" if there is no such setting
}

const (
	a0 = "enp1s0v0"
	a1 = "enp1s0v1"
	b0 = "enp2s0v0"
	b1 = "enp2s0v1"
)

// vfDevices are the four, in that order.
var vfDevices = []string{"0000:01:10.0", "0000:01:10.2", "0000:02:10.0", "0000:02:10.2"}

type fake struct{ *bondfake.Kernel }

func (fake) path(name string) string {
	if name == "host" {
		return ""
	}
	return name
}
func (f fake) addNamespace(_ *testing.T, name string)    { f.AddNamespace(name) }
func (f fake) removeNamespace(_ *testing.T, name string) { f.RemoveNamespace(name) }

func (f fake) attachXDP(name string) error {
	f.SetXDP("", name, unix.XDP_FLAGS_SKB_MODE)
	return nil
}

func (f fake) acceptRA(space, name string) string { return f.AcceptRA(space, name) }

// TestParityFake runs the script against the fake. The same script, with the
// same expected answers, runs against real kernels with the build tag "lab".
func TestParityFake(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:2]...)
	k.AddPF("0000:02:00.0", "enp2s0", vfDevices[2:]...)
	runScript(t, fake{k}, 0)
}

// stage is a machine in the middle of the script.
type stage struct {
	*testing.T
	machine
	labels   map[string]string // by MAC: "a0" for the own MAC of enp1s0v0
	patience time.Duration
}

// runScript takes the steps in order. A real kernel does some things later, such as
// a carrier or the end of a namespace, so the state is read again until it is as
// expected or patience is over.
func runScript(t *testing.T, m machine, patience time.Duration) {
	s := &stage{T: t, machine: m, labels: map[string]string{}, patience: patience}
	s.in("host", func(n bond.Namespace) error {
		for label, name := range map[string]string{"a0": a0, "a1": a1, "b0": b0, "b1": b1} {
			s.labels[s.link(n, name).MAC] = label
		}
		return nil
	})
	before := s.snapshot()
	for _, st := range slices.Concat(script, asBefore, rails) {
		t.Run(strings.ReplaceAll(st.name, " ", "_"), func(t *testing.T) {
			s.T = t
			if err := st.do(s); st.err != nil {
				require.ErrorIs(t, err, st.err)
			} else {
				require.NoError(t, err)
			}
			if st.state == "" {
				return
			}
			want := strings.TrimLeft(st.state, "\n")
			got := s.snapshot()
			for end := time.Now().Add(patience); got != want && time.Now().Before(end); got = s.snapshot() {
				time.Sleep(100 * time.Millisecond)
			}
			assert.Equal(t, want, got)
		})
	}
	s.T = t
	if !t.Failed() {
		assert.Equal(t, before, s.snapshot(), "the script restores the machine")
	}
}

// in opens a namespace for f. Nothing stays open between steps, because a handle
// would keep a namespace alive.
func (s *stage) in(name string, f func(bond.Namespace) error) error {
	s.Helper()
	n, err := s.Open(s.path(name))
	if err != nil {
		return err
	}
	defer n.Close()
	return f(n)
}

func (s *stage) link(n bond.Namespace, name string) bond.Link {
	s.Helper()
	l, err := n.Link(name)
	require.NoError(s, err)
	return l
}

var spaces = []string{"host", "pod", "pod2"}

// snapshot prints what the script can change, in one canonical form.
func (s *stage) snapshot() string {
	var lines []string
	for _, space := range spaces {
		err := s.in(space, func(n bond.Namespace) error {
			links, err := n.Links()
			if err != nil {
				return err
			}
			for _, l := range links {
				if l.Kind == "bond" || slices.Contains(vfDevices, l.Device) {
					lines = append(lines, space+" "+s.line(n, links, l))
				}
			}
			return nil
		})
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(s, err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// line prints one link with its addresses and routes.
func (s *stage) line(n bond.Namespace, links []bond.Link, l bond.Link) string {
	out := l.Name
	if l.Up {
		out += " up"
	}
	if ofActive(l, links) {
		out += " mac of its active link"
	} else {
		out += " mac " + s.label(l.MAC)
	}
	if l.PermMAC != l.MAC && l.Device != "" {
		out += " perm " + s.label(l.PermMAC)
	}
	if l.MTU != 1500 {
		out += fmt.Sprint(" mtu ", l.MTU)
	}
	out += unusual(l)
	if b, there := bond.Find(links, func(b bond.Link) bool { return b.Index == l.Master }); there {
		out += " in " + b.Name
	}
	if p := l.Options[bond.Primary]; p != "" {
		out += " primary " + p
	}
	a, err := n.Addresses(l.Index)
	require.NoError(s, err)
	slices.SortFunc(a.IPs, func(x, y netip.Prefix) int { return strings.Compare(x.String(), y.String()) })
	for _, ip := range a.IPs {
		out += " " + ip.String()
		if peer := a.Peers[ip]; peer.IsValid() {
			out += " peer " + peer.String()
		}
		if set := a.Attributes[ip]; set != (bond.Attributes{}) {
			out += fmt.Sprintf(" metric %d flags %#x", set.Metric, set.Flags)
		}
	}
	var routes []string
	for _, r := range a.Routes {
		routes = append(routes, fmt.Sprintf(" [%s metric %d table %d mtu %d advmss %d scope %s%s]", r, r.Priority, r.Table, r.MTU, r.AdvMSS, scope(r), more(r)))
	}
	isDefault := slices.ContainsFunc(a.Routes, func(r bond.Route) bool { return r.Dst.Bits() == 0 })
	assert.Equal(s, isDefault, a.Default, "default route over %s", l.Name)
	slices.Sort(routes)
	return out + strings.Join(routes, "")
}

// unusual prints what a link seldom has.
func unusual(l bond.Link) (out string) {
	for _, f := range []struct {
		set  bool
		name string
	}{
		{*l.Flags&unix.IFF_PROMISC != 0, " promisc"}, {*l.Flags&unix.IFF_ALLMULTI != 0, " allmulticast"},
		{*l.Flags&unix.IFF_NOARP != 0, " noarp"}, {*l.Flags&unix.IFF_MULTICAST == 0, " no multicast"},
		{*l.Alias != "", " alias " + *l.Alias}, {*l.TxQueueLen != 1000, fmt.Sprint(" txqueuelen ", *l.TxQueueLen)},
	} {
		if f.set {
			out += f.name
		}
	}
	for _, alt := range slices.Sorted(slices.Values(l.AltNames)) {
		out += " altname " + alt
	}
	return out
}

// ofActive reports whether a bond has the MAC of its active link. Which link that
// is depends on whose carrier comes up first.
func ofActive(b bond.Link, links []bond.Link) bool {
	return b.Options[bond.FailOverMac] == "active" && b.Options[bond.Primary] == "" &&
		slices.ContainsFunc(links, func(l bond.Link) bool { return l.Master == b.Index && l.MAC == b.MAC })
}

func (s *stage) label(mac string) string {
	switch label := s.labels[mac]; {
	case label != "":
		return label
	case strings.HasPrefix(mac, "02:00:00:00:cc:"):
		return mac
	}
	return "made-up"
}

// more prints the attributes that only some routes have.
func more(r bond.Route) (out string) {
	if r.OnLink {
		out += " onlink"
	}
	if r.Source.IsValid() {
		out += " src " + r.Source.String()
	}
	if r.Protocol != 0 {
		out += fmt.Sprint(" proto ", r.Protocol)
	}
	if r.TOS != 0 {
		out += fmt.Sprint(" tos ", r.TOS)
	}
	if len(r.Metrics) > 0 {
		out += fmt.Sprint(" metrics ", r.Metrics)
	}
	return out
}

func scope(r bond.Route) string {
	if r.Scope == nil {
		return "-"
	}
	return fmt.Sprint(*r.Scope)
}

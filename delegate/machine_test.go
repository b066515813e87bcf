package delegate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// The machine of all tests: two PFs with two VFs each, two pods.
const (
	pfA, vfA, vfA2 = "0000:3b:00.0", "0000:3b:02.0", "0000:3b:02.1"
	pfB, vfB, vfB2 = "0000:5e:00.0", "0000:5e:02.0", "0000:5e:02.1"
	pod1, pod2     = "/run/netns/p1", "/run/netns/p2"
)

// standard is a bond of two VFs, with a VLAN and addresses.
const standard = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}],
	"delegate": {"type": "sriov", "vlan": 100},
	"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`

// followed is standard with plugins after the bond.
const followed = `{"cniVersion": "1.1.0", "name": "net1", "plugins": [` + standard + `, {"type": "tuning"}, {"type": "bandwidth"}]}`

// machine is a node: a kernel, CNI plugins and a Host over both.
type machine struct {
	*bondfake.Kernel
	*Host
	t       *testing.T
	edges   *edges
	plugins *plugins
	disk    *disk
	log     *bytes.Buffer
}

func newMachine(t *testing.T) *machine {
	k := bondfake.New()
	k.AddPF(pfA, "enp1s0", vfA, vfA2)
	k.AddPF(pfB, "enp2s0", vfB, vfB2)
	return newMachineOn(t, k)
}

// newMachineOn is a node with two pods.
func newMachineOn(t *testing.T, k *bondfake.Kernel) *machine {
	k.AddNamespace(pod1)
	k.AddNamespace(pod2)
	m := &machine{Kernel: k, t: t, edges: &edges{}, disk: newDisk(), log: &bytes.Buffer{}}
	m.plugins = newPlugins(k, m.edges)
	m.Host = &Host{
		Kernel: edgedKernel{k, m.edges}, Sys: k.Sys(), Runner: m.plugins, Store: record.Store{Dir: inMemory(t), Files: atomicfile.Files{Around: m.operate}},
		Path: []string{"/opt/cni/bin"}, BootID: "boot1", Release: "v0.3.0", SRIOV: inMemory(t), DeviceInfo: inMemory(t), WayBack: time.Minute, Limbo: Limbo{GiveUp: time.Hour},
	}
	return m
}

// ofFile begins the names of edges before operations on files.
const ofFile = "file: "

// operate changes a file, unless the edge before that has a fault.
func (m *machine) operate(o atomicfile.Operation, do func() error) error {
	if err := m.edges.pass(ofFile + o.String()); err != nil {
		return err
	}
	err := do()
	if err == nil {
		m.disk.done(o)
	}
	return err
}

// inMemory makes a directory in memory, or on disk if there is no /dev/shm. Thousands of
// machines sync their files, and on disk each sync would cost milliseconds.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "delegate-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// request is what a runtime asks for: container c1 in pod1, bond bond0.
func request(t *testing.T, config string) plan.Request {
	t.Helper()
	n, err := netconf.ParseNetwork([]byte(config), "bond0")
	require.NoError(t, err)
	return plan.Request{ContainerID: "c1", IfName: "bond0", Netns: pod1, Network: n}
}

// other is the same request for container c2 in pod2.
func other(r plan.Request) plan.Request {
	r.ContainerID, r.Netns = "c2", pod2
	return r
}

// The verbs of a machine keep the warnings that those of its Host return.

func (m *machine) Add(ctx context.Context, r plan.Request) (*current.Result, error) {
	result, warnings, err := m.Host.Add(ctx, r)
	m.keep(warnings)
	return result, err
}

func (m *machine) AddPod(ctx context.Context, c netconf.Cluster, r plan.Request) (*current.Result, error) {
	result, warnings, err := m.Host.AddPod(ctx, c, r)
	m.keep(warnings)
	return result, err
}

func (m *machine) AddSecondary(ctx context.Context, r plan.Request) (*current.Result, error) {
	result, warnings, err := m.Host.AddSecondary(ctx, r)
	m.keep(warnings)
	return result, err
}

func (m *machine) Del(ctx context.Context, k plan.Key) error {
	_, out, err := m.Host.del(ctx, k)
	m.keep(out.warnings)
	return err
}

func (m *machine) DelPod(ctx context.Context, c netconf.Cluster, r plan.Request) error {
	warnings, err := m.Host.DelPod(ctx, c, r)
	m.keep(warnings)
	return err
}

func (m *machine) Check(ctx context.Context, k plan.Key) error {
	var out outcome
	err := m.Host.check(ctx, k, nil, &out)
	m.keep(out.warnings)
	return err
}

func (m *machine) CheckPod(ctx context.Context, k plan.Key) error {
	warnings, err := m.Host.CheckPod(ctx, k, nil)
	m.keep(warnings)
	return err
}

func (m *machine) GC(ctx context.Context, network string, valid []netconf.GCAttachment) error {
	warnings, err := m.Host.GC(ctx, network, valid)
	m.keep(warnings)
	return err
}

func (m *machine) GCPod(ctx context.Context, c netconf.Cluster) error {
	warnings, err := m.Host.GCPod(ctx, c)
	m.keep(warnings)
	return err
}

// keep writes warnings into the log, as the plugin prints them.
func (m *machine) keep(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(m.log, "multibond:", w)
	}
}

func (m *machine) mustAdd(r plan.Request) {
	m.t.Helper()
	_, err := m.Add(m.t.Context(), r)
	require.NoError(m.t, err, "ADD")
}

func (m *machine) mustDel(k plan.Key) {
	m.t.Helper()
	require.NoError(m.t, m.Del(m.t.Context(), k), "DEL")
	m.plugins.finishOrphans()
}

// wantState compares the whole machine with what it was.
func (m *machine) wantState(before string) {
	m.t.Helper()
	assert.Empty(m.t, cmp.Diff(strings.Split(before, "\n"), strings.Split(m.state(), "\n")), "the machine has changed (-before +after)")
	if m.edges.at == 0 { // a process that is killed closes nothing
		assert.Zero(m.t, m.edges.open, "namespaces that were not closed, and go on existing")
	}
}

func wantError(t *testing.T, err error, code uint, text string) {
	t.Helper()
	require.EqualError(t, err, text)
	assert.Equal(t, code, cnierror.Code(err))
}

// link is the link with a name in the namespace at path.
func (m *machine) link(path, name string) bond.Link {
	m.t.Helper()
	l, err := m.namespace(path).Link(name)
	require.NoError(m.t, err)
	return l
}

func (m *machine) namespace(path string) bond.Namespace {
	m.t.Helper()
	n, err := m.Kernel.Open(path)
	require.NoError(m.t, err)
	return n
}

func (m *machine) change(path, name string, c bond.Change) {
	m.t.Helper()
	require.NoError(m.t, m.namespace(path).Change(m.link(path, name).Index, c))
}

func (m *machine) configure(path, name string, a bond.Addresses) {
	m.t.Helper()
	require.NoError(m.t, m.namespace(path).Configure(m.link(path, name).Index, a))
}

// changeVF changes what a PF keeps for its VF 0.
func (m *machine) changeVF(pf string, change func(*bond.VF)) {
	m.t.Helper()
	m.changeVFOf(pf, 0, change)
}

func (m *machine) changeVFOf(pf string, number int, change func(*bond.VF)) {
	m.t.Helper()
	host := m.namespace("")
	vfs, err := host.VFs(pf)
	require.NoError(m.t, err)
	want := vfs[number]
	change(&want)
	require.NoError(m.t, host.ChangeVF(pf, number, vfs[number], want))
}

// state describes all that an attachment can change, also what netlink does not
// show, except indexes, which a link may lose by moving, and what plugins keep for
// themselves.
func (m *machine) state() string {
	var lines []string
	for _, path := range []string{"", pod1, pod2} {
		lines = append(lines, m.linesOf(path)...)
	}
	for _, vf := range []string{vfA, vfA2, vfB, vfB2} {
		lines = append(lines, fmt.Sprintf("%s has its MAC from its PF: %t", vf, m.SetByPF(vf)))
	}
	for _, vf := range m.noted() {
		lines = append(lines, "note of "+vf)
	}
	for key, ip := range m.plugins.pool {
		lines = append(lines, fmt.Sprintf("address %s of %s", ip, key))
	}
	err := filepath.WalkDir(m.Store.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" && d.Name() != "ended" {
			lines = append(lines, "file "+strings.TrimPrefix(path, m.Store.Dir))
		}
		return err
	})
	require.NoError(m.t, err)
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// usual is what most links have.
const usual = `flags=0x1000 alias="" queue=1000 group=0 xdp=0 offload={65536 65535 65536} names=[] attributes=map[]`

func (m *machine) linesOf(path string) []string {
	where := path
	if path == "" {
		where = "host"
	}
	n, err := m.Kernel.Open(path)
	if err != nil {
		return []string{where + " is gone"}
	}
	links, err := n.Links()
	require.NoError(m.t, err)
	var lines []string
	for _, l := range links {
		master, _ := bond.Find(links, func(x bond.Link) bool { return x.Index == l.Master })
		addrs, err := n.Addresses(l.Index)
		require.NoError(m.t, err)
		lines = append(lines, fmt.Sprintf("%s %s %s mac=%s mtu=%d up=%t master=%q kind=%q ips=%v routes=%v",
			where, l.Name, l.Device, l.MAC, l.MTU, l.Up, master.Name, l.Kind, addrs.IPs, addrs.Routes))
		if unusual := fmt.Sprintf("flags=%#x alias=%q queue=%d group=%d xdp=%d offload=%v names=%v attributes=%v", *l.Flags, *l.Alias, *l.TxQueueLen, l.Group, l.XDP, l.Offload, slices.Sorted(slices.Values(l.AltNames)), addrs.Attributes); unusual != usual {
			lines = append(lines, fmt.Sprintf("%s %s %s", where, l.Name, unusual))
		}
		if l.OwnARP {
			lines = append(lines, fmt.Sprintf("%s %s answers ARP for its own addresses only", where, l.Name))
		}
		vfs, err := n.VFs(l.Name)
		require.NoError(m.t, err)
		for _, i := range slices.Sorted(maps.Keys(vfs)) {
			vf := vfs[i]
			trust := *vf.Trust
			vf.Trust = nil
			lines = append(lines, fmt.Sprintf("%s %s vf %d %+v trust=%t", where, l.Name, i, vf, trust))
		}
	}
	routing, err := n.Routing()
	require.NoError(m.t, err)
	for _, rule := range routing.Rules {
		if !bond.IsOwnTable(rule.Table) {
			lines = append(lines, where+" rule "+rule.String())
		}
	}
	for _, path := range routing.Paths {
		lines = append(lines, where+" route "+path.String())
	}
	return lines
}

// edges numbers the points at which something can go wrong: before and after
// each effect of the kernel and of a plugin, and before each operation on a file.
type edges struct {
	passed []string
	at     int // the number of the one where fault happens; 0: none
	fault  func() error
	open   int                               // namespaces that were not closed
	refuse func(verb string, what any) error // nil: the kernel refuses nothing of its own
}

func (e *edges) pass(edge string) error {
	e.passed = append(e.passed, edge)
	if len(e.passed) == e.at {
		return e.fault()
	}
	return nil
}

// reset forgets what has passed; then the fault happens at edge number at.
func (e *edges) reset(at int, fault func() error) {
	*e = edges{at: at, fault: fault}
}

var errFault = errors.New("out of luck")

// killed is what a process that is killed at an edge panics with: no
// statement after the edge is executed.
type killed struct{}

// untilKilled executes f and reports whether it was killed.
func untilKilled(f func()) (dead bool) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case killed:
			dead = true
		default:
			panic(r)
		}
	}()
	f()
	return false
}

// edgedKernel is a kernel with edges around its verbs.
type edgedKernel struct {
	*bondfake.Kernel
	edges *edges
}

func (k edgedKernel) Host() (bond.Namespace, error) { return k.Open("") }

func (k edgedKernel) Open(path string) (bond.Namespace, error) {
	if err := k.edges.pass("open " + path); err != nil {
		return nil, err
	}
	if k.edges.refuse != nil {
		if err := k.edges.refuse("open", path); err != nil {
			return nil, err
		}
	}
	n, err := k.Kernel.Open(path)
	if err != nil {
		return nil, err
	}
	k.edges.open++
	return edgedNamespace{n, k.edges}, nil
}

type edgedNamespace struct {
	bond.Namespace
	edges *edges
}

func (n edgedNamespace) Close() error {
	n.edges.open--
	return n.Namespace.Close()
}

// effect does something between two edges, unless the kernel refuses what is asked.
func (n edgedNamespace) effect(verb string, what any, do func() error) error {
	if err := n.edges.pass(verb); err != nil {
		return err
	}
	if n.edges.refuse != nil {
		if err := n.edges.refuse(verb, what); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	return n.edges.pass(verb + ", done")
}

func (n edgedNamespace) Links() ([]bond.Link, error) {
	if err := n.edges.pass("Links"); err != nil {
		return nil, err
	}
	return n.Namespace.Links()
}

func (n edgedNamespace) Link(name string) (bond.Link, error) {
	if err := n.edges.pass("Link " + name); err != nil {
		return bond.Link{}, err
	}
	return n.Namespace.Link(name)
}

func (n edgedNamespace) Addresses(index int) (bond.Addresses, error) {
	if err := n.edges.pass("Addresses"); err != nil {
		return bond.Addresses{}, err
	}
	return n.Namespace.Addresses(index)
}

func (n edgedNamespace) Number(other bond.Namespace) (int, error) {
	if err := n.edges.pass("Number"); err != nil {
		return 0, err
	}
	return n.Namespace.Number(other)
}

func (n edgedNamespace) ObserveIn(number int) ([]bond.Event, error) {
	if err := n.edges.pass("ObserveIn"); err != nil {
		return nil, err
	}
	return n.Namespace.ObserveIn(number)
}

func (n edgedNamespace) VFs(pf string) (map[int]bond.VF, error) {
	if err := n.edges.pass("VFs " + pf); err != nil {
		return nil, err
	}
	return n.Namespace.VFs(pf)
}

func (n edgedNamespace) CreateBond(name string, o bond.Options) (made bond.Link, err error) {
	err = n.effect("CreateBond", o, func() error {
		made, err = n.Namespace.CreateBond(name, o)
		return err
	})
	if err != nil {
		return bond.Link{}, err
	}
	return made, nil
}

func (n edgedNamespace) Delete(index int) error {
	return n.effect("Delete", index, func() error { return n.Namespace.Delete(index) })
}

func (n edgedNamespace) Change(index int, c bond.Change) error {
	if to, is := c.Namespace.(edgedNamespace); is {
		c.Namespace = to.Namespace
	}
	return n.effect("Change", c, func() error { return n.Namespace.Change(index, c) })
}

func (n edgedNamespace) Flush(index int) error {
	return n.effect("Flush", index, func() error { return n.Namespace.Flush(index) })
}

func (n edgedNamespace) Configure(index int, a bond.Addresses) error {
	return n.effect("Configure", a, func() error { return n.Namespace.Configure(index, a) })
}

func (n edgedNamespace) AddRoute(index int, r bond.Route) error {
	return n.effect("AddRoute", r, func() error { return n.Namespace.AddRoute(index, r) })
}

func (n edgedNamespace) RemoveRoute(index int, r bond.Route) error {
	return n.effect("RemoveRoute", r, func() error { return n.Namespace.RemoveRoute(index, r) })
}

func (n edgedNamespace) Routing() (bond.Routing, error) {
	if err := n.edges.pass("Routing"); err != nil {
		return bond.Routing{}, err
	}
	return n.Namespace.Routing()
}

func (n edgedNamespace) AddRouting(r bond.Routing) error {
	return n.effect("AddRouting", r, func() error { return n.Namespace.AddRouting(r) })
}

func (n edgedNamespace) RemoveRouting(r bond.Routing) error {
	return n.effect("RemoveRouting", r, func() error { return n.Namespace.RemoveRouting(r) })
}

func (n edgedNamespace) ChangeVF(pf string, number int, have, want bond.VF) error {
	return n.effect("ChangeVF", want, func() error { return n.Namespace.ChangeVF(pf, number, have, want) })
}

// readRecord is a Record as it is on disk.
func (m *machine) readRecord(k plan.Key) *record.Record {
	m.t.Helper()
	rec, err := m.Store.Load(k)
	require.NoError(m.t, err)
	return rec
}

func writeFile(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(content), mode))
}

// c1 and c2 are the keys of [request] and [other].
var c1, c2 = plan.Key{ContainerID: "c1", IfName: "bond0"}, plan.Key{ContainerID: "c2", IfName: "bond0"}

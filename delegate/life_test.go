package delegate

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// shared are two sandboxes that share one VF, 0000:3b:02.0. The first one has a bond or an
// interface of each link.
const (
	sharedFirst = followed
	sharedOther = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.1"}],
	"delegate": {"type": "sriov", "vlan": 200}, "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`
	sharedEach = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "attach": "each",
	"links": [{"deviceID": "0000:3b:02.0"}, {"config": {"type": "macvlan", "master": "enp2s0"}}],
	"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`
)

// move is one thing that happens to the machine. If edge is not 0, the process is killed
// at that edge, or what it does there fails. Then the power may be lost.
type move struct {
	what   string
	edge   int
	ofFile bool // the edge is before an operation on a file
	fails  bool
	power  loss
}

func (v move) String() string {
	return fmt.Sprintf("%s (edge %d, fails: %t, %s)", v.what, v.edge, v.fails, v.power)
}

// keepAfterAnew is a move after which the VF may have another MAC.
const keepAfterAnew = "keep after c1's VF was made anew"

// moves lists all moves.
var moves = map[string]func(m *machine){
	"ADD c1":                func(m *machine) { m.Add(m.t.Context(), request(m.t, sharedFirst)) },
	"ADD c2":                func(m *machine) { m.Add(m.t.Context(), other(request(m.t, sharedOther))) },
	"ADD c1 without a bond": func(m *machine) { m.Add(m.t.Context(), request(m.t, sharedEach)) },
	"DEL c1":                func(m *machine) { m.Del(m.t.Context(), c1) },
	"DEL c2":                func(m *machine) { m.Del(m.t.Context(), c2) },
	"DEL c1 after the time": func(m *machine) {
		if rec := m.recordOf(c1); rec != nil {
			rec.Failing = time.Now().Add(-2 * m.Limbo.GiveUp)
			for what := range rec.Unanswered {
				rec.Unanswered[what] = rec.Failing
			}
			process := *m.edges
			m.edges.reset(0, nil)
			require.NoError(m.t, m.Store.Update(rec))
			*m.edges = process
		}
		m.Del(m.t.Context(), c1)
	},
	"GC that keeps c2": func(m *machine) {
		m.GC(m.t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c2", IfName: "bond0"}})
	},
	"ADD c1 as far as its Record": func(m *machine) {
		s, err := m.enter(pod1)
		if err != nil {
			return
		}
		defer s.close()
		all := together{[]plan.Request{request(m.t, sharedFirst)}, make([]*record.Record, 1), nil}
		if m.prepareAll(m.t.Context(), all, s, &outcome{}) == nil {
			m.Store.Begin(all.recs[0])
		}
	},
	"the end of c1's namespace": func(m *machine) { m.RemoveNamespace(pod1) },
	"keep":                      (*machine).keepOnce,
	keepAfterAnew: func(m *machine) {
		if m.hasShared() {
			m.Remake(vfA, "enp1s0v0")
			m.keepOnce()
		}
	},
	"keep while the cables of c1's PFs are out": func(m *machine) {
		if m.hasShared() {
			for _, pf := range []string{"enp1s0", "enp2s0"} {
				m.Plug(pf, false)
				defer m.Plug(pf, true)
			}
			m.keepOnce()
		}
	},
}

// hasShared reports whether the VF that c1 and c2 share is in c1's pod.
func (m *machine) hasShared() bool {
	n, err := m.Kernel.Open(pod1)
	if err != nil {
		return false
	}
	_, there := bond.Find(must(n.Links()), func(l bond.Link) bool { return l.Device == vfA })
	return there
}

// keepOnce has Keep do what is to be done now, for c1 first.
func (m *machine) keepOnce() {
	k := m.keeperInside()
	for _, key := range []plan.Key{c1, c2} {
		k.serve(m.t.Context(), key)
	}
}

// newLife is newMachine, but the first of its PFs can disable a VF's link.
func newLife(t *testing.T) *machine { return newMachineOn(t, kernelOfLife()) }

func kernelOfLife() *bondfake.Kernel {
	k, is := bondfake.New(), bondfake.IGB
	is.LinkState = true
	k.AddCard(is, pfA, "enp1s0", vfA, vfA2)
	k.AddPF(pfB, "enp2s0", vfB, vfB2)
	return k
}

// firstMACs are the MACs of a fresh machine. Every other one is a bond's, or of a VF that was
// made anew.
var firstMACs = sync.OnceValue(func() (all []string) {
	for _, l := range must(must(kernelOfLife().Host()).Links()) {
		all = append(all, l.MAC)
	}
	return all
})

var anyMAC = regexp.MustCompile(`02(:[0-9a-f]{2}){5}`)

func (m *machine) lifeOf(k plan.Key) record.Phase { return m.recordOf(k).Phase() }

// recordOf is the Record of an attachment, or the one that was set aside. It keeps no copy
// of a damaged one: to look at a machine is no operation on its files.
func (m *machine) recordOf(k plan.Key) *record.Record {
	read := m.Store
	read.Files.Around = func(atomicfile.Operation, func() error) error { return fs.ErrExist }
	rec, _, err := read.Find(k)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, record.ErrDamaged) {
		return nil
	}
	require.NoError(m.t, err)
	return rec
}

// lifeDepth is how many moves TestLife goes deep.
var lifeDepth = flag.Int("life", 2, "moves that TestLife goes deep; 0: until no state is new")

// counted matches what differs each time: the next address of IPAM, and the time of an ADD.
var counted = regexp.MustCompile(`10\.56\.217\.\d+|\d{8}T[\d.]+Z`)

// print is the fingerprint of the machine's state: that of the kernel, of the plugins,
// and how far each Record has come.
func (m *machine) print() string {
	out := anyMAC.ReplaceAllStringFunc(counted.ReplaceAllString(m.state(), "one"), func(mac string) string {
		if slices.Contains(firstMACs(), mac) {
			return mac
		}
		return "one"
	})
	for _, k := range []plan.Key{c1, c2} {
		rec := m.recordOf(k)
		if rec == nil {
			continue
		}
		var asked []bool
		for _, a := range rec.Plan.IPAMs() {
			asked = append(asked, rec.IPAMOf(a.IfName).Asked)
		}
		out += fmt.Sprintf("%s %s %t %v %v %v %v %v %v %t %v %v %v\n", k, rec.Phase(), rec.BootID == m.BootID, rec.Started, slices.Sorted(maps.Keys(rec.Attached)), rec.Restored, asked, rec.After, slices.Sorted(maps.Keys(rec.Unanswered)), rec.Hangs(m.Limbo.GiveUp),
			slices.Sorted(maps.Keys(rec.Returning)), rec.Relayed, rec.Downed)
	}
	return out
}

// fingerprint is a short form of print.
func (m *machine) fingerprint() string {
	sum := sha256.Sum256([]byte(m.print()))
	return string(sum[:])
}

// owned describes c2's attachment: what is in its pod, and what the PFs keep for its VFs.
func (m *machine) owned() string {
	lines := m.linesOf(pod2)
	for _, l := range m.linesOf("") {
		if strings.Contains(l, "enp1s0 vf 0 ") || strings.Contains(l, "enp2s0 vf 1 ") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// do makes a move and returns the edges that it passed.
func (m *machine) do(v move) (passed []string) {
	fault := kill
	if v.fails {
		fault = fail
	}
	m.edges.reset(v.edge, fault)
	untilKilled(func() { moves[v.what](m) })
	passed = m.edges.passed
	m.edges.reset(0, nil)
	return passed
}

// replay returns a fresh machine after moves.
func replay(t *testing.T, path []move) *machine {
	m := newLife(t)
	for _, v := range path {
		m.do(v)
		if v.power != thePowerStays {
			left, is := m.disk.afterwards()[v.power]
			require.True(t, is, "%v was not made like this before", path)
			m = m.rebooted(left)
		}
	}
	return m
}

// rebooted is the machine after a loss of power that has left an image of its disk: it has
// a kernel that is new, and the pods' namespaces have been made anew. What IPAM keeps is
// on disk. What sriov-cni keeps is of containers that do not exist any more.
func (m *machine) rebooted(left image) *machine {
	now := newLife(m.t)
	now.BootID = m.BootID + "+1"
	now.disk = left.restore(m.t, m.Store.Dir, now.Store.Dir)
	now.plugins.pool, now.plugins.given = maps.Clone(m.plugins.pool), m.plugins.given
	return now
}

// vfMAC matches the MAC of c1's and c2's VF, and what its PF keeps of it. One that was made
// anew, and that keep had not begun to bring back, has another.
var vfMAC = regexp.MustCompile(`(host enp1s0v0 \S+ mac=|host enp1s0 vf 0 {MAC:)\S+`)

// wantAsBefore compares the machine with a fresh one, except for a namespace that has
// ended, copies of damaged Records, and the MAC of a VF that was made anew.
func (m *machine) wantAsBefore(path []move, then string) {
	m.t.Helper()
	_, err := m.Kernel.Open(pod1)
	rest := func(state string) string {
		if slices.ContainsFunc(path, func(v move) bool { return v.what == keepAfterAnew }) {
			state = strings.Join(comparable(vfMAC.ReplaceAllString(state, "$1 one")), "\n")
		}
		return strings.Join(slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool {
			return err != nil && strings.HasPrefix(l, pod1+" ") || strings.HasSuffix(l, ".damaged")
		}), "\n")
	}
	assert.Equal(m.t, rest(newLife(m.t).state()), rest(m.state()), "after %v, then %s", path, then)
}

// failedDels lists an ADD and a DEL of c1 that fails once, after which its Record is in each of
// the phases that two moves do not go on from.
func failedDels(t *testing.T) [][]move {
	found := map[record.Phase][]move{}
	for i := range replay(t, []move{{what: "ADD c1"}}).do(move{what: "DEL c1"}) {
		path := []move{{what: "ADD c1"}, {what: "DEL c1", edge: i + 1, fails: true}}
		found[replay(t, path).lifeOf(c1)] = path
	}
	return [][]move{found[record.Restoring], found[record.Early]}
}

// TestLife goes through every state that moves can lead to: two moves, or three with
// -life 3, as in make life. Each move is made whole, or killed at each of its edges. The
// power is lost after each operation on a file, and whenever IPAM has done something. From
// every state both DELs, in either order, lead back to what was before, and so does GC.
// Nothing that is done for c1 touches c2's attachment. Records go through phases as the
// model says.
func TestLife(t *testing.T) {
	t.Parallel()
	found := map[string]bool{newLife(t).fingerprint(): true}
	lived := map[[2]record.Phase]bool{}
	frontier := [][]move{nil}
	made := 0
	for depth := 1; len(frontier) > 0 && (depth <= *lifeDepth || *lifeDepth == 0); depth++ {
		if depth == *lifeDepth {
			frontier = append(frontier, failedDels(t)...)
		}
		var further [][]move
		for _, one := range inParallel(t, "on", frontier, onwards) {
			maps.Copy(lived, one.lived)
			for _, came := range one.to {
				made++
				if !found[came.state] {
					found[came.state] = true
					further = append(further, came.path)
				}
			}
		}
		frontier = further
		for _, one := range inParallel(t, "back", frontier, backwards) {
			maps.Copy(lived, one.lived)
		}
		if t.Failed() {
			return
		}
	}
	wantLived(t, lived)
	t.Logf("%d states, %d moves; %d states were new with the last", len(found), made, len(frontier))
}

// walk is what moves from one state have led to.
type walk struct {
	to    []arrival                // in order
	lived map[[2]record.Phase]bool // from phase to phase
}

// arrival is a state, and the moves that lead to it from a fresh machine.
type arrival struct {
	state string
	path  []move
}

// inParallel walks from all states, and returns the walks in the order of the states. Each
// is a test of its own, which removes its machines when it ends.
func inParallel(t *testing.T, name string, from [][]move, step func(*testing.T, []move) walk) []walk {
	walks := make([]walk, len(from))
	t.Run(name, func(t *testing.T) {
		for i, path := range from {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				walks[i] = step(t, path)
			})
		}
	})
	return walks
}

// onwards makes each move from a state, in each way in which it can go.
func onwards(t *testing.T, path []move) walk {
	w := walk{lived: map[[2]record.Phase]bool{}}
	for _, what := range slices.Sorted(maps.Keys(moves)) {
		t.Run(what, func(t *testing.T) { w.move(t, path, what) })
	}
	return w
}

// move makes one move from a state, in each way in which it can go.
func (w *walk) move(t *testing.T, path []move, what string) {
	look := func(m *machine, path []move) { w.to = append(w.to, arrival{m.fingerprint(), path}) }
	before := replay(t, path)
	owned, has, lives := before.owned(), before.isAttached(c2), before.lives()
	whole := before.do(move{what: what})
	lost := ""
	all := faults(path, what, whole)
	for _, v := range all {
		m := before
		if v.edge > 0 {
			m = replay(t, path)
			m.do(v)
		}
		next := append(slices.Clone(path), v)
		if has && what != "ADD c2" && what != "DEL c2" {
			require.Equal(t, owned, m.owned(), "%v has touched c2", next)
		}
		now := m.lives()
		for i := range now {
			if len(all) > 1 { // otherwise it can have gone through several phases
				w.lived[[2]record.Phase{lives[i], now[i]}] = true
			}
		}
		look(m, next)
		if v.fails {
			continue
		}
		lives = now
		if kept := fmt.Sprint(m.disk.operations, m.plugins.pool); kept != lost && followsWhole(path) {
			lost = kept
			m.loseThePower(next, look)
		}
	}
}

// backwards checks that each way back from a state leads to what was before.
func backwards(t *testing.T, path []move) walk {
	w := walk{lived: map[[2]record.Phase]bool{}}
	for _, way := range [][]string{{"DEL c1", "DEL c2"}, {"DEL c2", "DEL c1"}, {"GC that keeps c2", "DEL c2"}} {
		m := replay(t, path)
		for _, what := range way {
			was := m.lives()
			m.do(move{what: what})
			for i, now := range m.lives() {
				w.lived[[2]record.Phase{was[i], now}] = true
			}
		}
		if slices.ContainsFunc(m.aside(), func(rec *record.Record) bool { return rec.Hangs(m.Limbo.GiveUp) }) {
			// It was killed when its time was over, so no DEL tries it again.
			require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}))
		}
		m.wantAsBefore(path, strings.Join(way, ", "))
	}
	return w
}

// TestLookAtLife: what TestLife looks at stays as it is, also damaged Records, of which
// Load keeps copies. Otherwise moves that are made again lead to another state.
func TestLookAtLife(t *testing.T) {
	m := replay(t, []move{{what: "ADD c1"}})
	writeFile(t, m.Store.File(c1), "{", 0o600)
	before, operations := m.state(), m.disk.operations
	m.print()
	m.lives()
	m.isAttached(c1)
	m.wantState(before)
	assert.Equal(t, operations, m.disk.operations)
	_, err := m.Store.Load(c1)
	require.NoError(t, err)
	assert.Equal(t, operations+1, m.disk.operations, "Load keeps a copy")
}

// loseThePower calls look with what each loss of power leaves of a machine.
func (m *machine) loseThePower(path []move, look func(*machine, []move)) {
	for kind, left := range m.disk.afterwards() {
		next := slices.Clone(path)
		next[len(next)-1].power = kind
		look(m.rebooted(left), next)
	}
}

// isAttached reports whether an attachment is complete, and of this boot.
func (m *machine) isAttached(k plan.Key) bool {
	rec := m.recordOf(k)
	return rec.Phase() == record.Complete && rec.BootID == m.BootID
}

func (m *machine) lives() [2]record.Phase { return [2]record.Phase{m.lifeOf(c1), m.lifeOf(c2)} }

// faults lists the ways in which a move can go: a DEL of c1 fails once at each edge, the
// process is killed at each edge, nothing is amiss.
func faults(path []move, what string, edges []string) (out []move) {
	add := func(fails bool) {
		for i, edge := range edges {
			v := move{what: what, edge: i + 1, fails: fails, ofFile: strings.HasPrefix(edge, ofFile)}
			if !v.ofFile && !slices.ContainsFunc(path, move.isOfDisk) || v.ofFile && followsWhole(path) {
				out = append(out, v)
			}
		}
	}
	if strings.HasPrefix(what, "DEL c1") {
		add(true)
	}
	add(false)
	return append(out, move{what: what})
}

// isOfDisk reports whether a move has a fault of the disk or of the power.
func (v move) isOfDisk() bool { return v.ofFile || v.power != thePowerStays }

// followsWhole reports whether the next move can have a fault of the disk or of the power.
// In two moves only one of them has a fault then.
func followsWhole(path []move) bool {
	return *lifeDepth == 0 || !slices.ContainsFunc(path, func(v move) bool { return v.edge > 0 || v.isOfDisk() })
}

// follows lists the phases that can come next: by one step of ADD, or by restoring, which
// writes the Record again only if something could not be undone.
var follows = map[record.Phase][]record.Phase{
	record.None:        {record.Begun},
	record.Begun:       {record.Attaching, record.None},
	record.Attaching:   {record.AllAttached, record.Restoring, record.None, record.GivenUp},
	record.AllAttached: {record.Complete, record.Restoring, record.None, record.Early, record.GivenUp},
	record.Complete:    {record.AllAttached, record.Restoring, record.None, record.Early, record.GivenUp},
	record.Restoring:   {record.None, record.Early, record.GivenUp},
	record.Early:       {record.None, record.Begun, record.GivenUp}, // begun: attached again
	record.GivenUp:     {record.None, record.Begun},                 // begun: attached again, while a plugin keeps what it had
}

// wantLived compares the phases of Records with the model. An ADD has no edge between its
// Record and the first link that it begins. If one of two links was never begun, nothing
// is left when the other is restored. One fault cannot keep both links from being restored.
// Two moves are too few to attach again what was given up.
func wantLived(t *testing.T, lived map[[2]record.Phase]bool) {
	t.Helper()
	for _, from := range []record.Phase{record.None, record.GivenUp} {
		if first := [2]record.Phase{from, record.Attaching}; lived[first] {
			delete(lived, first)
			lived[[2]record.Phase{from, record.Begun}], lived[[2]record.Phase{record.Begun, record.Attaching}] = true, true
		}
	}
	for step := range lived {
		if step[0] != step[1] {
			assert.Contains(t, follows[step[0]], step[1], "a Record was %s, then %s: the model knows nothing of it", step[0], step[1])
		}
	}
	for from, all := range follows {
		for _, to := range all {
			unreached := [][2]record.Phase{{record.Attaching, record.Restoring}, {record.Complete, record.AllAttached}, {record.GivenUp, record.Begun}}
			step := [2]record.Phase{from, to}
			assert.True(t, lived[step] || slices.Contains(unreached, step), "no Record was %s, then %s", from, to)
		}
	}
}

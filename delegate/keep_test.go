package delegate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// watchedRequest is the request of a pod whose agent watches bonds.
func watchedRequest(t *testing.T, config string) plan.Request {
	r := request(t, config)
	r.Group.Agent = "/run/none.sock"
	return r
}

// keeper is what Keep knows after its start.
func (m *machine) keeper() *keeper {
	m.t.Helper()
	k, err := m.newKeeper(KeepConfig{Agent: "/run/none.sock"}, func(line string) { m.log.WriteString(line + "\n") })
	require.NoError(m.t, err)
	m.edges.open-- // keep has the host's for as long as it runs
	require.NoError(m.t, k.refresh())
	return k
}

// keeperInside is keeper, if Keep may enter the pods.
func (m *machine) keeperInside() *keeper {
	k := m.keeper()
	k.Netns = "/run/netns"
	return k
}

// isDue reports whether a Record is to be looked at.
func (k *keeper) isDue(key plan.Key) bool { _, is := k.due[key]; return is }

// withDuties has Keep do other duties for one test.
func withDuties(t *testing.T, own ...duty) {
	before := duties
	duties = own
	t.Cleanup(func() { duties = before })
}

// TestIsKept: what Keep looks after, also without an agent, and what it must not touch.
func TestIsKept(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	assert.True(t, m.isKept(m.readRecord(c1)))
	for what, change := range map[string]func(*record.Record){
		"of another boot":      func(rec *record.Record) { rec.BootID = "boot0" },
		"not complete":         func(rec *record.Record) { rec.Result = nil },
		"its DEL has begun":    func(rec *record.Record) { rec.Tries(time.Now()) },
		"its pod has no nsid":  func(rec *record.Record) { rec.NSID = nil },
		"no bond":              func(rec *record.Record) { rec.Plan.Bond = bond.Spec{} },
		"its bond has no name": func(rec *record.Record) { rec.BondIndex = 0 },
	} {
		rec := m.readRecord(c1)
		change(rec)
		assert.False(t, m.isKept(rec), what)
	}
}

// TestKeepRefreshes: a Record that is new, or has changed, is looked at; one that is gone or
// whose DEL has begun is forgotten.
func TestKeepRefreshes(t *testing.T) {
	m := newMachine(t)
	k := m.keeper()
	assert.Empty(t, k.due)
	m.mustAdd(watchedRequest(t, standard))
	require.NoError(t, k.refresh())
	assert.True(t, k.isDue(c1), "new")
	k.doDuties(t.Context())
	assert.Empty(t, k.due, "nothing to do")
	require.NoError(t, k.refresh())
	assert.Empty(t, k.due, "as before")
	require.NoError(t, m.Store.Update(m.readRecord(c1)))
	require.NoError(t, k.refresh())
	assert.True(t, k.isDue(c1), "changed")
	m.mustDel(c1)
	require.NoError(t, k.refresh())
	assert.Empty(t, k.due)
	assert.Empty(t, k.records)
}

// TestKeepHears: which events concern a Record.
func TestKeepHears(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(watchedRequest(t, standard))
	k := m.keeper()
	number := *m.readRecord(c1).NSID
	for _, test := range []struct {
		what string
		e    bond.Event
		want bool
	}{
		{"its VF on the host", bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Index: 99, Name: "eth9", Device: vfA}}, true},
		{"its PF", bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: "enp2s0", Device: pfB}}, true},
		{"another VF of its PF", bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: "enp1s0v1", Device: vfA2}}, false},
		{"a veth of the host", bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: "veth1"}}, false},
		{"a link of its pod", bond.Event{NSID: number, Link: bond.Link{Name: "eth0"}}, true},
		{"a link of its pod that is gone", bond.Event{NSID: number, Kind: bond.Vanished, Link: bond.Link{Index: 3}}, true},
		{"a link of another pod", bond.Event{NSID: number + 1, Link: bond.Link{Name: "bond0-1", Device: vfA}}, false},
	} {
		clear(k.due)
		k.hear(test.e)
		assert.Equal(t, test.want, k.isDue(c1), test.what)
	}
}

// TestKeepSees: Keep sees a Record's bond by the number of its namespace, and nothing that has
// only got that number.
func TestKeepSees(t *testing.T) {
	for what, test := range map[string]struct {
		prepare func(m *machine, k *keeper)
		want    bool
	}{
		"as it was":               {func(*machine, *keeper) {}, true},
		"it has lost its links":   {func(m *machine, _ *keeper) { m.Remake(vfA, "eth0"); m.Remake(vfB, "eth1") }, true},
		"its namespace has ended": {func(m *machine, _ *keeper) { m.RemoveNamespace(pod1) }, false},
		"an end was heard":        {func(m *machine, k *keeper) { k.hear(bond.Event{Kind: bond.Forgotten, NSID: *m.readRecord(c1).NSID}) }, false},
		"the bond is gone": {func(m *machine, _ *keeper) {
			require.NoError(m.t, m.namespace(pod1).Delete(m.readRecord(c1).BondIndex))
		}, false},
		"the bond has another name": {func(m *machine, _ *keeper) {
			m.change(pod1, "bond0", bond.Change{Up: new(false)})
			m.change(pod1, "bond0", bond.Change{Name: new("other")})
		}, false},
		"there is another device in it": {func(m *machine, _ *keeper) {
			m.change("", "enp1s0v1", bond.Change{Namespace: m.namespace(pod1)})
			m.change(pod1, "enp1s0v1", bond.Change{Master: &m.readRecord(c1).BondIndex})
		}, false},
		"a later Record has the number": {func(m *machine, k *keeper) {
			later := *m.readRecord(c1)
			later.Plan.ContainerID, later.Created = "c9", later.Created.Add(time.Second)
			k.records[later.Plan.Key()] = keptRecord{Record: &later}
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			m.mustAdd(watchedRequest(t, standard))
			k := m.keeper()
			test.prepare(m, k)
			now, there, err := k.see(m.readRecord(c1))
			require.NoError(t, err)
			assert.Equal(t, test.want, there)
			if there {
				assert.Equal(t, m.readRecord(c1).BondIndex, now.bond.Link.Index)
			}
		})
	}
}

// TestKeepShows: Keep tells when an agent does not get what it has to see, but says nothing
// if there is none.
func TestKeepShows(t *testing.T) {
	m := newMachine(t)
	k := m.keeper()
	k.show(t.Context())
	assert.Empty(t, m.log.String())
	k.Agent = filepath.Join(t.TempDir(), "agent.sock")
	require.NoError(t, os.WriteFile(k.Agent, nil, 0o600)) // nobody listens there
	k.show(t.Context())
	assert.Contains(t, m.log.String(), "the agent cannot watch the bonds of this node")
}

// TestKeepServes: a duty is done once per step that is missing, under the Record's locks, and
// what it finds is what is on disk by then.
func TestKeepServes(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(watchedRequest(t, standard))
	k := m.keeper()
	withDuties(t, func(_ *keeper, rec *record.Record, _ sight) ([]errand, error) {
		if len(rec.Warnings) >= 2 {
			return nil, nil
		}
		return []errand{{"something", func(context.Context) error {
			rec.Warnings = append(rec.Warnings, "done")
			return m.Store.Update(rec)
		}}}, nil
	})
	k.doDuties(t.Context())
	assert.Equal(t, []string{"done", "done"}, m.readRecord(c1).Warnings)
	assert.Equal(t, "c1:bond0: something\nc1:bond0: something\n", m.log.String())
}

// TestKeepFails: what fails is told once, and tried again, later each time.
func TestKeepFails(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(watchedRequest(t, standard))
	k := m.keeper()
	withDuties(t, func(*keeper, *record.Record, sight) ([]errand, error) {
		return []errand{{"something", func(context.Context) error { return errFault }}}, nil
	})
	var pauses []time.Duration
	for range 20 {
		k.look(c1)
		k.doDuties(t.Context())
		require.True(t, k.isDue(c1))
		pauses = append(pauses, k.failed[c1].pause)
	}
	assert.True(t, slices.IsSorted(pauses))
	assert.Equal(t, longPause, pauses[len(pauses)-1])
	assert.Equal(t, "c1:bond0: something: out of luck; it is tried again\n", m.log.String())
	duties = nil
	k.look(c1)
	k.doDuties(t.Context())
	assert.Empty(t, k.failed)
	assert.Empty(t, k.due)
}

// TestKeepGoesOn: a step that fails keeps neither the other steps of its duty nor the other
// duties from being done, and what Keep has written itself is nothing to look at again.
func TestKeepGoesOn(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(watchedRequest(t, standard))
	k := m.keeper()
	var done []string
	step := func(what string, err error) errand {
		return errand{what, func(context.Context) error {
			done = append(done, what)
			return errors.Join(m.Store.Update(m.readRecord(c1)), err)
		}}
	}
	pending := func(steps ...errand) duty {
		return func(*keeper, *record.Record, sight) (left []errand, err error) {
			for _, one := range steps {
				if !slices.Contains(done, one.what) || one.what == "a" {
					left = append(left, one)
				}
			}
			return left, nil
		}
	}
	unknown := func(*keeper, *record.Record, sight) ([]errand, error) { return nil, errors.New("no sight") }
	withDuties(t, pending(step("a", errFault), step("b", nil)), unknown, pending(step("c", nil)))
	k.doDuties(t.Context())
	assert.Equal(t, []string{"a", "b", "c"}, done)
	assert.Contains(t, m.log.String(), "c1:bond0: no sight\na: out of luck; it is tried again\n")
	due := k.due[c1]
	require.NoError(t, k.refresh())
	assert.Equal(t, due, k.due[c1], "it is looked at again because Keep has written it")
}

// TestKeepWaitsForNobody: a Record whose locks another process holds is left alone, without a
// word, and looked at again. The test executes itself as that process.
func TestKeepWaitsForNobody(t *testing.T) {
	if dir := os.Getenv("MULTIBOND_LOCK"); dir != "" {
		holdLock(t, dir)
		return
	}
	m := newMachine(t)
	m.mustAdd(watchedRequest(t, standard))
	k := m.keeper()
	done := 0
	withDuties(t, func(*keeper, *record.Record, sight) ([]errand, error) {
		if done > 0 {
			return nil, nil
		}
		return []errand{{"something", func(context.Context) error { done++; return nil }}}, nil
	})
	release := otherProcess(t, m.Store.Dir)
	k.doDuties(t.Context())
	assert.Zero(t, done)
	assert.True(t, k.isDue(c1))
	assert.Empty(t, m.log.String())
	release()
	k.look(c1)
	k.doDuties(t.Context())
	assert.Equal(t, 1, done)
}

// holdLock holds the locks on c1 until standard input ends.
func holdLock(t *testing.T, dir string) {
	locks, err := record.OpenLocks(dir, 0)
	require.NoError(t, err)
	require.NoError(t, locks.Lock(t.Context(), "container", "c1"))
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
}

// otherProcess has another process hold c1's locks until release is called.
func otherProcess(t *testing.T, dir string) (release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKeepWaitsForNobody$")
	cmd.Env = append(os.Environ(), "MULTIBOND_LOCK="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", said)
	return func() { stdin.Close(); cmd.Wait() }
}

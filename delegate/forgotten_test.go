package delegate

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// elsewhereConfig is a bond of the other VFs, in another network.
var elsewhereConfig = strings.NewReplacer(vfA, vfA2, vfB, vfB2, "net1", "net2").Replace(standard)

// delOnce is a DEL by a runtime that does not come back: podman and nerdctl. The namespace
// goes, whatever became of it.
func (m *machine) delOnce(k plan.Key) {
	m.t.Helper()
	require.Error(m.t, m.Del(m.t.Context(), k))
	m.RemoveNamespace(pod1)
}

// chain is a request for a network that one plugin makes, without a device.
func chain(t *testing.T) plan.Request {
	t.Helper()
	r, err := requestFor(agentapi.Attachment{Name: "net1", IfName: "bond0", Config: []byte(`{"cniVersion": "1.0.0", "name": "net1", "type": "bridge", "ipam": {"type": "host-local"}}`)}, plan.Request{ContainerID: "c1", Netns: pod1}, nil)
	require.NoError(t, err)
	return r
}

// TestCalledOnce: the runtime calls DEL once, and a plugin refuses. No device is in anybody's
// way, and the next call for any container tries it again.
func TestCalledOnce(t *testing.T) {
	for _, test := range []struct {
		name, refuses string
		request       plan.Request
	}{
		{"IPAM", "host-local DEL bond0", request(t, standard)},
		{"the plugin of a link", "macvlan DEL bond0-1", request(t, scenarioConfig("links that plugins make"))},
		{"a network without a device", "bridge DEL bond0", chain(t)},
	} {
		for next, call := range map[string]func(m *machine){
			"ADD":                  func(m *machine) { m.mustAdd(other(request(t, standard))) },
			"ADD of other devices": func(m *machine) { m.mustAdd(other(request(t, elsewhereConfig))) },
			"DEL": func(m *machine) {
				require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, plan.Request{ContainerID: "c2", IfName: "bond0"}))
			},
			"GC": func(m *machine) { require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{})) },
		} {
			t.Run(test.name+", then "+next, func(t *testing.T) {
				m := newMachine(t)
				before := newMachine(t)
				before.RemoveNamespace(pod1)
				m.mustAdd(test.request)
				m.plugins.refuse[test.refuses] = "no"
				m.delOnce(c1)
				assert.Equal(t, record.Early, m.lifeOf(c1))
				delete(m.plugins.refuse, test.refuses)
				call(m)
				assert.Equal(t, record.None, m.lifeOf(c1))
				m.mustDel(c2)
				m.wantState(before.state())
			})
		}
	}
}

// TestCalledAgain: a runtime that comes back gets errors until the time is over, as if the
// Record had not been set aside.
func TestCalledAgain(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.plugins.refuse["host-local DEL bond0"] = "no"
	for range 3 {
		wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: ipam: host-local DEL: no")
	}
	require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, plan.Request{ContainerID: "c3", IfName: "bond0"}))
	assert.Equal(t, record.Early, m.lifeOf(c1), "another call does not end its time")
	m.Limbo.GiveUp = 0
	m.mustDel(c1)
	assert.Equal(t, record.GivenUp, m.lifeOf(c1))
	assert.Contains(t, m.log.String(), "host-local DEL: no: given up, as this has failed since ")
	m.Limbo.GiveUp = time.Hour
	m.mustDel(c1)
	clear(m.plugins.refuse)
	m.mustDel(c1)
	assert.Empty(t, m.aside())
}

// TestEarlyKeepsNoADD: the sandbox of a Record is dead, and its DEL has never come. An ADD
// takes its VFs over, although its IPAM refuses.
func TestEarlyKeepsNoADD(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.RemoveNamespace(pod1)
	m.plugins.seen = func(c invoke.Call) {
		delete(m.plugins.refuse, "host-local DEL bond0")
		if c.ContainerID == "c1" {
			m.plugins.refuse["host-local DEL bond0"] = "no"
		}
	}
	m.mustAdd(other(request(t, standard)))
	assert.Contains(t, m.log.String(), "multibond: network net1: ipam: host-local DEL: no\n")
	assert.Equal(t, record.Early, m.lifeOf(c1))
	m.mustDel(c2)
}

// TestAttachedAgain: a container that is attached again keeps what it has, although plugins
// know what was set aside by the same names. Its DEL restores both.
func TestAttachedAgain(t *testing.T) {
	for _, givenUp := range []bool{false, true} {
		m := newMachine(t)
		before := m.state()
		r := request(t, standard)
		m.mustAdd(r)
		m.plugins.refuse["host-local DEL bond0"] = "no"
		require.Error(t, m.Del(t.Context(), c1))
		if givenUp {
			m.Limbo.GiveUp = 0
			m.mustDel(c1)
		}
		m.plugins.seen = func(c invoke.Call) {
			if c.Command == "ADD" { // by now another program has released it
				delete(m.plugins.pool, "c1/bond0")
			}
		}
		m.mustAdd(r)
		clear(m.plugins.refuse)
		attached := m.state()
		require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, plan.Request{ContainerID: "c3", IfName: "bond0"}))
		require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{netconf.GCAttachment(c1)}))
		m.wantState(attached)
		m.mustDel(c1)
		m.wantState(before)
	}
}

// TestForgottenHangs: a plugin that hangs keeps no call for another container, until its time
// is over.
func TestForgottenHangs(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.plugins.seen = func(c invoke.Call) {
		if c.Type+c.Command == "host-localDEL" {
			panic(killed{})
		}
	}
	for range 2 {
		require.True(t, untilKilled(func() { m.Del(t.Context(), c1) }))
	}
	m.plugins.seen = func(invoke.Call) {}
	rec := m.readRecord(c1)
	rec.Failing = time.Now()
	require.NoError(t, m.setAsideEarly(rec, errFault))
	third := func() {
		require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, plan.Request{ContainerID: "c3", IfName: "bond0"}))
	}
	third()
	require.Equal(t, record.Early, m.lifeOf(c1))
	m.Limbo.GiveUp = 0
	third()
	assert.Equal(t, record.None, m.lifeOf(c1))
}

// TestForgottenKilled: a call that is killed while it tries the Record of another container
// again is on disk, so the next one tries another.
func TestForgottenKilled(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.mustAdd(other(request(t, elsewhereConfig)))
	m.plugins.refuse["host-local DEL bond0"] = "no"
	require.Error(t, m.Del(t.Context(), c1))
	require.Error(t, m.Del(t.Context(), c2))
	var tried []string
	m.plugins.seen = func(c invoke.Call) {
		tried = append(tried, c.ContainerID)
		panic(killed{})
	}
	for range 2 {
		require.True(t, untilKilled(func() { m.DelPod(t.Context(), netconf.Cluster{}, plan.Request{ContainerID: "c3", IfName: "bond0"}) }))
	}
	assert.Equal(t, []string{"c1", "c2"}, tried)
}

// TestForgottenOwnNetwork: an ADD tries a Record of its own network again, and not one of
// another network that was tried longer ago: its IPAM may have the address that the pod needs.
func TestForgottenOwnNetwork(t *testing.T) {
	for wanted, config := range map[string]string{"c1": standard, "c2": elsewhereConfig} {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		m.mustAdd(other(request(t, elsewhereConfig)))
		m.plugins.refuse["host-local DEL bond0"] = "no"
		for _, k := range []plan.Key{c1, c2} {
			if k.ContainerID == wanted {
				continue
			}
			require.Error(t, m.Del(t.Context(), k))
		}
		require.Error(t, m.Del(t.Context(), plan.Key{ContainerID: wanted, IfName: "bond0"}))
		var tried []string
		m.plugins.seen = func(c invoke.Call) {
			if c.Command == "DEL" {
				tried = append(tried, c.ContainerID)
			}
		}
		r := request(t, config)
		r.ContainerID = "c3"
		m.mustAdd(r)
		assert.Equal(t, []string{wanted}, tried)
	}
}

// TestLetGo: a DEL is killed after it has let go of the VFs and before the Record is gone, and
// another pod gets a VF. If the Record is given up then, it does not wait for that pod.
func TestLetGo(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.Store.Files.Around = func(o atomicfile.Operation, do func() error) error {
		if o.Verb == atomicfile.Remove && o.Name == m.Store.File(c1) {
			panic(killed{})
		}
		return m.operate(o, do)
	}
	require.True(t, untilKilled(func() { m.Del(t.Context(), c1) }))
	m.Store.Files.Around = m.operate
	m.mustAdd(other(request(t, standard)))
	attached := m.linesOf(pod2)
	refusedOpen(m)
	require.Error(t, m.Del(t.Context(), c1))
	rec := m.readRecord(c1)
	rec.Failing = rec.Failing.Add(-2 * m.Limbo.GiveUp)
	rec.Unanswered = nil
	require.NoError(t, m.Store.Update(rec))
	m.mustDel(c1)
	require.Equal(t, record.GivenUp, m.lifeOf(c1))
	m.edges.refuse = nil
	m.mustDel(c1)
	assert.Empty(t, m.aside())
	assert.Equal(t, attached, m.linesOf(pod2))
	m.mustDel(c2)
}

// TestIsDue: what was given up is tried again after pauses that double.
func TestIsDue(t *testing.T) {
	began := time.Now()
	rec := record.Record{Failing: began}
	assert.True(t, rec.IsDue(began), "it was not tried since an earlier version has set it aside")
	for _, pause := range []time.Duration{time.Minute, time.Hour} {
		rec.LastTried = began.Add(pause)
		assert.False(t, rec.IsDue(began.Add(2*pause-1)))
		assert.True(t, rec.IsDue(began.Add(2*pause)))
	}
}

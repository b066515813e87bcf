package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/record"
)

const (
	blindTimeout = 30 * time.Millisecond // for the agent to say whether it hears of bonds
	watchTimeout = 2 * time.Second       // for the agent to accept a socket of events
)

// OpenEyes has an agent that has just started, or has missed something, see the bonds of
// this node again. Runtimes call STATUS, and so this, every few seconds. It waits for nobody. If it
// fails, the agent's metric multibond_watching stays 0 and the next call tries again.
func (h *Host) OpenEyes(ctx context.Context, socket string) {
	if blind, err := (agentapi.Client{Socket: socket, Timeout: blindTimeout}).Blind(ctx); err == nil && blind {
		h.giveEyes(ctx, socket)
	}
}

// giveEyes gives the agent what it needs to watch the bonds of this node: a socket that
// hears of every change of a link, and what is there now. The socket is opened first, so
// that nothing is missed in between. The agent needs no capability to listen to it, and can
// do nothing else with it.
func (h *Host) giveEyes(ctx context.Context, socket string) error {
	return h.giveEyesBy(ctx, socket, h.observe)
}

// giveEyesBy is giveEyes. observe adds the bond of a Record to what is there.
func (h *Host) giveEyesBy(ctx context.Context, socket string, observe func(bond.Namespace, *record.Record, *agentapi.Watch)) error {
	events, err := h.Kernel.OpenEvents()
	if err != nil {
		return err
	}
	defer events.Close()
	host, err := h.Kernel.Host()
	if err != nil {
		return err
	}
	defer host.Close()
	w := agentapi.Watch{Events: events, At: time.Now(), Bonds: []agentapi.Bond{}}
	keys, err := h.Store.List()
	if err != nil {
		return err
	}
	for _, k := range keys {
		// A Record that cannot be read is a warning of its own DEL.
		if rec, err := h.Store.Load(k); err == nil {
			observe(host, rec, &w)
		}
	}
	if err := observeDevices(host, &w); err != nil {
		return err
	}
	return agentapi.Client{Socket: socket, Timeout: watchTimeout}.Watch(ctx, w)
}

func warnBlind(err error, o *outcome) {
	if err != nil {
		o.warn("the agent cannot watch the bonds of this node: %v", err)
	}
}

// observe adds a Record's bond and its links, unless the bond is gone.
func (h *Host) observe(host bond.Namespace, rec *record.Record, w *agentapi.Watch) {
	if !rec.Plan.IsBond() || rec.Phase() != record.Complete || rec.BootID != h.BootID {
		return
	}
	s, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return
	}
	defer s.close()
	if s.pod == nil {
		return
	}
	number, err := host.Number(s.pod)
	if err != nil {
		return
	}
	now, err := s.pod.Observe(number)
	if err != nil {
		return
	}
	addBond(rec, number, now, w)
}

// addBond adds a Record's bond and its links, which are among those of the pod.
func addBond(rec *record.Record, number int, now []bond.Event, w *agentapi.Watch) {
	b := bondOfRecord(rec, number)
	w.Bonds = append(w.Bonds, b)
	for _, e := range now {
		if e.Link.Index == b.Index || e.Member != nil {
			w.Now = append(w.Now, e)
		}
	}
}

// observeDevices adds the host's devices, of which some are PFs of the bonds' links.
func observeDevices(host bond.Namespace, w *agentapi.Watch) error {
	now, err := host.Observe(bond.OwnNamespace)
	if err != nil {
		return err
	}
	for _, e := range now {
		if e.Link.Device != "" {
			w.Now = append(w.Now, e)
		}
	}
	return nil
}

// bondOfRecord describes the bond of a Record, whose namespace has a number.
func bondOfRecord(rec *record.Record, number int) agentapi.Bond {
	b := agentapi.Bond{
		Pod: rec.Plan.Group.Pod, Network: rec.Plan.Network, IfName: rec.Plan.IfName,
		NSID: number, Index: rec.BondIndex, Wanted: len(rec.Plan.Links),
	}
	for _, l := range rec.Plan.Links {
		if attached, there := rec.Attached[l.Name]; there {
			b.Links = append(b.Links, agentapi.BondLink{Name: l.Name, Index: attached.Link.Index, Device: l.Device, PF: l.PF})
		}
	}
	return b
}

// number gives the pod's namespace a number in the host's, without which no socket hears
// of its links. It is done before the bond is made, so that all of it is heard.
func number(s sandbox) (*int, error) {
	n, err := s.host.Number(s.pod)
	if err != nil {
		return nil, fmt.Errorf("the bond cannot be watched: %w", err)
	}
	return &n, nil
}

// watched lists the bonds of Records for the agent.
func watched(recs []*record.Record) (bonds []agentapi.Bond) {
	for _, rec := range recs {
		if rec.NSID != nil && rec.BondIndex != 0 {
			bonds = append(bonds, bondOfRecord(rec, *rec.NSID))
		}
	}
	return bonds
}

package delegate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// noteLowered writes into the Record that a link is about to be set down, until EndDrill. The
// caller sets it down, and then closes the locks.
func (h *Host) noteLowered(ctx context.Context, k plan.Key, link string, until time.Time) (*record.Locks, error) {
	locks, err := h.lockContainer(ctx, k.ContainerID)
	if err != nil {
		return nil, err
	}
	rec, err := h.Store.Load(k)
	if err == nil {
		err = h.checkDrillable(rec)
	}
	if err == nil {
		err = isDrilled(rec)
	}
	if err == nil {
		rec.Lowered = map[string]time.Time{link: until}
		err = h.Store.Update(rec)
	}
	if err != nil {
		return nil, errors.Join(err, locks.Close())
	}
	return locks, nil
}

// isDrilled returns an error if another drill has set a link down.
func isDrilled(rec *record.Record) error {
	for link, until := range rec.Lowered {
		return cnierror.Errorf(types.ErrTryAgainLater, "a drill of this bond has set %s down, and may run until %s", link, until.Format(time.TimeOnly))
	}
	return nil
}

// EndDrill sets up the link of a bond that the drill with the end until has set down, unless
// its DEL has begun, which restores it.
func (h *Host) EndDrill(ctx context.Context, k plan.Key, until time.Time) error {
	locks, err := h.lockContainer(ctx, k.ContainerID)
	if err != nil {
		return err
	}
	defer locks.Close()
	rec, err := h.Store.Load(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(rec.Lowered) == 0 || !endOf(rec).Equal(until) || h.checkDrillable(rec) != nil:
		return nil
	}
	s, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return err
	}
	defer s.close()
	if err := raise(s, rec); err != nil {
		return err
	}
	rec.Lowered = nil
	return h.Store.Update(rec)
}

// endOverdueDrill is EndDrill for a drill whose time is over. It was killed, and so was its
// guard.
func (h *Host) endOverdueDrill(ctx context.Context, rec *record.Record) error {
	if len(rec.Lowered) == 0 || time.Now().Before(endOf(rec)) {
		return nil
	}
	return h.EndDrill(ctx, rec.Plan.Key(), endOf(rec))
}

// raise sets up the links in the pod that a drill has set down, but for those that keep has
// set down as well.
func raise(s sandbox, rec *record.Record) error {
	if s.pod == nil {
		return nil
	}
	links, err := s.pod.Links()
	if err != nil {
		return err
	}
	for _, l := range rec.Plan.Links {
		now, there := bond.Find(links, func(x bond.Link) bool { return rec.Is(l, x) })
		if _, lowered := rec.Lowered[l.Name]; !lowered || slices.Contains(rec.Downed, l.Name) || !there || now.Master != rec.BondIndex {
			continue
		}
		if err := s.pod.Change(now.Index, bond.Change{Up: new(true)}); err != nil {
			return fmt.Errorf("setting %s up: %w", now.Name, err)
		}
	}
	return nil
}

// checkDrillable returns why a Record has no bond of which a link can be set down.
func (h *Host) checkDrillable(rec *record.Record) error {
	switch {
	case !rec.Plan.IsBond():
		return fmt.Errorf("%s is no bond of Multibond", rec.Plan.IfName)
	case rec.BootID != h.BootID || rec.Phase() != record.Complete || !rec.Tried.IsZero():
		return errors.New("its ADD is not complete, or its DEL has begun")
	}
	return nil
}

// endDrills is the duty to set up what a drill has set down that was killed, together with its
// guard, if Keep may enter the pod. If its time is not over, the Record is looked at then.
func endDrills(k *keeper, rec *record.Record, _ sight) ([]errand, error) {
	if len(rec.Lowered) == 0 || k.Netns == "" {
		return nil, nil
	}
	if end := endOf(rec); time.Now().Before(end) {
		k.lookAt(rec.Plan.Key(), end)
		return nil, nil
	}
	what := fmt.Sprintf("a drill of %s was killed, and its link is set up again", rec.Plan.Bond.Name)
	return []errand{{what, func(context.Context) error {
		for _, l := range rec.Plan.Links {
			if _, lowered := rec.Lowered[l.Name]; !lowered || slices.Contains(rec.Downed, l.Name) {
				continue
			}
			if err := k.setInPod(rec, l, true); err != nil {
				return err
			}
		}
		rec.Lowered = nil
		return k.Store.Update(rec)
	}}}, nil
}

// endOf returns when a drill that has set links down has to be over.
func endOf(rec *record.Record) time.Time {
	return slices.MaxFunc(slices.Collect(maps.Values(rec.Lowered)), time.Time.Compare)
}

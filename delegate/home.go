package delegate

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
)

// findInPod finds a link in the pod.
func (w *wayBack) findInPod(l plan.Link) (bond.Link, bool, error) {
	if w.pod == nil {
		return bond.Link{}, false, nil
	}
	links, err := w.pod.Links()
	if err != nil {
		return bond.Link{}, false, err
	}
	found, there := bond.Find(links, func(x bond.Link) bool { return w.rec.Is(l, x) })
	return found, there, nil
}

// bringHome moves a link to the host if it is in the pod.
func (w *wayBack) bringHome(l plan.Link) error {
	inPod, there, err := w.findInPod(l)
	if err != nil || !there {
		return err
	}
	return moveHome(w.sandbox, inPod, l)
}

// moveHome moves a link from the pod to the host under its own name. If the name is
// taken by now, a device gets a name that cannot be taken.
func moveHome(s sandbox, l bond.Link, planned plan.Link) error {
	err := bond.MoveHome(s.pod, l, s.host, *planned.Before)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("moving %s back to the host: %w", l.Name, err)
	// It may have moved in spite of the error: the kernel gives the new name after the move.
	links, unknown := s.pod.Links()
	if unknown != nil {
		return errors.Join(err, unknown)
	}
	if _, still := bond.Find(links, func(x bond.Link) bool { return x.Index == l.Index && x.Device == l.Device }); !still {
		return nil
	}
	if planned.Device == "" {
		return err
	}
	spare := fmt.Sprintf("mb%d", l.Index)
	if again := s.pod.Change(l.Index, bond.Change{Namespace: s.host, Name: &spare}); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

// awaitOnHost waits until a device that is not in the pod is on the host, or has no
// interface, or does not exist. left reports that the device has been nowhere for so
// long that somebody else must have it, so that it has to be left alone.
func (w *wayBack) awaitOnHost(l plan.Link) (now bond.DeviceFacts, left bool, err error) {
	const pause = 50 * time.Millisecond
	for deadline := time.Now().Add(w.Limbo.Wait); ; time.Sleep(pause) {
		now, err = w.survey(l)
		switch {
		case err != nil:
			return now, false, err
		case now.Link != nil || now.Userspace() || now.Driver == "": // it is missing, too
			return now, false, nil
		}
		if time.Now().After(deadline) {
			break
		}
	}
	left, err = w.isLost(l)
	return now, left, err
}

// survey reads the facts about a link's device on the host.
func (w *wayBack) survey(l plan.Link) (bond.DeviceFacts, error) {
	return bond.SurveyDevice(w.Sys, w.host, l.Device, l.DevPort)
}

// isLost reports whether a link has been nowhere for so long that whoever has it keeps
// it. Until then it returns an error, so that a later DEL looks again.
func (w *wayBack) isLost(l plan.Link) (bool, error) {
	if since := w.rec.LostAt(l); time.Since(since) > w.Limbo.GiveUp {
		w.leave("%s has been neither on the host nor in the pod since %s; Multibond no longer waits for it", cmp.Or(l.Device, l.Name), since.Format(time.RFC3339))
		return true, nil
	}
	return false, errors.New("it is neither on the host nor in the pod; if its network namespace has just ended, it will come back")
}

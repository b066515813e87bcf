package delegate

import (
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
	name, err := moveHome(w.sandbox, inPod, *l.Before)
	if err != nil || l.Device != "" {
		return err
	}
	home, there, err := bond.LinkIfThere(w.host, name)
	if there {
		w.rec.SetIndex(l, home.Index) // nothing else tells it from another interface
	}
	return err
}

// moveHome moves a link from the pod to the host under its own name. If the name is
// taken by now, the link gets a name that cannot be taken. moveHome returns the name.
func moveHome(s sandbox, l, before bond.Link) (name string, err error) {
	if err = bond.MoveHome(s.pod, l, s.host, before); err == nil {
		return before.Name, nil
	}
	err = fmt.Errorf("moving %s back to the host: %w", l.Name, err)
	// It may have moved in spite of the error: the kernel gives the new name after the move.
	links, unknown := s.pod.Links()
	if unknown != nil {
		return "", errors.Join(err, unknown)
	}
	if _, still := bond.Find(links, func(x bond.Link) bool { return x.Index == l.Index && x.Device == l.Device }); !still {
		return l.Name, nil
	}
	spare := before
	spare.Name = fmt.Sprintf("mb%d", l.Index)
	if again := bond.MoveHome(s.pod, l, s.host, spare); again != nil {
		return "", errors.Join(err, again)
	}
	return spare.Name, nil
}

// errNowhere is returned for a link that is in no namespace that we know. A namespace
// that ends returns its links a while after it is gone. Until then this cannot be told
// from a link that somebody else has taken.
var errNowhere = errors.New("it is neither on the host nor in the pod; if its network namespace has just ended, it will come back")

// awaitOnHost waits until a device that is not in the pod is on the host, or has no
// interface, or does not exist.
func (w *wayBack) awaitOnHost(l plan.Link) (bond.DeviceFacts, error) {
	const pause = 50 * time.Millisecond
	for deadline := w.began.Add(w.Limbo.Wait); ; time.Sleep(pause) {
		now, err := w.survey(l)
		switch {
		case err != nil:
			return now, err
		case now.Link != nil || now.Userspace() || now.Driver == "": // it is missing, too
			return now, nil
		case time.Now().After(deadline):
			return now, errNowhere
		}
	}
}

// survey reads the facts about a link's device on the host.
func (w *wayBack) survey(l plan.Link) (bond.DeviceFacts, error) {
	return bond.SurveyDevice(w.Sys, w.host, l.Device, l.DevPort)
}

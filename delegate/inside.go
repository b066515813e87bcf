package delegate

import (
	"fmt"
	"path/filepath"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// inside calls do in the pod of a Record. The directory of the pods' namespaces can have
// another path where Keep runs, so only the last element of the Record's counts. What is there
// is the pod's if it has the Record's cookie.
func (k *keeper) inside(rec *record.Record, do func(pod bond.Namespace) error) error {
	if k.Netns == "" {
		return fmt.Errorf("it would have to enter the pod, and may not (-netns)")
	}
	if rec.NetnsID == "" {
		return fmt.Errorf("its Record does not say which network namespace is the pod's")
	}
	path := filepath.Join(k.Netns, filepath.Base(rec.Plan.Netns))
	s, err := k.enterIfThere(path, rec.NetnsID)
	if err != nil {
		return err
	}
	defer s.close()
	if s.pod == nil {
		return fmt.Errorf("%s is not the network namespace of the pod, which was %s at ADD (-netns)", path, rec.Plan.Netns)
	}
	return do(s.pod)
}

// insideLink calls do in the pod with a link of a Record, if it is there.
func (k *keeper) insideLink(rec *record.Record, l plan.Link, do func(pod bond.Namespace, in bond.Link) error) error {
	return k.inside(rec, func(pod bond.Namespace) error {
		links, err := pod.Links()
		if err != nil {
			return err
		}
		if in, there := bond.Find(links, func(x bond.Link) bool { return rec.Is(l, x) }); there {
			return do(pod, in)
		}
		return nil
	})
}

// setInPod sets a link up or down in the pod, as long as it is in the bond.
func (k *keeper) setInPod(rec *record.Record, l plan.Link, up bool) error {
	return k.insideLink(rec, l, func(pod bond.Namespace, in bond.Link) error {
		if in.Master != rec.BondIndex || in.Up == up {
			return nil
		}
		return pod.Change(in.Index, bond.Change{Up: &up})
	})
}

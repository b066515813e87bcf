package bond

import (
	"errors"
	"fmt"
	"time"
)

// macWait bounds how long GiveMAC waits for a VF to take what its PF says: some
// drivers reset the VF first, in their own time.
const (
	macWait  = 3 * time.Second
	macPause = 50 * time.Millisecond
)

// GiveMAC gives a link in pod, a VF of pf, another MAC, and leaves it down. A
// VF whose MAC nobody has set is asked itself: its PF then knows no more of it
// than before. One whose PF has set it refuses, and gets it from its PF, which
// takes no trust. On error the PF's word is what it was.
func GiveMAC(host, pod Namespace, l Link, pf string, number int, mac string) error {
	down := false
	if err := pod.Change(l.Index, Change{Up: &down}); err != nil {
		return fmt.Errorf("setting %s down: %w", l.Name, err)
	}
	refused := pod.Change(l.Index, Change{MAC: &mac})
	if refused == nil {
		return nil
	}
	vfs, err := host.VFs(pf)
	if err != nil {
		return err
	}
	have, there := vfs[number]
	if !there {
		return fmt.Errorf("PF %s reports no VF %d any more", pf, number)
	}
	want := have
	want.MAC = mac
	if err := host.ChangeVF(pf, number, have, want); err != nil {
		return errors.Join(fmt.Errorf("%s: MAC %s: %w", l.Name, mac, refused), err)
	}
	if err := awaitMAC(pod, l, mac); err != nil {
		return errors.Join(err, host.ChangeVF(pf, number, want, have))
	}
	return nil
}

// awaitMAC waits until a link has the MAC that its PF has set. Some drivers
// look for it when they are opened or closed, others take it from whoever sets
// it now.
func awaitMAC(n Namespace, l Link, mac string) error {
	for deadline := time.Now().Add(macWait); ; time.Sleep(macPause) {
		if err := Bounce(n, l); err != nil {
			return err
		}
		now, err := n.Link(l.Name)
		if err != nil {
			return err
		}
		if now.MAC == mac {
			return nil
		}
		err = n.Change(l.Index, Change{MAC: &mac})
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not take the MAC %s that its PF has set: %w", l.Name, mac, err)
		}
	}
}

// Bounce sets a link up and down: igbvf takes the MAC that its PF has set when
// it is closed.
func Bounce(n Namespace, l Link) error {
	for _, up := range []bool{true, false} {
		if err := n.Change(l.Index, Change{Up: &up}); err != nil {
			return fmt.Errorf("setting %s up and down: %w", l.Name, err)
		}
	}
	return nil
}

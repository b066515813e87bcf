package bond

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// IsUnicast reports whether mac is the address of one interface, of whatever
// kind.
func IsUnicast(mac string) bool {
	address, err := net.ParseMAC(mac)
	return err == nil && address[0]&1 == 0
}

// macWait bounds how long GiveMAC waits for a VF to take the MAC that its PF has
// set: some drivers reset the VF first, which takes a while.
const (
	macWait  = 3 * time.Second
	macPause = 50 * time.Millisecond
)

// VFLink is the interface of a VF in a pod, with the PF that keeps the VF's
// settings.
type VFLink struct {
	Link
	Pod    Namespace // the namespace that the interface is in
	Host   Namespace // the namespace that the PF is in
	PF     string    // the name of the PF's interface
	Number int       // the VF's number at its PF
}

// GiveMAC sets the MAC of v and leaves the link down. It asks the VF first: if
// the VF accepts, its PF learns nothing new. A VF whose MAC was set by its PF
// refuses; GiveMAC then sets the MAC through the PF, which needs no trust. On
// error the PF's setting is what it was.
func GiveMAC(v VFLink, mac string) error {
	if err := v.Pod.Change(v.Index, Change{Up: new(false)}); err != nil {
		return fmt.Errorf("setting %s down: %w", v.Name, err)
	}
	refused := v.Pod.Change(v.Index, Change{MAC: &mac})
	if refused == nil {
		return nil
	}
	vfs, err := v.Host.VFs(v.PF)
	if err != nil {
		return err
	}
	have, there := vfs[v.Number]
	if !there {
		return fmt.Errorf("PF %s reports no VF %d any more", v.PF, v.Number)
	}
	want := have
	want.MAC = mac
	if err := v.Host.ChangeVF(v.PF, v.Number, have, want); err != nil {
		return errors.Join(fmt.Errorf("%s: MAC %s: %w", v.Name, mac, refused), err)
	}
	if err := awaitMAC(v.Pod, v.Link, mac); err != nil {
		return errors.Join(err, v.Host.ChangeVF(v.PF, v.Number, want, have))
	}
	return nil
}

// awaitMAC waits until l has the MAC that its PF has set. Some drivers look for
// it when the link is opened or closed, others accept it when it is set now.
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

// Bounce sets l up and then down: igbvf takes the MAC that its PF has set when
// the link is closed.
func Bounce(n Namespace, l Link) error {
	for _, up := range []bool{true, false} {
		if err := n.Change(l.Index, Change{Up: &up}); err != nil {
			return fmt.Errorf("setting %s up and down: %w", l.Name, err)
		}
	}
	return nil
}

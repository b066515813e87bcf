package bond

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// IsUnicast reports whether mac is the address of one interface, of whatever
// kind.
func IsUnicast(mac string) bool {
	address, err := net.ParseMAC(mac)
	return err == nil && address[0]&1 == 0
}

// A VF tells its PF its MAC in a message, and igb has no way to see one that is
// lost: the PF is down, or too busy to answer in time. The VF then takes silence for
// a yes. What a PF reports can therefore be older than the VF's MAC, until the VF is
// reset. To be reset, igbvf is set up and down.
const (
	// macWait bounds how long a VF is asked to take the MAC that its PF has set: some
	// drivers reset the VF first, which takes a while.
	macWait = 3 * time.Second
	// reportWait bounds how long a VF is asked to tell its PF its MAC.
	reportWait = 10 * time.Second
	macPause   = 50 * time.Millisecond
)

// NoMAC is what a PF reports for a VF of which it knows no MAC. If they are told to
// set it, the drivers of Intel's NICs take back the MAC that they have set.
const NoMAC = "00:00:00:00:00:00"

// VFLink is the interface of a VF, with the PF that keeps the VF's settings.
type VFLink struct {
	Link
	Pod      Namespace // the namespace that the interface is in
	Host     Namespace // the namespace that the PF is in
	PF       string    // the name of the PF's interface
	Number   int       // the VF's number at its PF
	Reported string    // the MAC that the PF reported before anything was done
}

// GiveMAC sets the MAC of v and leaves the link down. It asks the VF first: if
// the VF accepts, its PF learns nothing new. A VF whose MAC was set by its PF
// refuses; GiveMAC then sets the MAC through the PF, which needs no trust. On
// error the PF's setting is what it was.
func GiveMAC(v VFLink, mac string) error {
	if err := v.Pod.Change(v.Index, Change{Up: new(false)}); err != nil {
		return fmt.Errorf("setting %s down: %w", v.Name, err)
	}
	refused, err := v.ask(mac)
	if err != nil || refused == nil {
		return err
	}
	return v.set(mac, refused)
}

// RestoreMAC makes v, which is down, have its own MAC again, and its PF report it,
// as both did before. A PF that was only told the MAC is never made to set it: the VF
// could have no other MAC from then on. Only if v cannot have its own MAC, because the
// PF has set another, the PF sets it: then it had set one before, unless a plugin has
// done so meanwhile. A PF that does not hear v ends up with no MAC for it, until v is
// next reset.
func RestoreMAC(v VFLink, mac string, byPlugin bool) error {
	refused, err := v.take(mac)
	switch {
	case err != nil || refused == nil:
		return err
	case !byPlugin:
		return v.set(mac, refused)
	}
	if err := v.change(NoMAC); err != nil {
		return err
	}
	refused, err = v.take(mac)
	return errors.Join(refused, err)
}

// take has v take a MAC and tell its PF. It returns the refusal of a VF whose PF has
// set another one. A PF that does not hear v is made to forget what it last heard.
func (v VFLink) take(mac string) (refused, err error) {
	for deadline := time.Now().Add(reportWait); ; time.Sleep(macPause) {
		if refused, err := v.ask(mac); refused != nil || err != nil {
			return refused, err
		}
		now, err := v.state()
		if err != nil || now.MAC == mac {
			return nil, err
		}
		pf, err := v.Host.Link(v.PF)
		if err != nil {
			return nil, err
		}
		if !pf.Up || time.Now().After(deadline) {
			return nil, v.change(NoMAC)
		}
		if err := Bounce(v.Pod, v.Link); err != nil {
			return nil, err
		}
	}
}

// ask asks v to take a MAC. It returns the refusal of a VF whose PF has set another
// one. A refusal can also mean that the PF was reset. Therefore the VF is reset and
// asked again: at that its PF forgets a MAC that it has not set. If the PF knows one
// afterwards, it has heard the VF, and would let it take the new one.
func (v VFLink) ask(mac string) (refused, err error) {
	for deadline := time.Now().Add(macWait); ; time.Sleep(macPause) {
		refused := setMAC(v.Pod, v.Index, mac)
		if refused == nil {
			return nil, nil
		}
		before, err := v.state()
		if err != nil {
			return nil, err
		}
		if err := Bounce(v.Pod, v.Link); err != nil {
			return nil, err
		}
		again := setMAC(v.Pod, v.Index, mac)
		if again == nil {
			return nil, nil
		}
		after, err := v.state()
		if err != nil {
			return nil, err
		}
		knows := after.MAC == before.MAC && after.MAC != mac && (after.MAC != NoMAC || v.Reported == NoMAC)
		if knows && isRefusal(refused) && isRefusal(again) {
			return again, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s: setting MAC %s: %w", v.Name, mac, again)
		}
	}
}

// isRefusal reports whether err is a PF's answer to a VF that asks for a MAC: of igb
// and bnxt, of ixgbe, of iavf.
func isRefusal(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}

// set has the PF set the MAC that v has refused, and waits until v has it. On error
// the PF's setting is what it was.
func (v VFLink) set(mac string, refused error) error {
	before, err := v.state()
	if err != nil {
		return err
	}
	if err := v.change(mac); err != nil {
		return errors.Join(fmt.Errorf("%s: setting MAC %s: %w", v.Name, mac, refused), err)
	}
	if err := awaitMAC(v.Pod, v.Link, mac); err != nil {
		return errors.Join(err, v.change(before.MAC))
	}
	return nil
}

// state reads what the PF keeps for v.
func (v VFLink) state() (VF, error) { return readVF(v.Host, v.PF, v.Number) }

// change has the PF set the MAC of v, which has no effect on the link yet.
func (v VFLink) change(mac string) error {
	have, err := v.state()
	if err != nil {
		return err
	}
	want := have
	want.MAC = mac
	return SetVF(v.Host, v.PF, v.Number, have, want)
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
		err = setMAC(n, l.Index, mac)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not accept the MAC %s that its PF has set: %w", l.Name, mac, err)
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

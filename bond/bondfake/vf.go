package bondfake

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

func (n *namespace) VFs(pf string) (map[int]bond.VF, error) {
	unlock, err := n.lock("VFs", pf)
	defer unlock()
	if err != nil {
		return nil, err
	}
	l := n.k.named(n, pf)
	if l == nil {
		return nil, fmt.Errorf("PF %s: %w", pf, fs.ErrNotExist)
	}
	out := map[int]bond.VF{}
	for _, d := range n.k.devices {
		if d.pf == l.Device && l.Device != "" && !l.represents() && !d.is.Virtio {
			out[d.number] = d.admin
		}
	}
	return out, nil
}

func (n *namespace) ChangeVF(pf string, number int, have, want bond.VF) error {
	unlock, err := n.lock("ChangeVF", pf)
	defer unlock()
	if err != nil {
		return err
	}
	l := n.k.named(n, pf)
	if l == nil {
		return fmt.Errorf("PF %s: %w", pf, fs.ErrNotExist)
	}
	for _, d := range n.k.devices {
		if d.pf == l.Device && d.number == number && !d.is.Virtio {
			return n.k.changeDevice(d, have, want)
		}
	}
	if len(have.Differences(want)) == 0 {
		return nil
	}
	return fmt.Errorf("VF %d of %s: %w", number, pf, unix.EINVAL)
}

// SetByPF reports whether the PF of a VF has set the VF's MAC. No request tells: igb
// reports a MAC that it has set and one that it was told alike.
func (k *Kernel) SetByPF(address string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.devices[address].macSet
}

// setByPF reports whether the PF lets the VF have no MAC but the one that it has set.
func (d *device) setByPF() bool { return d.macSet && !*d.admin.Trust }

// hears reports whether the PF of a VF gets the VF's next message.
func (k *Kernel) hears(d *device) bool {
	return k.isUp(d.pf) && (k.Lose == nil || !k.Lose(d.address))
}

// resetPF is what igb does when it is set up or down: it refuses whatever its VFs ask
// for until they are reset, too.
func (k *Kernel) resetPF(address string) {
	for _, d := range k.devices {
		if d.pf == address && address != "" {
			d.clear = false
		}
	}
}

func (k *Kernel) isUp(pf string) bool {
	return slices.ContainsFunc(k.links, func(l *link) bool { return l.Device == pf && l.Up && !l.represents() })
}

// represents reports whether a link is the representor of a VF.
func (l *link) represents() bool { return l.portName != "" && l.portName != "p0" }

// hasCarrier reports whether a link has a carrier: if it is up, unless it is that of a VF whose
// PF has disabled it, or whose representor is down.
func (l *link) hasCarrier() bool {
	d := l.vf()
	if d == nil {
		return l.Up
	}
	rep := l.ns.k.representor(d)
	return l.Up && d.admin.LinkState != bond.LinkDisabled && (rep == nil || rep.Up)
}

// representor returns the representor of a VF, or nil.
func (k *Kernel) representor(d *device) *link {
	for _, l := range k.links {
		if l.Device == d.pf && l.portName == fmt.Sprintf("pf0vf%d", d.number) {
			return l
		}
	}
	return nil
}

// changeDevice changes a VF. Each setting is a request of its own.
func (k *Kernel) changeDevice(d *device, have, want bond.VF) error {
	var errs []error
	set := func(what string, differs bool, do func() error) {
		if !differs {
			return
		}
		err := d.is.BusyError
		if d.is.Busy == 0 || !time.Now().Before(d.busy) {
			if err = do(); err == nil {
				d.busy = time.Now().Add(d.is.Busy)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("setting %s: %w", what, err))
		}
	}
	legacy := func(do func()) func() error {
		return func() error {
			if d.is.Switchdev {
				return unix.EOPNOTSUPP
			}
			do()
			return nil
		}
	}
	set("vlan", have.VLAN != want.VLAN || have.QoS != want.QoS || want.VLAN != 0 && have.Proto != want.Proto, func() error {
		switch {
		case want.VLAN > 4095 || want.QoS > 7:
			return unix.EINVAL
		case want.Proto != 0 && want.Proto != unix.ETH_P_8021Q && !d.is.Everything:
			return unix.EPROTONOSUPPORT
		}
		return legacy(func() {
			d.admin.VLAN, d.admin.QoS, d.admin.Proto = want.VLAN, want.QoS, cmp.Or(want.Proto, unix.ETH_P_8021Q)
		})()
	})
	set("MAC", have.MAC != want.MAC, func() error {
		k.setByPF(d, want.MAC)
		return nil
	})
	set("rate", have.MinRate != want.MinRate || have.MaxRate != want.MaxRate, func() error {
		if want.MinRate != 0 && !d.is.Everything || want.MaxRate > 1000 {
			return unix.EINVAL
		}
		d.admin.MinRate, d.admin.MaxRate = want.MinRate, want.MaxRate
		return nil
	})
	set("spoofchk", have.SpoofChk != want.SpoofChk, legacy(func() { d.admin.SpoofChk = want.SpoofChk }))
	set("link state", have.LinkState != want.LinkState, func() error {
		if !d.is.LinkState {
			return unix.EOPNOTSUPP
		}
		d.admin.LinkState = want.LinkState
		for _, l := range k.links {
			if l.Device == d.address {
				l.changeCarrier(l.hasCarrier())
			}
		}
		return nil
	})
	set("trust", have.Trust != nil && want.Trust != nil && *have.Trust != *want.Trust, legacy(func() { d.admin.Trust = new(*want.Trust) }))
	return errors.Join(errs...)
}

// setByPF has the PF of a VF set its MAC.
func (k *Kernel) setByPF(d *device, mac string) {
	d.admin.MAC, d.macSet = mac, mac != bond.NoMAC
	for _, l := range k.links {
		switch {
		case l.Device != d.address || !d.is.TakesMAC:
		case d.macSet:
			l.MAC, l.PermMAC = mac, mac
		default:
			d.admin.MAC = l.MAC // which the VF tells it again after its reset
		}
	}
}

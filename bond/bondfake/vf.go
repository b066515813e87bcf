package bondfake

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

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
		if d.pf == l.Device && l.Device != "" {
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
		if d.pf == l.Device && d.number == number {
			return d.change(have, want)
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
	return slices.ContainsFunc(k.links, func(l *link) bool { return l.Device == pf && l.Up })
}

// change accepts what igb accepts. Each setting is a request of its own.
func (d *device) change(have, want bond.VF) error {
	var errs []error
	if have.VLAN != want.VLAN || have.QoS != want.QoS || want.VLAN != 0 && have.Proto != want.Proto {
		switch {
		case want.VLAN > 4095 || want.QoS > 7:
			errs = append(errs, fmt.Errorf("setting vlan: %w", unix.EINVAL))
		case want.Proto != 0 && want.Proto != unix.ETH_P_8021Q:
			errs = append(errs, fmt.Errorf("setting vlan: %w", unix.EPROTONOSUPPORT))
		default:
			d.admin.VLAN, d.admin.QoS = want.VLAN, want.QoS
		}
	}
	if have.MAC != want.MAC {
		d.admin.MAC, d.macSet = want.MAC, want.MAC != bond.NoMAC
	}
	if have.MinRate != want.MinRate || have.MaxRate != want.MaxRate {
		if want.MinRate != 0 || want.MaxRate > 1000 {
			errs = append(errs, fmt.Errorf("setting rate: %w", unix.EINVAL))
		} else {
			d.admin.MaxRate = want.MaxRate
		}
	}
	if have.SpoofChk != want.SpoofChk {
		d.admin.SpoofChk = want.SpoofChk
	}
	if have.LinkState != want.LinkState {
		errs = append(errs, fmt.Errorf("setting link state: %w", unix.EOPNOTSUPP))
	}
	if have.Trust != nil && want.Trust != nil && *have.Trust != *want.Trust {
		trust := *want.Trust
		d.admin.Trust = &trust
	}
	return errors.Join(errs...)
}

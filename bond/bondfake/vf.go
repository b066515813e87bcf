package bondfake

import (
	"errors"
	"fmt"
	"io/fs"

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
		d.admin.MAC, d.macSet = want.MAC, want.MAC != "00:00:00:00:00:00"
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

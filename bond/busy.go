package bond

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Drivers of Intel's NICs reset a VF at each change of it, and refuse the next one until
// the VF is back (i40e_virtchnl_pf.c: EAGAIN; ice_vf_lib.c, ice_check_vf_ready_for_cfg:
// EBUSY). A VF waits for its PF's answer, and after 2.5 seconds returns EAGAIN and makes
// the change when the answer comes (iavf_main.c, iavf_set_mac).
const (
	// busyWait bounds how long something is asked for that is busy.
	busyWait  = 3 * time.Second
	busyPause = 100 * time.Millisecond
)

func isBusy(err error) bool { return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EBUSY) }

// whileBusy calls do until it succeeds, fails for another reason than that something is
// busy, or has been busy for busyWait.
func whileBusy(do func() error) error {
	for deadline := time.Now().Add(busyWait); ; time.Sleep(busyPause) {
		if err := do(); !isBusy(err) || time.Now().After(deadline) {
			return err
		}
	}
}

// SetVF is n.ChangeVF for a PF that can be busy after each single change.
func SetVF(n Namespace, pf string, number int, have, want VF) error {
	deadline, left := time.Now().Add(busyWait), len(have.Differences(want))
	for ; ; time.Sleep(busyPause) {
		err := n.ChangeVF(pf, number, have, want)
		if !isBusy(err) {
			return err
		}
		var unknown error
		if have, unknown = readVF(n, pf, number); unknown != nil {
			return errors.Join(err, unknown)
		}
		if now := len(have.Differences(want)); now < left { // the next change can take as long
			deadline, left = time.Now().Add(busyWait), now
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// readVF reads what a PF keeps for a VF.
func readVF(n Namespace, pf string, number int) (VF, error) {
	vfs, err := n.VFs(pf)
	if err != nil {
		return VF{}, err
	}
	now, there := vfs[number]
	if !there {
		return VF{}, fmt.Errorf("PF %s no longer reports VF %d", pf, number)
	}
	return now, nil
}

// setMAC changes the MAC of a link, and waits if the change comes late.
func setMAC(n Namespace, index int, mac string) error {
	return changeLate(n, index, Change{MAC: &mac})
}

// changeLate changes a link, and waits if a change of the MAC comes late.
func changeLate(n Namespace, index int, c Change) error {
	err := n.Change(index, c)
	if c.MAC == nil || !errors.Is(err, syscall.EAGAIN) {
		return err
	}
	return whileBusy(func() error {
		links, unknown := n.Links()
		if unknown != nil {
			return unknown
		}
		if _, has := Find(links, func(l Link) bool { return l.Index == index && l.MAC == *c.MAC }); has {
			return nil
		}
		return err
	})
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

// vf is a VF with the namespaces that it moves between.
type vf struct {
	bond.DeviceFacts
	host, pod bond.Namespace // pod is nil if there is none
}

func open(device, netns string) (v *vf, err error) {
	v = &vf{}
	if v.host, err = (bond.System{}).Host(); err != nil {
		return nil, err
	}
	v.pod, err = bond.System{}.Open(netns)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if v.DeviceFacts, err = bond.SurveyDevice(os.DirFS("/sys"), v.host, device, ""); err != nil {
		return nil, err
	}
	if v.Missing || v.PFNetdev == "" || v.Admin == nil {
		return nil, fmt.Errorf("unable to get VF information of %s", device)
	}
	return v, nil
}

func (v *vf) close() {
	v.host.Close()
	if v.pod != nil {
		v.pod.Close()
	}
}

// look reads what the VF is before anything is done.
func (v *vf) look() (before, error) {
	if v.Link == nil {
		return before{}, fmt.Errorf("the VF %s does not have an interface name", v.Address)
	}
	return before{Name: v.Link.Name, MAC: v.Link.MAC, MTU: v.Link.MTU, Admin: *v.Admin}, nil
}

// attach sets what the PF keeps, and moves the interface into the pod.
func (v *vf) attach(c config, ifName string) error {
	if err := v.apply(c); err != nil {
		return err
	}
	if err := v.move(ifName); err != nil {
		return err
	}
	if c.MAC != "" {
		if err := v.setOwnMAC(v.pod, ifName, c.MAC); err != nil {
			return err
		}
	}
	return change(v.pod, ifName, bond.Change{Up: new(true)})
}

// move moves the interface by way of a namespace without a name, where it gets its new
// name.
func (v *vf) move(ifName string) error {
	between, end, err := namespace()
	if err != nil {
		return err
	}
	defer end()
	old := v.Link.Name
	if err := change(v.host, old, bond.Change{Namespace: between}); err != nil {
		return err
	}
	if err := rename(between, old, ifName); err != nil {
		return errors.Join(err, change(between, old, bond.Change{Namespace: v.host}))
	}
	if err := change(between, ifName, bond.Change{Namespace: v.pod}); err != nil {
		return errors.Join(err, change(between, ifName, bond.Change{Name: &old}), change(between, old, bond.Change{Namespace: v.host}))
	}
	return nil
}

// rename leaves no alternative name that is the old one.
func rename(n bond.Namespace, old, name string) error {
	if err := change(n, old, bond.Change{Name: &name}); err != nil {
		return err
	}
	l, err := n.Link(name)
	if err != nil || !slices.Contains(l.AltNames, old) {
		return err
	}
	return n.Change(l.Index, bond.Change{DropAltNames: []string{old}})
}

// release takes the interface with that name in the pod for the VF, and moves it to the
// host.
func (v *vf) release(c config, ifName string) error {
	name := c.Before.Name
	if err := change(v.pod, ifName, bond.Change{Up: new(false)}); err != nil {
		return err
	}
	if err := change(v.pod, ifName, bond.Change{Name: &name}); err != nil {
		return err
	}
	if err := v.setOwnMAC(v.pod, name, c.Before.MAC); err != nil {
		return fmt.Errorf("failed to restore original effective netlink MAC address %s: %w", c.Before.MAC, err)
	}
	if err := change(v.pod, name, bond.Change{MTU: &c.Before.MTU}); err != nil {
		return err
	}
	return change(v.pod, name, bond.Change{Namespace: v.host})
}

// apply sets what the configuration asks for. What was set before an error stays set.
func (v *vf) apply(c config) error {
	want := bond.VF{QoS: c.VLANQoS, Proto: unix.ETH_P_8021Q, MAC: c.MAC, SpoofChk: c.SpoofChk == "on", Trust: new(c.Trust == "on")}
	if strings.EqualFold(c.VLANProto, "802.1ad") {
		want.Proto = unix.ETH_P_8021AD
	}
	if c.VLAN != nil {
		want.VLAN = *c.VLAN
	}
	if c.MinRate != nil {
		want.MinRate = *c.MinRate
	}
	if c.MaxRate != nil {
		want.MaxRate = *c.MaxRate
	}
	want.LinkState = uint32(max(0, slices.Index([]string{"auto", "enable", "disable"}, c.LinkState)))
	return v.set(c, want, c.MAC != "", "vlan", "mac", "rates", "spoofchk", "trust", "link state")
}

// reset sets what the PF had before, of what was set; the MAC in any case. The trust
// goes before the VF has its own MAC back.
func (v *vf) reset(c config) error {
	return v.set(c, c.Before.Admin, true, "vlan", "spoofchk", "mac", "trust", "rates", "link state")
}

// set sends those settings of want that the configuration is about, in an order, also
// if they are the same.
func (v *vf) set(c config, want bond.VF, mac bool, order ...string) error {
	have := *v.Admin
	send := func(have, want bond.VF) error { return v.host.ChangeVF(v.PFNetdev, v.Number, have, want) }
	for _, what := range order {
		from, to := have, have
		var err error
		switch {
		case what == "vlan" && c.VLAN != nil:
			from.VLAN, to.VLAN, to.QoS, to.Proto = -1, want.VLAN, want.QoS, want.Proto
			err = send(from, to)
		case what == "mac" && mac:
			err = v.setAdminMAC(want.MAC)
		case what == "rates" && (c.MinRate != nil || c.MaxRate != nil):
			from.MinRate, to.MinRate, to.MaxRate = want.MinRate+1, want.MinRate, want.MaxRate
			err = send(from, to)
		case what == "spoofchk" && c.SpoofChk != "":
			from.SpoofChk, to.SpoofChk = !want.SpoofChk, want.SpoofChk
			err = send(from, to)
		case what == "trust" && c.Trust != "" && want.Trust != nil:
			from.Trust, to.Trust = new(!*want.Trust), want.Trust
			err = send(from, to)
		case what == "link state" && c.LinkState != "":
			from.LinkState, to.LinkState = want.LinkState+1, want.LinkState
			err = send(from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setAdminMAC has the PF set the VF's MAC.
func (v *vf) setAdminMAC(mac string) error {
	return retry(func() error {
		from, to := *v.Admin, *v.Admin
		from.MAC, to.MAC = "", mac
		if err := v.host.ChangeVF(v.PFNetdev, v.Number, from, to); err != nil {
			return err
		}
		now, err := v.host.VFs(v.PFNetdev)
		if err == nil && now[v.Number].MAC != mac {
			err = errors.New("hardware mac address is different from requested one")
		}
		return err
	})
}

// setOwnMAC has the VF take a MAC.
func (v *vf) setOwnMAC(n bond.Namespace, name, mac string) error {
	return retry(func() error { return change(n, name, bond.Change{MAC: &mac}) })
}

func retry(f func() error) (err error) {
	for range 20 {
		if err = f(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func change(n bond.Namespace, name string, c bond.Change) error {
	l, err := n.Link(name)
	if err != nil {
		return err
	}
	return n.Change(l.Index, c)
}

// namespace makes a network namespace that exists until end is called, or this process
// ends.
func namespace() (n bond.Namespace, end func(), err error) {
	made, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n, err = bond.System{}.Host()
		}
		made <- err
		<-done
	}()
	if err := <-made; err != nil {
		return nil, nil, err
	}
	return n, func() { close(done); n.Close() }, nil
}

// Command sriov stands in for the newest sriov-cni, which the lab cannot compile. It was
// written from what that program was seen to do, and shares no code with it. What it does
// badly is on purpose:
//
//   - A VF travels through a network namespace that has no name.
//   - A note says which namespace has a VF. While that namespace exists, the VF is refused.
//   - DEL always has the PF set the MAC that the PF reported at ADD.
//   - DEL with an empty CNI_NETNS, or one that is gone, frees its cache and keeps the note.
//   - DEL forgets a VF also if it fails. It succeeds without a cache, or with a damaged one.
//   - ADD writes its files last: killed before, it leaves a VF that nobody knows.
//
// It knows no IPAM, which links of a bond do not have.
package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/multibond/multibond/bond"
)

func main() {
	check := func(*skel.CmdArgs) error { return nil }
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Check: check, Del: del}, version.All, "stand-in for sriov-cni")
}

// config is what a user writes, and what the cache has of the VF in addition.
type config struct {
	types.NetConf
	DeviceID      string `json:"deviceID"`
	MAC           string
	VLAN          *int
	VLANQoS       int
	VLANProto     string
	SpoofChk      string
	Trust         string
	LinkState     string  `json:"link_state"`
	MinRate       *uint32 `json:"min_tx_rate"`
	MaxRate       *uint32 `json:"max_tx_rate"`
	RuntimeConfig struct{ MAC string }
	Before        before
}

// before is what a VF was.
type before struct {
	Name, MAC string
	MTU       int
	Admin     bond.VF
}

func parse(stdin []byte) (config, error) {
	var c config
	if err := json.Unmarshal(stdin, &c); err != nil {
		return c, err
	}
	if c.DeviceID == "" {
		return c, errors.New("VF pci addr is required")
	}
	if c.IPAM.Type != "" {
		return c, errors.New("the stand-in knows no ipam")
	}
	if c.RuntimeConfig.MAC != "" {
		c.MAC = c.RuntimeConfig.MAC
	}
	return c, nil
}

func add(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if err := lock(c.DeviceID); err != nil {
		return err
	}
	if err := refuseNoted(c.DeviceID); err != nil {
		return err
	}
	v, err := open(c.DeviceID, args.Netns)
	if err != nil {
		return err
	}
	defer v.close()
	if v.pod == nil {
		return fmt.Errorf("there is no namespace at %s", args.Netns)
	}
	if c.Before, err = v.look(); err != nil {
		return err
	}
	if err := v.attach(c, args.IfName); err != nil {
		// Whatever has the name in the pod is taken for the VF.
		if _, unknown := v.pod.Link(args.IfName); unknown == nil {
			_ = v.release(c, args.IfName)
		}
		_ = v.reset(c)
		return err
	}
	if err := save(args.ContainerID, args.IfName, c); err != nil {
		return err
	}
	if err := writeNote(c.DeviceID, args.Netns); err != nil {
		return err
	}
	l, err := v.pod.Link(args.IfName)
	if err != nil {
		return err
	}
	result := &current.Result{Interfaces: []*current.Interface{{Name: args.IfName, Mac: l.MAC, Mtu: l.MTU, Sandbox: args.Netns}}}
	return types.PrintResult(result, c.CNIVersion)
}

func del(args *skel.CmdArgs) error {
	c, err := load(args.ContainerID, args.IfName)
	if err != nil {
		return nil // it never was there, or cannot be read
	}
	if err := lock(c.DeviceID); err != nil {
		return err
	}
	defer forget(args.ContainerID, args.IfName)
	if args.Netns == "" {
		return nil
	}
	v, err := open(c.DeviceID, args.Netns)
	if err != nil {
		return err
	}
	defer v.close()
	if err := v.reset(c); err != nil {
		return err
	}
	if v.pod == nil {
		return nil
	}
	if err := v.release(c, args.IfName); err != nil {
		return err
	}
	return removeNote(c.DeviceID)
}

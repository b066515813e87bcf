package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// delBondCNI releases what bond-cni may have attached. There is no Record of it, so it
// uses what DEL is told: it deletes the bond with the interface's name, moves the links
// that came from the host back under the names that they have kept, and executes DEL of
// IPAM. A refusal of IPAM is an error only if the bond was there: otherwise there may be
// no address to release.
func (h *Host) delBondCNI(ctx context.Context, r plan.Request, o *outcome) error {
	locks, err := h.lockContainer(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	defer locks.Close()
	s, err := h.enterOrLeave(r.Netns, o)
	if err != nil {
		return err
	}
	defer s.close()
	found, err := dissolve(r.Network, s, r.IfName)
	if err != nil {
		err = cnierror.With(cnierror.Restore, fmt.Errorf("network %s: %w", r.Network.Name, err))
	}
	if r.Network.IPAM == "" {
		return err
	}
	_, refused := h.execute(ctx, invoke.Call{
		Command: "DEL", ContainerID: r.ContainerID, Netns: s.netns, IfName: r.IfName, Args: r.Args,
		Type: r.Network.IPAM, Config: r.Network.Config.Raw,
	})
	switch {
	case refused == nil:
	case found:
		err = errors.Join(err, cnierror.With(cnierror.Restore, fmt.Errorf("network %s: ipam: %w", r.Network.Name, refused)))
	default:
		o.warn("network %s: ipam: %v", r.Network.Name, refused)
	}
	return err
}

// dissolve deletes the bond called name and moves its links that came from the host
// back. It continues after an error and joins all errors.
func dissolve(n netconf.Network, s sandbox, name string) (found bool, err error) {
	if s.pod == nil {
		return false, nil // the kernel has returned the links that have a driver
	}
	links, err := s.pod.Links()
	if err != nil {
		return false, err
	}
	b, found := findBond(links, name)
	if !found {
		return false, nil
	}
	errs := []error{s.pod.Delete(b.Index)}
	for _, l := range links {
		isHosts := func(x netconf.Link) bool { return x.Source == netconf.FromHost && x.Name == l.Name }
		if l.Master != b.Index || !slices.ContainsFunc(n.Links, isHosts) {
			continue
		}
		if err := bond.MoveHome(s.pod, l, s.host, bond.Link{Name: l.Name}); err != nil {
			errs = append(errs, fmt.Errorf("moving %s back to the host: %w", l.Name, err))
		}
	}
	return true, errors.Join(errs...)
}

func findBond(links []bond.Link, name string) (bond.Link, bool) {
	return bond.Find(links, func(l bond.Link) bool { return l.Kind == "bond" && l.Name == name })
}

// CheckBondCNI checks what bond-cni has attached against its configuration. If something
// differs, the error's code is 104.
func (h *Host) CheckBondCNI(r plan.Request) error {
	s, err := h.enterIfThere(r.Netns, "")
	if err != nil {
		return err
	}
	defer s.close()
	if s.pod == nil {
		return cnierror.Errorf(cnierror.Check, "network %s: the network namespace %s is gone", r.Network.Name, r.Netns)
	}
	links, err := s.pod.Links()
	if err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	b, _ := findBond(links, r.IfName)
	spec := bond.Spec{Name: r.IfName, Options: bond.Options{bond.Mode: r.Network.Options[bond.Mode], bond.MTU: strconv.Itoa(b.MTU)}}
	for _, l := range r.Network.Links {
		spec.Links = append(spec.Links, l.Name)
	}
	problems, err := bond.Verify(s.pod, spec, b.Index, nil, nil)
	if err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	if err := problems.Err(); err != nil {
		return cnierror.Errorf(cnierror.Check, "network %s: %w", r.Network.Name, err)
	}
	return nil
}

package delegate

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// survey reads the facts about a request. It changes nothing.
func (h *Host) survey(r plan.Request, s sandbox) (plan.Facts, error) {
	f := plan.Facts{Path: h.Path, Plugins: map[string]bool{}, Holders: map[string]plan.Key{}, InUse: map[string]bond.Addresses{}, Netns: map[string]string{}}
	sources := sourcesOf(r.Network)
	var err error
	if r.Network.HasPool() {
		if f.NICs, err = bond.SurveyNICs(h.Sys, s.host); err != nil {
			return plan.Facts{}, cnierror.With(cnierror.Kernel, err)
		}
	}
	if movesNIC(r) {
		sources.Devices = append(sources.Devices, movable(f.NICs)...)
	}
	if f.Facts, err = bond.Survey(h.Sys, s.host, s.pod, sources); err != nil {
		return plan.Facts{}, cnierror.With(cnierror.Kernel, err)
	}
	if r.Network.Attach == netconf.AttachEach && s.pod != nil {
		now, err := s.pod.Routing()
		if err != nil {
			return plan.Facts{}, cnierror.With(cnierror.Kernel, err)
		}
		f.Tables = now.Tables
	}
	if slices.ContainsFunc(r.Network.Links, func(l netconf.Link) bool { return l.Blocks != nil && l.NeedsRoutes() }) {
		if f.Keep, err = h.Store.IsKept(); err != nil {
			return plan.Facts{}, cnierror.With(types.ErrIOFailure, err)
		}
		if f.Nets, err = onLink(s.host); err != nil {
			return plan.Facts{}, cnierror.With(cnierror.Kernel, err)
		}
	}
	if f.Remains, err = h.remains(r, f.Facts, s.host); err != nil {
		return plan.Facts{}, cnierror.With(cnierror.Kernel, err)
	}
	if r.Network.Near != "" {
		f.Roots = map[string]string{}
		for _, d := range f.Devices {
			f.Roots[d.Address] = bond.PCIRoot(h.Sys, d.Address)
		}
	}
	if err := h.surveyDevices(&f, s.host); err != nil {
		return plan.Facts{}, err
	}
	for _, plugin := range r.Network.PluginTypes() {
		_, err := h.Runner.Find(plugin, h.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return plan.Facts{}, err
		}
		f.Plugins[plugin] = err == nil
	}
	return f, nil
}

// sourcesOf returns what a network's links are made of.
func sourcesOf(n netconf.Network) (sources bond.Sources) {
	if n.Device != "" {
		sources.Devices = []string{n.Device}
	}
	for _, l := range n.Links {
		switch l.Source {
		case netconf.FromDevice:
			sources.Devices = append(sources.Devices, l.Device)
		case netconf.FromHost:
			sources.Host = append(sources.Host, l.Name)
		case netconf.FromPod:
			sources.Pod = append(sources.Pod, l.Name)
		}
	}
	return sources
}

// surveyDevices adds to facts who uses the devices, and where those are that have no interface
// on the host.
func (h *Host) surveyDevices(f *plan.Facts, host bond.Namespace) (err error) {
	for device, d := range f.Devices {
		if d.Link != nil && d.Link.Up {
			if f.InUse[device], err = host.Addresses(d.Link.Index); err != nil {
				return cnierror.With(cnierror.Kernel, err)
			}
		}
		if d.PF != "" && d.Link == nil {
			f.Netns[device] = h.netnsOf(d.Address)
		}
		if f.Holders[device], err = h.Store.Holder(device); err != nil {
			return cnierror.With(types.ErrIOFailure, err)
		}
	}
	return nil
}

// onLink lists the networks that a namespace has on its links.
func onLink(host bond.Namespace) (nets []netip.Prefix, err error) {
	all, err := host.Routes()
	for _, r := range all {
		direct := !slices.ContainsFunc(r.Hops, func(h bond.Hop) bool { return h.Gateway.IsValid() })
		if direct && r.Type == 0 && r.Dst.Bits() > 0 {
			nets = append(nets, r.Dst)
		}
	}
	return nets, err
}

// movable lists the devices of the NICs that could be moved into a pod.
func movable(nics []bond.NIC) (devices []string) {
	for _, nic := range nics {
		if nic.Stays() == "" {
			devices = append(devices, nic.Link.Device)
		}
	}
	return devices
}

// DryRun returns the plan that an ADD would carry out now, and its warnings. It changes
// nothing, and does not look for the bonding module. If the request has no network
// namespace, DryRun assumes an empty pod.
func (h *Host) DryRun(r plan.Request) (plan.Plan, []string, error) {
	if err := r.Network.CheckAgent(); err != nil {
		return plan.Plan{}, nil, err
	}
	s, err := h.enterIfThere(r.Netns, "")
	if err != nil {
		return plan.Plan{}, nil, err
	}
	defer s.close()
	if s.pod == nil && r.Netns != "" {
		return plan.Plan{}, nil, cnierror.Errorf(types.ErrInvalidNetNS, "there is no network namespace at %q", r.Netns)
	}
	facts, err := h.survey(r, s)
	if err != nil {
		return plan.Plan{}, nil, err
	}
	p, warnings, err := plan.Compile(r, facts)
	return p, r.Texts(warnings), err
}

package delegate

import (
	"errors"
	"io/fs"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// Facts is what the node looks like, as far as it matters to one Request.
type Facts struct {
	bond.Facts
	Bonding error                     // nil where the kernel can make bonds
	Plugins map[string]bool           // by type: the program is there
	InUse   map[string]bond.Addresses // by PCI address: what the host has on a device that is up
	Holders map[string]Key            // by PCI address: whose Record has it
	Netns   map[string]string         // by PCI address: the namespace that sriov-cni has given a VF to that is not on the host
}

// survey reads the facts about a request. It changes nothing.
func (h *Host) survey(r Request, s sandbox) (Facts, error) {
	f := Facts{Plugins: map[string]bool{}, Holders: map[string]Key{}, InUse: map[string]bond.Addresses{}, Netns: map[string]string{}}
	var sources bond.Sources
	if r.Network.Device != "" {
		sources.Devices = []string{r.Network.Device}
	}
	for _, l := range r.Network.Links {
		switch l.Source {
		case netconf.FromDevice:
			sources.Devices = append(sources.Devices, l.Device)
		case netconf.FromHost:
			sources.Host = append(sources.Host, l.Name)
		case netconf.FromPod:
			sources.Pod = append(sources.Pod, l.Name)
		}
	}
	var err error
	if f.Facts, err = bond.Survey(h.Sys, s.host, s.pod, sources); err != nil {
		return Facts{}, cnierror.With(cnierror.Kernel, err)
	}
	for device, d := range f.Devices {
		if d.Link != nil && d.Link.Up {
			if f.InUse[device], err = s.host.Addresses(d.Link.Index); err != nil {
				return Facts{}, cnierror.With(cnierror.Kernel, err)
			}
		}
		if d.PF != "" && d.Link == nil {
			f.Netns[device] = h.givenTo(device)
		}
		if f.Holders[device], err = h.Store.Holder(device); err != nil {
			return Facts{}, cnierror.With(types.ErrIOFailure, err)
		}
	}
	for _, plugin := range r.Network.PluginTypes() {
		_, err := h.Runner.Find(plugin, r.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Facts{}, err
		}
		f.Plugins[plugin] = err == nil
	}
	return f, nil
}

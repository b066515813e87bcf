package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// VF is all that an attachment can change about a VF: what its interface has, and
// what its PF keeps for it.
type VF struct {
	PCI, PF string
	Number  int

	Netns string // host, a pod, or nowhere
	Name  string
	MAC   string
	MTU   string
	State string // up or down

	AdminMAC  string
	VLAN      string // id and priority
	SpoofChk  string
	Trust     string
	LinkState string // as the PF was told: auto, enable, disable
}

// field is one property of a VF that must be as before.
type field struct{ name, value string }

func (v VF) fields() []field {
	return []field{
		{"netns", v.Netns}, {"name", v.Name}, {"MAC", v.MAC}, {"MTU", v.MTU}, {"state", v.State},
		{"admin MAC", v.AdminMAC}, {"vlan", v.VLAN}, {"spoofchk", v.SpoofChk}, {"trust", v.Trust}, {"link-state", v.LinkState},
	}
}

// differences compares the VFs with what they were, a line per difference.
func differences(before, after []VF) []string {
	var out []string
	for _, b := range before {
		i := slices.IndexFunc(after, func(v VF) bool { return v.PCI == b.PCI })
		if i < 0 {
			out = append(out, fmt.Sprintf("%s: is gone", b.PCI))
			continue
		}
		now := after[i].fields()
		for j, was := range b.fields() {
			if now[j] != was {
				out = append(out, fmt.Sprintf("%s: %s is %s, was %s", b.PCI, was.name, now[j].value, was.value))
			}
		}
	}
	for _, a := range after {
		if !slices.ContainsFunc(before, func(v VF) bool { return v.PCI == a.PCI }) {
			out = append(out, fmt.Sprintf("%s: is new", a.PCI))
		}
	}
	return out
}

// ipLink is what `ip -json -details link` says of an interface.
type ipLink struct {
	IfName    string
	Flags     []string
	MTU       int
	Address   string
	Master    string
	ParentDev string   // the PCI address, in any namespace
	VFs       []vfInfo `json:"vfinfo_list"`
}

// vfInfo is what a PF keeps for a VF. What the driver does not report is nil.
type vfInfo struct {
	VF        int
	Address   string
	VLANs     []struct{ VLAN, QoS int } `json:"vlan_list"`
	SpoofChk  *bool
	Trust     *bool
	LinkState string `json:"link_state"`
}

func parseLinks(out []byte) ([]ipLink, error) {
	var links []ipLink
	if len(strings.TrimSpace(string(out))) == 0 {
		return nil, nil // what ip prints where nothing matches
	}
	if err := json.Unmarshal(out, &links); err != nil {
		return nil, fmt.Errorf("ip -json: %w: %s", err, out)
	}
	return links, nil
}

// device is a VF by the kernel's own numbering.
type device struct {
	pci, pf string
	number  int
}

// parseDevices reads lines of PF, number and PCI address of a VF.
func parseDevices(out []byte) ([]device, error) {
	var devices []device
	for line := range strings.Lines(string(out)) {
		var d device
		if _, err := fmt.Sscanf(line, "%s %d %s", &d.pf, &d.number, &d.pci); err != nil {
			return nil, fmt.Errorf("list of VFs: %w: %q", err, line)
		}
		devices = append(devices, d)
	}
	slices.SortFunc(devices, func(a, b device) int { return strings.Compare(a.pci, b.pci) })
	return devices, nil
}

const nowhere = "nowhere"

// snapshot puts together what the namespaces say of the devices. PFs are in
// namespace "host".
func snapshot(devices []device, namespaces map[string][]ipLink) []VF {
	out := make([]VF, 0, len(devices))
	for _, d := range devices {
		v := VF{PCI: d.pci, PF: d.pf, Number: d.number, Netns: nowhere}
		for ns, links := range namespaces {
			for _, l := range links {
				if l.ParentDev == d.pci {
					v.Netns = ns
					v.setLink(l)
				}
			}
		}
		v.setAdmin(namespaces[hostNS])
		out = append(out, v)
	}
	return out
}

func (v *VF) setLink(l ipLink) {
	v.Name, v.MAC, v.MTU, v.State = l.IfName, l.Address, fmt.Sprint(l.MTU), "down"
	if slices.Contains(l.Flags, "UP") {
		v.State = "up"
	}
}

func (v *VF) setAdmin(host []ipLink) {
	for _, pf := range host {
		for _, info := range pf.VFs {
			if pf.IfName != v.PF || info.VF != v.Number {
				continue
			}
			v.AdminMAC, v.LinkState = info.Address, info.LinkState
			v.SpoofChk, v.Trust = onOff(info.SpoofChk), onOff(info.Trust)
			var vlans []string
			for _, vlan := range info.VLANs {
				vlans = append(vlans, fmt.Sprintf("%d/%d", vlan.VLAN, vlan.QoS))
			}
			v.VLAN = strings.Join(vlans, ",")
		}
	}
}

func onOff(b *bool) string {
	switch {
	case b == nil:
		return "unknown"
	case *b:
		return "on"
	}
	return "off"
}

// printSnapshots prints every VF, before above after.
func printSnapshots(w io.Writer, before, after []VF) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := []string{"VF", ""}
	for _, f := range (VF{}).fields() {
		head = append(head, f.name)
	}
	fmt.Fprintln(t, "  "+strings.Join(head, "\t"))
	for _, b := range before {
		fmt.Fprintln(t, "  "+b.PCI+"\tbefore\t"+b.row())
		for _, a := range after {
			if a.PCI == b.PCI {
				fmt.Fprintln(t, "  \tafter\t"+a.row())
			}
		}
	}
	return t.Flush()
}

func (v VF) row() string {
	var values []string
	for _, f := range v.fields() {
		values = append(values, f.value)
	}
	return strings.Join(values, "\t")
}

package agentapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/multibond/multibond/delegate/atomicfile"
)

// HostsFile is where the agent writes Hosts.
const HostsFile = "/run/multibond/hosts.json"

// hostsVersion is the version of Hosts that this program knows.
const hostsVersion = 1

// maxHosts is the largest file of hosts, in bytes. 5,000 hosts with eight NICs each are far
// below it.
const maxHosts = 16 << 20

// Hosts are the hosts that share the networks with an ipam of type multibond, as the agent
// of one of them sees them. There is a file of them only on a node with such a network.
type Hosts struct {
	Self  Self       `json:"self"`
	Hosts []PeerHost `json:"hosts"` // the others, by index
}

// Self is the host on which the file is.
type Self struct {
	Index int    `json:"index"`
	Node  string `json:"node"`
}

// PeerHost is another host.
type PeerHost struct {
	Index int       `json:"index"`
	Node  string    `json:"node"`
	NICs  []HostNIC `json:"nics"`
}

// HostNIC is a NIC of a host, with its global addresses and their prefixes on link.
type HostNIC struct {
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
}

// hostsText is the text of the file.
type hostsText struct {
	Version int `json:"version"`
	Hosts
}

// ReadHosts reads a file of hosts. If there is none, the error is compatible with
// errors.Is(err, fs.ErrNotExist).
func ReadHosts(name string) (Hosts, error) {
	raw, err := atomicfile.Read(name, maxHosts)
	if err != nil {
		return Hosts{}, err
	}
	h, err := parseHosts(raw)
	if err != nil {
		return Hosts{}, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// parseHosts refuses what would lead packets somewhere else: two hosts with one index, and a
// host that is not named.
func parseHosts(raw []byte) (Hosts, error) {
	var text hostsText
	if err := json.Unmarshal(raw, &text); err != nil {
		return Hosts{}, err
	}
	if text.Version != hostsVersion {
		return Hosts{}, fmt.Errorf("version is %d, want %d (plugin, agent and keep should be of one release)", text.Version, hostsVersion)
	}
	if text.Self.Node == "" || text.Self.Index < 0 {
		return Hosts{}, fmt.Errorf("self is %q with index %d, want a node and its index", text.Self.Node, text.Self.Index)
	}
	owner := map[int]string{text.Self.Index: text.Self.Node}
	for i, h := range text.Hosts.Hosts {
		if h.Node == "" || h.Index < 0 {
			return Hosts{}, fmt.Errorf("hosts[%d] is %q with index %d, want a node and its index", i, h.Node, h.Index)
		}
		if first, twice := owner[h.Index]; twice {
			return Hosts{}, fmt.Errorf("hosts[%d].index is %d, which %s already has", i, h.Index, first)
		}
		owner[h.Index] = h.Node
	}
	return text.Hosts, nil
}

// Write writes the file of hosts, whole or not at all, also if another agent writes it at the
// same time. Equal hosts give equal files.
func (h Hosts) Write(name string) error {
	h.Hosts = append([]PeerHost{}, h.Hosts...)
	slices.SortFunc(h.Hosts, func(a, b PeerHost) int { return cmp.Compare(a.Index, b.Index) })
	raw, err := json.Marshal(hostsText{hostsVersion, h})
	if err != nil {
		return err
	}
	return atomicfile.Files{}.ReplaceSynced(name, filepath.Base(name)+".*", append(raw, '\n'), 0o600)
}

package agentapi

import (
	"bytes"
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

// The most that a file of hosts has. 5,000 hosts with eight NICs each are below it.
const (
	maxHostsFile = 4 << 20 // bytes
	maxHosts     = 1 << 16
	maxNICs      = 64 // of a host
	maxAddresses = 64 // of a host
)

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
	raw, err := atomicfile.ReadRegular(name, maxHostsFile)
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
	var text struct {
		Version int
		Self    Self
		Hosts   json.RawMessage
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return Hosts{}, err
	}
	if text.Version != hostsVersion {
		return Hosts{}, fmt.Errorf("version is %d, want %d (plugin, agent and keep should be of one release)", text.Version, hostsVersion)
	}
	if text.Self.Node == "" || text.Self.Index < 0 {
		return Hosts{}, fmt.Errorf("self is %q with index %d, want a node and its index", text.Self.Node, text.Self.Index)
	}
	hosts, err := readPeers(text.Hosts)
	if err != nil {
		return Hosts{}, err
	}
	owner := map[int]string{text.Self.Index: text.Self.Node}
	for i, h := range hosts {
		if h.Node == "" || h.Index < 0 {
			return Hosts{}, fmt.Errorf("hosts[%d] is %q with index %d, want a node and its index", i, h.Node, h.Index)
		}
		if first, twice := owner[h.Index]; twice {
			return Hosts{}, fmt.Errorf("hosts[%d].index is %d, which %s already has", i, h.Index, first)
		}
		owner[h.Index] = h.Node
	}
	return Hosts{text.Self, hosts}, nil
}

// readPeers reads hosts one by one, so that many empty ones take no memory.
func readPeers(raw json.RawMessage) (hosts []PeerHost, err error) {
	type peerText struct {
		Index int
		Node  string
		NICs  json.RawMessage
	}
	hosts = []PeerHost{}
	err = eachOf(raw, func(p peerText) error {
		if len(hosts) == maxHosts {
			return fmt.Errorf("hosts has more than %d elements", maxHosts)
		}
		nics, err := readNICs(p.NICs)
		hosts = append(hosts, PeerHost{p.Index, p.Node, nics})
		return err
	})
	return hosts, err
}

// readNICs reads the NICs of a host. It drops those that have no name, and what is more than
// the most: this is what another host tells of itself.
func readNICs(raw json.RawMessage) (nics []HostNIC, err error) {
	type nicText struct {
		Name      string
		Addresses json.RawMessage
	}
	nics = []HostNIC{}
	left := maxAddresses
	err = eachOf(raw, func(n nicText) error {
		if n.Name == "" || len(nics) == maxNICs {
			return nil
		}
		nic := HostNIC{Name: n.Name}
		err := eachOf(n.Addresses, func(ip netip.Prefix) error {
			if left > 0 {
				nic.Addresses = append(nic.Addresses, ip)
				left--
			}
			return nil
		})
		nics = append(nics, nic)
		return err
	})
	return nics, err
}

// eachOf calls f for each element of a list.
func eachOf[T any](raw json.RawMessage, f func(T) error) error {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin == nil {
		return err
	} else if begin != json.Delim('[') {
		return fmt.Errorf("%v is no list", begin)
	}
	for d.More() {
		var one T
		if err := d.Decode(&one); err != nil {
			return err
		}
		if err := f(one); err != nil {
			return err
		}
	}
	return nil
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

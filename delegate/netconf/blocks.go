package netconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// BlocksType is the type of an ipam that is no plugin: it divides subnets, so that each
// host has ranges of its own, in which HostLocal allocates.
const (
	BlocksType = "multibond"
	HostLocal  = "host-local"
)

// Blocks divide subnets. The bits of an address are: subnet, interface, host, pod.
type Blocks struct {
	Path          string         `json:"-"`       // where they are written: "ipam"
	Subnets       []netip.Prefix `json:"subnets"` // IPv4, IPv6, or one of each
	InterfaceBits int            `json:"interfaceBlock"`
	HostBits      int            `json:"hostBlock"`
	Exclude       []netip.Prefix `json:"exclude,omitempty"` // no pod gets these addresses
}

// The most bits of an interface and of a host, the least of a pod, of whose addresses the
// first and the last are not used, and the most networks that are excluded.
const (
	maxInterfaceBits = 8
	maxHostBits      = 16
	minPodBits       = 2
	maxExcluded      = 256
)

// notForPods are networks with a meaning of their own (RFC 6890): this network, loopback,
// link-local, multicast and reserved addresses.
var notForPods = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// Range is a range of addresses, with both ends.
type Range struct{ First, Last netip.Addr }

// Interfaces returns how many interfaces there is room for.
func (b Blocks) Interfaces() int { return 1 << min(max(b.InterfaceBits, 0), maxInterfaceBits) }

// Hosts returns how many hosts there is room for.
func (b Blocks) Hosts() int { return 1 << min(max(b.HostBits, 0), maxHostBits) }

// OfInterface returns the part of a subnet that interface i has on all hosts.
func (b Blocks) OfInterface(subnet netip.Prefix, i int) netip.Prefix {
	return part(subnet, b.InterfaceBits, i)
}

// OfHost returns the part of a subnet that interface i has on a host.
func (b Blocks) OfHost(subnet netip.Prefix, i, host int) netip.Prefix {
	return part(b.OfInterface(subnet, i), b.HostBits, host)
}

// Ranges returns which addresses of a host's part pods get.
func (b Blocks) Ranges(of netip.Prefix) (left []Range) {
	left = []Range{{of.Addr().Next(), lastOf(of).Prev()}}
	for _, x := range b.Exclude {
		if x.Overlaps(of) {
			left = without(left, Range{x.Addr(), lastOf(x)})
		}
	}
	return left
}

// without returns what is left of ranges.
func without(ranges []Range, x Range) (left []Range) {
	for _, r := range ranges {
		if x.Last.Less(r.First) || r.Last.Less(x.First) {
			left = append(left, r)
			continue
		}
		if r.First.Less(x.First) {
			left = append(left, Range{r.First, x.First.Prev()})
		}
		if x.Last.Less(r.Last) {
			left = append(left, Range{x.Last.Next(), r.Last})
		}
	}
	return left
}

// part returns part i of a prefix that is divided into 1<<bits parts.
func part(p netip.Prefix, bits, i int) netip.Prefix {
	raw := p.Masked().Addr().AsSlice()
	for bit := range bits {
		if at := p.Bits() + bits - 1 - bit; i>>bit&1 == 1 {
			raw[at/8] |= 0x80 >> (at % 8)
		}
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(addr, p.Bits()+bits)
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for at := p.Bits(); at < len(raw)*8; at++ {
		raw[at/8] |= 0x80 >> (at % 8)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

// handedOn are the keys of an ipam of BlocksType that HostLocal reads.
var handedOn = []string{"routes", "dataDir", "resolvConf"}

// blocksKeys are the keys of an ipam of BlocksType.
var blocksKeys = slices.Concat([]string{"type", "subnet", "interfaceBlock", "hostBlock", "exclude"}, handedOn)

// readIPAM reads an ipam. It returns the plugin to execute, and how the subnets are divided
// for it, or nil.
func readIPAM(o strictjson.Object) (plugin string, b *Blocks) {
	if plugin = pluginType(o); plugin == BlocksType {
		return HostLocal, readBlocks(o)
	}
	return plugin, nil
}

func readBlocks(o strictjson.Object) *Blocks {
	for _, key := range o.Unknown(blocksKeys) {
		o.Problems.Add(code.UnknownKey, o.At(key), strictjson.DidYouMean(key, blocksKeys), "is not a known key")
	}
	o.Read("routes", &[]*types.Route{}, "a list of routes (CNI specification, section 5)")
	o.Text("dataDir")
	o.Text("resolvConf")
	b := &Blocks{
		Path: o.Path, Subnets: readSubnets(o),
		InterfaceBits: readBits(o, "interfaceBlock", maxInterfaceBits), HostBits: readBits(o, "hostBlock", maxHostBits),
	}
	if !o.Has("hostBlock") {
		o.Problems.Add(code.BadBlock, o.At("hostBlock"), "6 is for 64 hosts", "is missing, want the number of bits that tell the hosts apart")
	}
	for _, s := range b.Subnets {
		if pod := s.Addr().BitLen() - s.Bits() - b.InterfaceBits - b.HostBits; pod < minPodBits {
			o.Problems.Add(code.BadSubnet, o.At("subnet"), "use a larger subnet, or smaller blocks", "is %s, which with interfaceBlock %d and hostBlock %d leaves %d bits for pods, want at least %d",
				s, b.InterfaceBits, b.HostBits, max(pod, 0), minPodBits)
			return &Blocks{Path: o.Path}
		}
	}
	b.Exclude = readExcluded(o, b.Subnets)
	return b
}

// readBits reads how many bits of an address tell interfaces or hosts apart.
func readBits(o strictjson.Object, key string, most int) (bits int) {
	if o.Read(key, &bits, "a number of bits") && (bits < 0 || bits > most) {
		o.Problems.Add(code.BadBlock, o.At(key), "", "is %d, want 0 to %d bits", bits, most)
		return 0
	}
	return bits
}

// readSubnets reads subnet: a network, or a list with one of each family.
func readSubnets(o strictjson.Object) (subnets []netip.Prefix) {
	var texts []string
	before := len(*o.Problems)
	switch path := o.At("subnet"); {
	case !o.Has("subnet"):
		o.Problems.Add(code.BadSubnet, path, "", "is missing, want a network such as 192.168.0.0/16, or a list of an IPv4 and an IPv6 network")
	case strictjson.KindOf(o.Fields["subnet"]) != "a list":
		texts = []string{o.Text("subnet")}
	case o.Read("subnet", &texts, "a list of networks") && len(texts) == 0:
		o.Problems.Add(code.BadSubnet, path, "", "is an empty list, want a network such as 192.168.0.0/16")
	}
	if len(*o.Problems) > before {
		return nil
	}
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		same := slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Addr().Is4() == p.Addr().Is4() })
		switch {
		case err != nil || p.Addr().Is4In6():
			o.Problems.Add(code.BadCIDR, o.At("subnet"), "", "is %q, want a network such as 192.168.0.0/16", text)
		case p != p.Masked():
			o.Problems.Add(code.BadCIDR, o.At("subnet"), "use "+p.Masked().String(), "is %q, which is an address and not a network", text)
		case slices.ContainsFunc(notForPods, p.Overlaps):
			at := slices.IndexFunc(notForPods, p.Overlaps)
			o.Problems.Add(code.BadSubnet, o.At("subnet"), "use a private network", "is %s, which overlaps %s, whose addresses no pod can have", p, notForPods[at])
		case same:
			o.Problems.Add(code.BadSubnet, o.At("subnet"), "a larger subnet has room for more", "has two networks of one family, want one IPv4 and one IPv6 network at most")
		default:
			subnets = append(subnets, p)
		}
	}
	return subnets
}

// readExcluded reads the networks and addresses that no pod gets.
func readExcluded(o strictjson.Object, subnets []netip.Prefix) (excluded []netip.Prefix) {
	var texts []string
	o.Read("exclude", &texts, "a list of networks or addresses")
	if len(texts) > maxExcluded {
		o.Problems.Add(code.BadExclude, o.At("exclude"), "exclude larger networks", "has %d elements, want at most %d", len(texts), maxExcluded)
		return nil
	}
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", o.At("exclude"), i)
		p, err := netip.ParsePrefix(text)
		if addr, isAddr := netip.ParseAddr(text); isAddr == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			o.Problems.Add(code.BadCIDR, at, "", "is %q, want a network such as 192.168.0.0/28, or an address", text)
		case p != p.Masked():
			o.Problems.Add(code.BadCIDR, at, "use "+p.Masked().String(), "is %q, which is an address and not a network", text)
		case len(subnets) > 0 && !slices.ContainsFunc(subnets, p.Overlaps):
			o.Problems.Add(code.BadExclude, at, "leave it out", "is %s, which is not in the subnet", text)
		default:
			excluded = append(excluded, p)
		}
	}
	return excluded
}

// HostLocal returns host-local with the configuration of a network for one interface: of each
// subnet the part that the interface has on all hosts is on link, and the addresses are of
// the part that it has on this one.
func (b Blocks) HostLocal(config Config, i, host int) Plugin {
	type textRange struct {
		Subnet     netip.Prefix `json:"subnet"`
		RangeStart netip.Addr   `json:"rangeStart"`
		RangeEnd   netip.Addr   `json:"rangeEnd"`
		Gateway    netip.Addr   `json:"gateway"`
	}
	var sets [][]textRange
	for _, s := range b.Subnets {
		block := b.OfInterface(s, i)
		var set []textRange
		for _, r := range b.Ranges(b.OfHost(s, i, host)) {
			// Without a gateway host-local would take the first address of the block, which is
			// a pod's, for one. It gives out none that is a gateway.
			set = append(set, textRange{block, r.First, r.Last, block.Addr()})
		}
		sets = append(sets, set)
	}
	var given struct{ IPAM map[string]json.RawMessage }
	_ = json.Unmarshal(config.Raw, &given) // which is what Blocks were read from
	ipam := map[string]any{"type": HostLocal, "ranges": sets}
	for _, key := range handedOn {
		if value, there := given.IPAM[key]; there {
			ipam[key] = value
		}
	}
	return Plugin{Type: HostLocal, Config: config.withIPAM(strictjson.Encode(ipam))}
}

// noRoom returns the problem that a subnet has no address for a host.
func (b Blocks) noRoom(i, host int) (problem bond.Problem, none bool) {
	for _, s := range b.Subnets {
		if of := b.OfHost(s, i, host); len(b.Ranges(of)) == 0 {
			return bond.Problem{Code: code.NoAddress, Path: b.Path + ".exclude", Text: fmt.Sprintf("leaves no address of %s, which interface %d of host %d has", of, i, host), Hint: "exclude less"}, true
		}
	}
	return problem, false
}

// Check returns what keeps interface i of a host from having addresses. Both are counted
// from 0. what says which interface it is.
func (b Blocks) Check(what string, i, host int) (problems bond.Problems) {
	if i >= b.Interfaces() {
		problems.Add(code.ManyInterfaces, b.Path+".interfaceBlock", "raise it, which changes the addresses of all pods", "is %d, which is room for %d interfaces, but %s is number %d, counted from 0", b.InterfaceBits, b.Interfaces(), what, i)
	}
	if host >= b.Hosts() {
		problems.Add(code.ManyHosts, b.Path+".hostBlock", "raise it, which changes the addresses of all pods", "is %d, which is room for %d hosts, but this host is number %d, counted from 0", b.HostBits, b.Hosts(), host)
	}
	if p, none := b.noRoom(i, host); none && len(problems) == 0 {
		problems = append(problems, p)
	}
	return problems
}

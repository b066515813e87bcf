package bond

import (
	"encoding/binary"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Constants that x/sys/unix lacks: IFLA_INET_CONF of include/uapi/linux/if_link.h, and
// IPV4_DEVCONF_* of include/uapi/linux/ip.h.
const (
	inetConf        = 1
	confRPFilter    = 8
	confARPAnnounce = 18
	confARPIgnore   = 19
	confLinkdown    = 29
)

// ownARPSettings are the settings of links that share a subnet in one namespace
// (Documentation/networking/ip-sysctl.rst of the kernel). Without them the kernel
// answers for each address on every link, asks with any of them, and may drop what
// arrives on one link if its route back leaves by another. IPv6 needs none of it.
var ownARPSettings = [...]struct {
	number int
	value  uint32
}{
	{confRPFilter, 2},    // any link has a route back
	{confARPAnnounce, 2}, // ask with an address of the link
	{confARPIgnore, 1},   // answer for an address of the link
}

// ignoreLinkdown has the kernel use no route over a link without a carrier, so that the others
// of a multipath route take its part. CHECK does not look for it: links of an earlier version
// do not have it.
const ignoreLinkdown = 1

// ownARP returns the settings as an attribute of a link.
func ownARP() *nl.RtAttr {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
	conf := spec.AddRtAttr(unix.AF_INET|unix.NLA_F_NESTED, nil).AddRtAttr(inetConf|unix.NLA_F_NESTED, nil)
	for _, s := range ownARPSettings {
		conf.AddRtAttr(s.number, encodeUint(32, s.value))
	}
	conf.AddRtAttr(confLinkdown, encodeUint(32, ignoreLinkdown))
	return spec
}

// hasOwnARP reports whether a link has the settings. The kernel reports all of a link's
// IPv4 settings as one array.
func hasOwnARP(families []syscall.NetlinkRouteAttr) bool {
	for _, family := range families {
		if family.Attr.Type&^unix.NLA_F_NESTED != unix.AF_INET {
			continue
		}
		for _, a := range nested(family) {
			if a.Attr.Type == inetConf {
				return hasSettings(a.Value)
			}
		}
	}
	return false
}

func hasSettings(conf []byte) bool {
	for _, s := range ownARPSettings {
		at := 4 * (s.number - 1)
		if at+4 > len(conf) || binary.NativeEndian.Uint32(conf[at:]) != s.value {
			return false
		}
	}
	return true
}

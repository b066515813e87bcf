package bond

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestAnnouncement compares every byte. The fields are those of RFC 826 and RFC
// 5227, section 2.3, and of RFC 4861, section 4.4, in IPv6 by RFC 8200. The
// checksum was added up by hand; TestChecksum checks it in general.
func TestAnnouncement(t *testing.T) {
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, 0x0a}
	for ip, fields := range map[string][]string{
		"10.0.0.1": {
			"ffffffffffff", "02000000000a", "0806", // to all, from us, ARP
			"0001", "0800", "06", "04", "0001", // Ethernet, IPv4, request
			"02000000000a", "0a000001", "000000000000", "0a000001", // sender; target: the same address
		},
		"fd00::1": {
			"333300000001", "02000000000a", "86dd", // to all nodes, from us, IPv6
			"60000000", "0020", "3a", "ff", // 32 bytes of ICMPv6, hop limit 255
			"fd000000000000000000000000000001", "ff020000000000000000000000000001",
			"88", "00", "5a92", "20000000", // neighbour advertisement, override
			"fd000000000000000000000000000001", "02", "01", "02000000000a", // target and its link-layer address
		},
	} {
		assert.Equal(t, strings.Join(fields, ""), hex.EncodeToString(announcement(mac, netip.MustParseAddr(ip))), ip)
	}
}

// TestChecksum adds up pseudo-header and message, including the checksum. The
// sum is all ones (RFC 1071). It is added up in 64 bits, unlike in the code.
func TestChecksum(t *testing.T) {
	for _, ip := range []string{"fd00::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1", "::1"} {
		frame := unsolicitedNA(net.HardwareAddr{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}, netip.MustParseAddr(ip))
		sum := uint64(len(frame)-54) + 58     // length and next header
		for i := 22; i < len(frame); i += 2 { // from the source address on
			sum += uint64(frame[i])<<8 + uint64(frame[i+1])
		}
		assert.Zero(t, sum%0xffff, ip) // in ones' complement, all ones are 0
	}
}

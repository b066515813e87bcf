package bond

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestParse lists what users write for each kind and what it is read as.
func TestParse(t *testing.T) {
	many := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"10.0.0.%d"`, i+1))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	const (
		notMTU     = "want 68 to 65535 bytes"
		notMiimon  = "want at least 0 ms"
		notFlag    = "want 0 or 1"
		notMode    = "want one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb"
		notMAC     = "want a MAC address such as 02:00:00:00:00:01"
		notTargets = "want 1 to 16 IPv4 addresses, or gateway"
		notSingle  = "want a single value"
	)
	for _, c := range []struct{ key, raw, want, err string }{
		{MTU, `9000`, "9000", ""},
		{MTU, `"9000"`, "9000", ""},
		{MTU, `" 9000 "`, "9000", ""},
		{MTU, ` 9000 `, "9000", ""},
		{MTU, `"01500"`, "1500", ""},
		{MTU, `68`, "68", ""},
		{MTU, `65535`, "65535", ""},
		{MTU, `67`, "", "is 67, " + notMTU},
		{MTU, `65536`, "", "is 65536, " + notMTU},
		{MTU, `-1500`, "", "is -1500, " + notMTU},
		{MTU, `"+1500"`, "", `is "+1500", ` + notMTU},
		{MTU, `1500.0`, "", "is 1500.0, " + notMTU},
		{MTU, `1.5e3`, "", "is 1.5e3, " + notMTU},
		{MTU, `"0x5dc"`, "", `is "0x5dc", ` + notMTU},
		{MTU, `"1_500"`, "", `is "1_500", ` + notMTU},
		{MTU, `4294968796`, "", "is 4294968796, " + notMTU},                     // 1500 in 32 bits
		{MTU, `18446744073709553116`, "", "is 18446744073709553116, " + notMTU}, // 1500 in 64 bits
		{MTU, `""`, "", `is "", ` + notMTU},
		{MTU, `true`, "", "is true, " + notMTU},
		{MTU, `null`, "", "is null, " + notSingle},
		{MTU, `{"a":1}`, "", `is {"a":1}, ` + notSingle},
		{MTU, `[1500]`, "", "is [1500], " + notSingle},
		{MTU, ``, "", "is , want a JSON value"},
		{MTU, `fast`, "", "is fast, want a JSON value"},
		{MTU, `"` + strings.Repeat("x", 99) + `"`, "", `is "` + strings.Repeat("x", 59) + "..., " + notMTU},
		{Miimon, `0`, "0", ""},
		{Miimon, `2147483647`, "2147483647", ""},
		{Miimon, `2147483648`, "", "is 2147483648, " + notMiimon},
		{"allSlavesActive", `true`, "1", ""},
		{"allSlavesActive", `false`, "0", ""},
		{"allSlavesActive", `1`, "1", ""},
		{"allSlavesActive", `2`, "", "is 2, " + notFlag},
		{"allSlavesActive", `"yes"`, "", `is "yes", ` + notFlag},

		{Mode, `"active-backup"`, ActiveBackup, ""},
		{Mode, `1`, ActiveBackup, ""},
		{Mode, `"1"`, ActiveBackup, ""},
		{Mode, `"802.3ad"`, LACP, ""},
		{Mode, `4`, LACP, ""},
		{Mode, `6`, BalanceALB, ""},
		{Mode, `7`, "", "is 7, " + notMode},
		{Mode, `-1`, "", "is -1, " + notMode},
		{Mode, `256`, "", "is 256, " + notMode},
		{Mode, `""`, "", `is "", ` + notMode},
		{Mode, `null`, "", "is null, " + notSingle},
		{Mode, `["active-backup"]`, "", `is ["active-backup"], ` + notSingle},
		{Mode, `"Active_Backup"`, "", `is "Active_Backup", ` + notMode + "; did you mean active-backup?"},
		{FailOverMac, `"follow"`, "follow", ""},
		{FailOverMac, `2`, "follow", ""},
		{FailOverMac, `"activ"`, "", `is "activ", want one of none, active, follow; did you mean active?`},

		{MAC, `"02:00:00:00:00:0A"`, "02:00:00:00:00:0a", ""},
		{MAC, `"02-00-00-00-00-0a"`, "02:00:00:00:00:0a", ""},
		{MAC, `"0200.0000.000a"`, "02:00:00:00:00:0a", ""},
		{MAC, `"0200000000 0a"`, "", `is "0200000000 0a", ` + notMAC},
		{MAC, `"02:00:00:00:00"`, "", `is "02:00:00:00:00", ` + notMAC},
		{MAC, `"02:00:00:00:00:00:00:01"`, "", `is "02:00:00:00:00:00:00:01", ` + notMAC},
		{MAC, `"03:00:00:00:00:01"`, "", "is 03:00:00:00:00:01, which is a multicast address, want a unicast address"},
		{MAC, `"ff:ff:ff:ff:ff:ff"`, "", "is ff:ff:ff:ff:ff:ff, which is a multicast address, want a unicast address"},
		{MAC, `"00:00:00:00:00:00"`, "", "is 00:00:00:00:00:00, which no interface can have"},
		{MAC, `20000000001`, "", "is 20000000001, " + notMAC},
		{MAC, `{}`, "", "is {}, " + notSingle},

		{Primary, `"net1"`, "net1", ""},
		{Primary, `""`, "", "is empty, want an interface name"},
		{Primary, `"a/b"`, "", `is "a/b", but an interface name has no slash, colon, percent sign or blank (byte 0x2f)`},
		{Primary, `[]`, "", "is [], " + notSingle},

		{arpIPTarget, `["10.0.0.1"]`, "10.0.0.1", ""},
		{arpIPTarget, `["10.0.0.2", " 10.0.0.1"]`, "10.0.0.2,10.0.0.1", ""},
		{arpIPTarget, `"10.0.0.2, 10.0.0.1"`, "10.0.0.2,10.0.0.1", ""},
		{arpIPTarget, `"10.0.0.1"`, "10.0.0.1", ""},
		{arpIPTarget, many(16), strings.NewReplacer(`"`, "", "[", "", "]", "").Replace(many(16)), ""},
		{arpIPTarget, many(17), "", "has 17 addresses, " + notTargets},
		{arpIPTarget, `[]`, "", "has 0 addresses, " + notTargets},
		{arpIPTarget, `""`, "", `has "", ` + notTargets},
		{arpIPTarget, `null`, "", "is null, " + notTargets},
		{arpIPTarget, `[1]`, "", "is [1], " + notTargets},
		{arpIPTarget, `[null]`, "", `has "", ` + notTargets},
		{arpIPTarget, `"10.0.0.1,"`, "", `has "", ` + notTargets},
		{arpIPTarget, `["10.0.0.1","10.0.0.1"]`, "", "has 10.0.0.1 twice"},
		{arpIPTarget, `["fd00::1"]`, "", `has "fd00::1", ` + notTargets},
		{arpIPTarget, `["::ffff:10.0.0.1"]`, "", `has "::ffff:10.0.0.1", ` + notTargets},
		{arpIPTarget, `["10.0.0.01"]`, "", `has "10.0.0.01", ` + notTargets},
		{arpIPTarget, `["0.0.0.0"]`, "", "has 0.0.0.0, which never answers ARP requests"},
		{arpIPTarget, `["255.255.255.255"]`, "", "has 255.255.255.255, which never answers ARP requests"},
		{arpIPTarget, `["224.0.0.1"]`, "", "has 224.0.0.1, which never answers ARP requests"},
		{nsIP6Target, `["fd00:0::1", "fe80::1"]`, "fd00::1,fe80::1", ""},
		{nsIP6Target, `"10.0.0.1"`, "", `has "10.0.0.1", want 1 to 16 IPv6 addresses, or gateway`},
		{nsIP6Target, `"::ffff:10.0.0.1"`, "", `has "::ffff:10.0.0.1", want 1 to 16 IPv6 addresses, or gateway`},
		{nsIP6Target, `"fe80::1%eth0"`, "", `has "fe80::1%eth0", want 1 to 16 IPv6 addresses, or gateway`},
		{nsIP6Target, `"ff02::1"`, "", "has ff02::1, which never answers neighbour solicitations"},
		{nsIP6Target, `"::"`, "", "has ::, which never answers neighbour solicitations"},
		{"adUserPortKey", `1023`, "1023", ""},
		{"adUserPortKey", `1024`, "", "is 1024, want 0 to 1023"},
		{"adActorSysPrio", `0`, "", "is 0, want 1 to 65535"},
		{notifDelay, `300001`, "", "is 300001, want 0 to 300000 ms"},
		{"lacpRate", `"1"`, "fast", ""},
		{"lpInterval", `0`, "", "is 0, want at least 1 s"},
		{AcceptRA, `false`, "0", ""},
		{AcceptRA, `"1"`, "1", ""},
		{AcceptRA, `2`, "", "is 2, want true or false"},
		{AcceptRA, `"yes"`, "", `is "yes", want true or false`},
	} {
		t.Run(c.key+" "+c.raw, func(t *testing.T) {
			got, err := tableByKey[c.key].kind.parse(json.RawMessage(c.raw))
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.err)
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// samples lists values of a row that must survive the way to the kernel's form
// and back: all names of an enumeration, both ends of a range.
func samples(t *testing.T, row option) []string {
	switch k := row.kind.(type) {
	case numeric:
		return []string{fmt.Sprint(k.min), fmt.Sprint(k.max)}
	case boolean:
		return []string{"0", "1"}
	case signed:
		return []string{"-2147483648", "-1", "2147483647"}
	case enumeration:
		return k.list
	case hardwareAddr:
		return []string{"02:00:00:00:00:01", "fe:ff:ff:ff:ff:ff"}
	case linkName:
		return []string{"2", "2147483647"} // as the index that the kernel uses
	case addresses:
		if k.family == 6 {
			return []string{"fd00::1", "fe80::1,2001:db8::1,fd00::2"}
		}
		return []string{"10.0.0.1", "192.168.255.254,1.2.3.4,10.0.0.1"}
	}
	t.Fatalf("no samples of %s", row.key)
	return nil
}

func TestRoundTrip(t *testing.T) {
	for _, row := range table {
		for _, text := range samples(t, row) {
			payload := row.kind.encode(text)
			assert.Equal(t, text, row.kind.decode(payload), row.key)
			if _, is := row.kind.(linkName); is {
				continue
			}
			raw, err := json.Marshal(text)
			require.NoError(t, err, row.key)
			parsed, err := row.kind.parse(raw)
			require.NoError(t, err, row.key)
			assert.Equal(t, text, parsed, row.key)
		}
	}
}

// TestDecodeUnknown: the kernel may be newer than the table.
func TestDecodeUnknown(t *testing.T) {
	assert.Equal(t, "17", tableByKey[Mode].kind.decode([]byte{17}))
	assert.Equal(t, "4294967295", tableByKey[arpValidate].kind.decode([]byte{255, 255, 255, 255}))
	assert.Equal(t, "10.0.0.1", tableByKey[arpIPTarget].kind.decode(slices.Concat(
		nl.NewRtAttr(0, []byte{10, 0, 0, 1}).Serialize(),
		nl.NewRtAttr(1, make([]byte, 16)).Serialize(), // IPv6
		nl.NewRtAttr(2, make([]byte, 4)).Serialize(),  // unset
	)))
	assert.Equal(t, "", tableByKey[arpIPTarget].kind.decode([]byte{200, 0, 0, 0}), "no attributes")
}

// TestNamesAgainstNetlink compares enumerations with the tables of the netlink
// library. The library reads arp_validate 3 as "none", which is wrong, but writes
// it correctly, so the tables for writing are used. They lack filter and the
// other values that came later.
func TestNamesAgainstNetlink(t *testing.T) {
	for key, theirs := range map[string]map[string]int{
		Mode:             ints(netlink.StringToBondModeMap),
		FailOverMac:      ints(netlink.StringToBondFailOverMacMap),
		"xmitHashPolicy": ints(netlink.StringToBondXmitHashPolicyMap),
		arpValidate:      ints(netlink.StringToBondArpValidateMap),
	} {
		list := tableByKey[key].kind.(enumeration).list
		ours := map[string]int{}
		for i, name := range list {
			ours[name] = i
		}
		if key == arpValidate {
			for i, name := range []string{"filter", "filter_active", "filter_backup"} { // bond_arp_validate_tbl
				assert.Equal(t, 4+i, ours[name], name)
				delete(ours, name)
			}
		}
		assert.Equal(t, theirs, ours, key)
	}
}

func ints[T ~int](m map[string]T) map[string]int {
	out := map[string]int{}
	for name, v := range m {
		out[name] = int(v)
	}
	return out
}

// TestAttributesAgainstNetlink compares numbers and sizes of attributes with those
// of the netlink library.
func TestAttributesAgainstNetlink(t *testing.T) {
	type form struct{ Attr, Bytes int }
	theirs := map[string]form{
		Mode: {nl.IFLA_BOND_MODE, 1}, Miimon: {nl.IFLA_BOND_MIIMON, 4},
		updelay: {nl.IFLA_BOND_UPDELAY, 4}, downdelay: {nl.IFLA_BOND_DOWNDELAY, 4},
		FailOverMac: {nl.IFLA_BOND_FAIL_OVER_MAC, 1}, Primary: {nl.IFLA_BOND_PRIMARY, 4},
		"xmitHashPolicy":  {nl.IFLA_BOND_XMIT_HASH_POLICY, 1},
		"allSlavesActive": {nl.IFLA_BOND_ALL_SLAVES_ACTIVE, 1},
		"tlbDynamicLb":    {nl.IFLA_BOND_TLB_DYNAMIC_LB, 1},
		arpInterval:       {nl.IFLA_BOND_ARP_INTERVAL, 4},
		arpIPTarget:       {nl.IFLA_BOND_ARP_IP_TARGET, 8}, // one address and its header
		arpValidate:       {nl.IFLA_BOND_ARP_VALIDATE, 4},
		"arpAllTargets":   {nl.IFLA_BOND_ARP_ALL_TARGETS, 4},
		"useCarrier":      {nl.IFLA_BOND_USE_CARRIER, 1},
		"primaryReselect": {nl.IFLA_BOND_PRIMARY_RESELECT, 1},
		"numGratArp":      {nl.IFLA_BOND_NUM_PEER_NOTIF, 1},
		"resendIgmp":      {nl.IFLA_BOND_RESEND_IGMP, 4},
		"packetsPerSlave": {nl.IFLA_BOND_PACKETS_PER_SLAVE, 4},
		"lpInterval":      {nl.IFLA_BOND_LP_INTERVAL, 4},
		"minLinks":        {nl.IFLA_BOND_MIN_LINKS, 4},
		"lacpRate":        {nl.IFLA_BOND_AD_LACP_RATE, 1},
		"adSelect":        {nl.IFLA_BOND_AD_SELECT, 1},
		"adActorSysPrio":  {nl.IFLA_BOND_AD_ACTOR_SYS_PRIO, 2},
		"adActorSystem":   {nl.IFLA_BOND_AD_ACTOR_SYSTEM, 6},
		"adUserPortKey":   {nl.IFLA_BOND_AD_USER_PORT_KEY, 2},
		// The library lacks these; numbers and sizes are bond_netlink.c's.
		notifDelay:          {28, 4},
		"lacpActive":        {29, 1},
		"arpMissedMax":      {30, 1},
		nsIP6Target:         {31, 20}, // one address and its header
		"coupledControl":    {32, 1},
		"broadcastNeighbor": {33, 1},
		"lacpStrict":        {34, 1},
		activeSlave:         {nl.IFLA_BOND_ACTIVE_SLAVE, 4},
		queueID:             {unix.IFLA_BOND_SLAVE_QUEUE_ID, 2},
		prio:                {unix.IFLA_BOND_SLAVE_PRIO, 4},
		"actorPortPrio":     {10, 2},
	}
	for _, row := range table {
		if row.ofLink || row.ours {
			continue
		}
		got := form{int(row.attr), len(row.kind.encode(samples(t, row)[0]))}
		assert.Equal(t, theirs[row.key], got, row.key)
		delete(theirs, row.key)
	}
	assert.Empty(t, theirs, "rows that are missing")
}

func TestEncodeUint(t *testing.T) {
	assert.Equal(t, []byte{7}, encodeUint(8, 7))
	assert.Equal(t, binary.NativeEndian.AppendUint16(nil, 0x1234), encodeUint(16, 0x1234))
	assert.Equal(t, binary.NativeEndian.AppendUint32(nil, 0x12345678), encodeUint(32, 0x12345678))
	assert.EqualValues(t, 0x1234, decodeUint(encodeUint(16, 0x1234)))
	assert.Zero(t, decodeUint([]byte{1, 2, 3}))
}

// TestEncodeNonsense: text that a kind cannot encode gives an empty payload, not a
// wrong one.
func TestEncodeNonsense(t *testing.T) {
	for _, key := range []string{MTU, MAC, Primary, arpIPTarget} {
		assert.Empty(t, tableByKey[key].kind.encode("nonsense"), key)
	}
}

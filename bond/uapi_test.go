package bond

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// TestKernelNumbers compares the numbers in tables with those of the kernel's headers.
func TestKernelNumbers(t *testing.T) {
	for name, pair := range map[string][2]int{
		"IFLA_BOND_MODE":              {iflaBondMode, unix.IFLA_BOND_MODE},
		"IFLA_MTU":                    {iflaMTU, unix.IFLA_MTU},
		"IFLA_ADDRESS":                {iflaAddress, unix.IFLA_ADDRESS},
		"IFLA_BOND_MIIMON":            {iflaBondMiimon, unix.IFLA_BOND_MIIMON},
		"IFLA_BOND_UPDELAY":           {iflaBondUpdelay, unix.IFLA_BOND_UPDELAY},
		"IFLA_BOND_DOWNDELAY":         {iflaBondDowndelay, unix.IFLA_BOND_DOWNDELAY},
		"IFLA_BOND_FAIL_OVER_MAC":     {iflaBondFailOverMAC, unix.IFLA_BOND_FAIL_OVER_MAC},
		"IFLA_BOND_PRIMARY":           {iflaBondPrimary, unix.IFLA_BOND_PRIMARY},
		"IFLA_BOND_ACTIVE_SLAVE":      {iflaBondActiveSlave, unix.IFLA_BOND_ACTIVE_SLAVE},
		"IFLA_BOND_XMIT_HASH_POLICY":  {iflaBondXmitHashPolicy, unix.IFLA_BOND_XMIT_HASH_POLICY},
		"IFLA_BOND_ALL_SLAVES_ACTIVE": {iflaBondAllSlavesActive, unix.IFLA_BOND_ALL_SLAVES_ACTIVE},
		"IFLA_BOND_TLB_DYNAMIC_LB":    {iflaBondTLBDynamicLB, unix.IFLA_BOND_TLB_DYNAMIC_LB},
		"IFLA_BOND_ARP_INTERVAL":      {iflaBondARPInterval, unix.IFLA_BOND_ARP_INTERVAL},
		"IFLA_BOND_ARP_IP_TARGET":     {iflaBondARPIPTarget, unix.IFLA_BOND_ARP_IP_TARGET},
		"IFLA_BOND_ARP_VALIDATE":      {iflaBondARPValidate, unix.IFLA_BOND_ARP_VALIDATE},
		"IFLA_BOND_ARP_ALL_TARGETS":   {iflaBondARPAllTargets, unix.IFLA_BOND_ARP_ALL_TARGETS},
		"IFLA_BOND_MISSED_MAX":        {iflaBondMissedMax, unix.IFLA_BOND_MISSED_MAX},
		"IFLA_BOND_NS_IP6_TARGET":     {iflaBondNSIP6Target, unix.IFLA_BOND_NS_IP6_TARGET},
		"IFLA_BOND_USE_CARRIER":       {iflaBondUseCarrier, unix.IFLA_BOND_USE_CARRIER},
		"IFLA_BOND_PRIMARY_RESELECT":  {iflaBondPrimaryReselect, unix.IFLA_BOND_PRIMARY_RESELECT},
		"IFLA_BOND_NUM_PEER_NOTIF":    {iflaBondNumPeerNotif, unix.IFLA_BOND_NUM_PEER_NOTIF},
		"IFLA_BOND_PEER_NOTIF_DELAY":  {iflaBondPeerNotifDelay, unix.IFLA_BOND_PEER_NOTIF_DELAY},
		"IFLA_BOND_RESEND_IGMP":       {iflaBondResendIGMP, unix.IFLA_BOND_RESEND_IGMP},
		"IFLA_BOND_PACKETS_PER_SLAVE": {iflaBondPacketsPerSlave, unix.IFLA_BOND_PACKETS_PER_SLAVE},
		"IFLA_BOND_LP_INTERVAL":       {iflaBondLPInterval, unix.IFLA_BOND_LP_INTERVAL},
		"IFLA_BOND_MIN_LINKS":         {iflaBondMinLinks, unix.IFLA_BOND_MIN_LINKS},
		"IFLA_BOND_AD_LACP_RATE":      {iflaBondADLACPRate, unix.IFLA_BOND_AD_LACP_RATE},
		"IFLA_BOND_AD_LACP_ACTIVE":    {iflaBondADLACPActive, unix.IFLA_BOND_AD_LACP_ACTIVE},
		"IFLA_BOND_AD_SELECT":         {iflaBondADSelect, unix.IFLA_BOND_AD_SELECT},
		"IFLA_BOND_AD_ACTOR_SYS_PRIO": {iflaBondADActorSysPrio, unix.IFLA_BOND_AD_ACTOR_SYS_PRIO},
		"IFLA_BOND_AD_ACTOR_SYSTEM":   {iflaBondADActorSystem, unix.IFLA_BOND_AD_ACTOR_SYSTEM},
		"IFLA_BOND_AD_USER_PORT_KEY":  {iflaBondADUserPortKey, unix.IFLA_BOND_AD_USER_PORT_KEY},
		"IFLA_BOND_SLAVE_QUEUE_ID":    {iflaBondSlaveQueueID, unix.IFLA_BOND_SLAVE_QUEUE_ID},
		"IFLA_BOND_SLAVE_PRIO":        {iflaBondSlavePrio, unix.IFLA_BOND_SLAVE_PRIO},
		"IFF_PROMISC":                 {iffPromisc, unix.IFF_PROMISC},
		"IFF_ALLMULTI":                {iffAllmulti, unix.IFF_ALLMULTI},
		"IFF_NOARP":                   {iffNoarp, unix.IFF_NOARP},
		"IFF_MULTICAST":               {iffMulticast, unix.IFF_MULTICAST},
	} {
		assert.Equal(t, pair[1], pair[0], name)
	}
}

package bond

// The kernel's numbers that stand in tables. Package unix has them only if it is compiled
// for Linux, and the operator's tool, which reads the tables, runs elsewhere too.

// Attributes of links (include/uapi/linux/if_link.h).
const (
	iflaMTU     = 4
	iflaAddress = 1
)

// Attributes of bonds, in IFLA_INFO_DATA.
const (
	iflaBondMode            = 1
	iflaBondMiimon          = 3
	iflaBondUpdelay         = 4
	iflaBondDowndelay       = 5
	iflaBondFailOverMAC     = 13
	iflaBondPrimary         = 11
	iflaBondActiveSlave     = 2
	iflaBondXmitHashPolicy  = 14
	iflaBondAllSlavesActive = 17
	iflaBondTLBDynamicLB    = 27
	iflaBondARPInterval     = 7
	iflaBondARPIPTarget     = 8
	iflaBondARPValidate     = 9
	iflaBondARPAllTargets   = 10
	iflaBondMissedMax       = 30
	iflaBondNSIP6Target     = 31
	iflaBondUseCarrier      = 6
	iflaBondPrimaryReselect = 12
	iflaBondNumPeerNotif    = 16
	iflaBondPeerNotifDelay  = 28
	iflaBondResendIGMP      = 15
	iflaBondPacketsPerSlave = 20
	iflaBondLPInterval      = 19
	iflaBondMinLinks        = 18
	iflaBondADLACPRate      = 21
	iflaBondADLACPActive    = 29
	iflaBondADSelect        = 22
	iflaBondADActorSysPrio  = 24
	iflaBondADActorSystem   = 26
	iflaBondADUserPortKey   = 25
)

// Attributes of links in a bond, in IFLA_INFO_SLAVE_DATA.
const (
	iflaBondSlaveQueueID = 5
	iflaBondSlavePrio    = 9
)

// Flags of links (include/uapi/linux/if.h).
const (
	iffPromisc   = 0x100
	iffAllmulti  = 0x200
	iffNoarp     = 0x80
	iffMulticast = 0x1000
)

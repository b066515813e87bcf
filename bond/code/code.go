// Package code numbers the kinds of problems. A program that shows a problem shows its code,
// and "kubectl multibond explain" has a page for each.
//
// The texts are not here, because the plugin has no use for them: package
// cmd/multibondctl/explain has them. A number is never given to another problem.
package code

import (
	"slices"
	"strconv"
	"strings"
)

// Code is the kind of a problem.
type Code uint16

// 1xx: the text, its keys and its values.
const (
	NotJSON     Code = 101
	NotObject   Code = 102
	WrongType   Code = 103
	UnknownKey  Code = 104
	IgnoredKeys Code = 105
	NoName      Code = 106
	BadName     Code = 107
	NoType      Code = 108
	BadType     Code = 109
	NoPlugins   Code = 110
	ManyPlugins Code = 111
	BadVersion  Code = 112
	TooLarge    Code = 113
	NeitherKind Code = 114
	LaterBond   Code = 115
	WrongWord   Code = 116
	NotAbsolute Code = 117
	More        Code = 118
)

// 2xx: links.
const (
	FewLinks       Code = 201
	ManyLinks      Code = 202
	NoSource       Code = 203
	SeveralSources Code = 204
	LinkCount      Code = 205
	CountedName    Code = 206
	BadInterface   Code = 207
	SameLinkName   Code = 208
	BondsName      Code = 209
	SameDevice     Code = 210
	BadDevice      Code = 211
	TwoDevices     Code = 212
	SRIOVDevice    Code = 213
	SRIOVWord      Code = 214
	LinkIPAM       Code = 215
	NestedBond     Code = 216
	NeedsAgent     Code = 217
	EmptySource    Code = 218
	MinLinksAbove  Code = 219
	VLANLink       Code = 220
	VLANTwice      Code = 221
	OtherIfName    Code = 222
	DeviceCount    Code = 223
)

// 3xx: options of the bond.
const (
	BadValue          Code = 301
	TwoKeys           Code = 302
	SharedNeedsActive Code = 303
	MACReplaced       Code = 304
	NotALink          Code = 305
	ActiveSlave       Code = 306
	NotInMode         Code = 307
	NoEffect          Code = 308
	NoMonitor         Code = 309
	GatewayMiimon     Code = 310
	TwoMonitors       Code = 311
	Delay             Code = 312
	SameQueue         Code = 313
	GatewayIPAM       Code = 314
	OldKernel         Code = 315
	NoGateway         Code = 316
	SilentGateway     Code = 317
)

// 4xx: pools, interfaces without a bond, what a pod may choose.
const (
	BadPCIID         Code = 401
	BadPattern       Code = 402
	BadCIDR          Code = 403
	PoolNumber       Code = 404
	PoolPlugin       Code = 405
	PoolChooses      Code = 406
	EachOption       Code = 407
	EachRuntime      Code = 408
	EachIPAM         Code = 409
	EachAfter        Code = 410
	EachDefaultRoute Code = 411
	NotAllowed       Code = 412
	ChosenTwice      Code = 413
	ChoicePool       Code = 414
	BadSubnet        Code = 415
	BadBlock         Code = 416
	BadExclude       Code = 417
	BlocksPool       Code = 418
	RoutesMaster     Code = 419
)

// 5xx: what the node has, found before anything is touched.
const (
	NoBonding         Code = 501
	NoPlugin          Code = 502
	NameTaken         Code = 503
	NoDeviceLeft      Code = 504
	PoolShort         Code = 505
	NoDevice          Code = 506
	NotVF             Code = 507
	Userspace         Code = 508
	NoDriver          Code = 509
	NotOnHost         Code = 510
	SeveralInterfaces Code = 511
	PFNotOnHost       Code = 512
	HasMaster         Code = 513
	InUse             Code = 514
	Leftovers         Code = 515
	NoHostLink        Code = 516
	AltName           Code = 517
	NoPodLink         Code = 518
	HostRoute         Code = 519
	NoIPv6            Code = 520
	LinkMTU           Code = 521
	MixedTypes        Code = 522
	InfiniBand        Code = 523
	LACPOverVFs       Code = 524
	SwitchGroup       Code = 525
	NotShared         Code = 526
	LinksMissing      Code = 527
	OneLink           Code = 528
	NearUnknown       Code = 529
	TwoAttachments    Code = 530
	NoHostIndex       Code = 531
	ManyInterfaces    Code = 532
	ManyHosts         Code = 533
	NoAddress         Code = 534
	NeedsKeep         Code = 535
	SubnetOnHost      Code = 536
	SamePF            Code = 541
	SameCard          Code = 542
	OtherNUMA         Code = 543
	OtherSpeed        Code = 544
	PFDown            Code = 545
	HostBond          Code = 546
	PFMTU             Code = 547
	Untrusted         Code = 548
	SpoofChecked      Code = 549
	ForcedState       Code = 550
	OtherVLAN         Code = 551
)

// 6xx: a pod's annotation, NADs, and the pod's devices.
const (
	BadAnnotation    Code = 601
	OneNetwork       Code = 602
	ManyNetworks     Code = 603
	NetworkName      Code = 604
	SameInterface    Code = 605
	DefaultRoutes    Code = 606
	BadAddress       Code = 607
	NoInterfaceHas   Code = 608
	BadMAC           Code = 609
	BadPort          Code = 610
	BadBandwidth     Code = 611
	IPAMClaim        Code = 612
	NoIPAM           Code = 613
	NoCapability     Code = 614
	BondDevice       Code = 615
	DefaultInterface Code = 616
	NoNAD            Code = 617
	Isolated         Code = 618
	NotNamed         Code = 619
	FewDevices       Code = 620
	NotOfPod         Code = 621
	DeviceTwice      Code = 622
	AmbiguousRequest Code = 623
)

// 7xx: the cluster's configuration.
const (
	DefaultNetworks Code = 701
	ClusterNetwork  Code = 702
)

// 8xx: what a configuration of bond-cni means here.
const (
	BondCNIName     Code = 801
	BondCNIKeys     Code = 802
	BondCNIMiimon   Code = 803
	BondCNIOption   Code = 804
	BondCNIFailOver Code = 805
)

// 9xx: what CHECK finds, and the agent sees.
const (
	BondDiffers    Code = 901
	LinkDiffers    Code = 902
	AddressDiffers Code = 903
	VFDiffers      Code = 904
	NoCarrier      Code = 905
)

// String returns the code as it is shown, such as "MB204".
func (c Code) String() string { return "MB" + strconv.Itoa(int(c)) }

// MarshalText returns what String does, for JSON.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Coded is an error with a code.
type Coded interface {
	error
	Kind() Code
}

type coded struct {
	error
	code Code
}

func (c coded) Kind() Code    { return c.code }
func (c coded) Unwrap() error { return c.error }

// With gives an error a code. Its text stays.
func With(c Code, err error) error { return coded{err, c} }

// Of returns the codes of err and of all errors that it wraps, in order, each once.
func Of(err error) (codes []Code) {
	add := func(c Code) {
		if !slices.Contains(codes, c) {
			codes = append(codes, c)
		}
	}
	var walk func(error)
	walk = func(err error) {
		if c, is := err.(Coded); is && c.Kind() != 0 {
			add(c.Kind())
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		}
	}
	walk(err)
	return codes
}

// Text returns the text of err, followed by its codes in brackets, if it has any.
func Text(err error) string {
	text := err.Error()
	codes := Of(err)
	if len(codes) == 0 {
		return text
	}
	var words []string
	for _, c := range codes {
		words = append(words, c.String())
	}
	return text + " [" + strings.Join(words, " ") + "]"
}

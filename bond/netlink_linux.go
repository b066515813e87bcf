package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often a dump is asked for that the kernel says changed
// while it was read.
const dumpTries = 10

func (n *namespace) Links() ([]Link, error) {
	for range dumpTries {
		r := n.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		messages, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		if errors.Is(err, nl.ErrDumpInterrupted) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing links: %w", err)
		}
		links := make([]Link, len(messages))
		for i, m := range messages {
			if links[i], err = parseLink(m); err != nil {
				return nil, fmt.Errorf("listing links: %w", err)
			}
		}
		n.namePrimaries(links)
		return links, nil
	}
	return nil, fmt.Errorf("listing links: they changed during each of %d readings", dumpTries)
}

// namePrimaries turns the index that the kernel reads back for a link option
// into the name that the user wrote.
func (n *namespace) namePrimaries(links []Link) {
	for _, l := range links {
		index, err := strconv.Atoi(l.Options[Primary])
		if err != nil {
			continue
		}
		delete(l.Options, Primary)
		for _, other := range links {
			if other.Index == index {
				l.Options[Primary] = other.Name
			}
		}
	}
}

func (n *namespace) Link(name string) (Link, error) {
	r := n.request(unix.RTM_GETLINK, 0)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	messages, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if errors.Is(err, unix.ENODEV) || err == nil && len(messages) == 0 {
		return Link{}, fmt.Errorf("link %s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return Link{}, fmt.Errorf("link %s: %w", name, err)
	}
	return parseLink(messages[0])
}

func parseLink(message []byte) (Link, error) {
	head := nl.DeserializeIfInfomsg(message)
	attrs, err := nl.ParseRouteAttr(message[head.Len():])
	if err != nil {
		return Link{}, err
	}
	l := Link{
		Index:   int(head.Index),
		Type:    head.Type,
		Up:      head.Flags&unix.IFF_UP != 0,
		Carrier: head.Flags&unix.IFF_LOWER_UP != 0,
	}
	for _, a := range attrs {
		l.parseAttr(a)
	}
	if l.Kind == kindBond {
		l.Options[MTU], l.Options[MAC] = strconv.Itoa(l.MTU), l.MAC
	} else {
		l.Options = nil
	}
	return l, nil
}

const kindBond = "bond"

func (l *Link) parseAttr(a syscall.NetlinkRouteAttr) {
	switch a.Attr.Type &^ unix.NLA_F_NESTED {
	case unix.IFLA_IFNAME:
		l.Name = nl.BytesToString(a.Value)
	case unix.IFLA_ADDRESS:
		l.MAC = net.HardwareAddr(a.Value).String()
	case unix.IFLA_PERM_ADDRESS:
		l.PermMAC = net.HardwareAddr(a.Value).String()
	case unix.IFLA_MTU:
		l.MTU = int(decodeUint(a.Value))
	case unix.IFLA_MAX_MTU:
		l.MaxMTU = int(decodeUint(a.Value))
	case unix.IFLA_MASTER:
		l.Master = int(decodeUint(a.Value))
	case unix.IFLA_PARENT_DEV_NAME:
		l.Device = nl.BytesToString(a.Value)
	case unix.IFLA_LINKINFO:
		for _, info := range nested(a) {
			switch info.Attr.Type &^ unix.NLA_F_NESTED {
			case unix.IFLA_INFO_KIND:
				l.Kind = nl.BytesToString(info.Value)
			case unix.IFLA_INFO_DATA:
				l.Options = parseBondData(nested(info))
			}
		}
	case unix.IFLA_PROP_LIST:
		for _, alt := range nested(a) {
			l.AltNames = append(l.AltNames, nl.BytesToString(alt.Value))
		}
	}
}

func nested(a syscall.NetlinkRouteAttr) []syscall.NetlinkRouteAttr {
	attrs, err := nl.ParseRouteAttr(a.Value)
	if err != nil {
		return nil
	}
	return attrs
}

// parseBondData reads IFLA_INFO_DATA. For links of another kind, whose data
// has other meanings, the caller drops the result.
func parseBondData(attrs []syscall.NetlinkRouteAttr) Options {
	payload := map[uint16][]byte{}
	for _, a := range attrs {
		payload[a.Attr.Type&^unix.NLA_F_NESTED] = a.Value
	}
	o := Options{}
	for _, row := range table {
		if p, there := payload[row.attr]; there && !row.ofLink {
			if text := row.kind.decode(p); text != "" {
				o[row.key] = text
			}
		}
	}
	return o
}

func (n *namespace) CreateBond(name string, o Options) (Link, error) {
	r := n.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(kindBond))
	data := info.AddRtAttr(unix.IFLA_INFO_DATA, nil)
	for _, row := range o.sent() {
		payload, err := n.payload(row, o[row.key])
		if err != nil {
			return Link{}, fmt.Errorf("creating bond %s: %w", name, err)
		}
		if row.ofLink {
			r.AddData(nl.NewRtAttr(int(row.attr), payload))
		} else {
			data.AddRtAttr(int(row.attr), payload)
		}
	}
	r.AddData(info)
	if err := do(r); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return Link{}, fmt.Errorf("creating bond %s: %w: %w", name, ErrNoBonding, err)
		}
		return Link{}, fmt.Errorf("creating bond %s (%s): %w", name, o, err)
	}
	return n.Link(name)
}

// ErrNoBonding means that this kernel can make no bond.
var ErrNoBonding = errors.New("this kernel has no bonding; load it with: modprobe bonding max_bonds=0")

// payload encodes one option; a link is sent by its index.
func (n *namespace) payload(row option, text string) ([]byte, error) {
	if _, ok := row.kind.(linkName); ok {
		l, err := n.Link(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", row.key, err)
		}
		text = strconv.Itoa(l.Index)
	}
	return row.kind.encode(text), nil
}

func (n *namespace) Delete(index int) error {
	r := n.request(unix.RTM_DELLINK, unix.NLM_F_ACK)
	r.AddData(infoOf(index))
	if err := do(r); err != nil {
		return fmt.Errorf("deleting link %d: %w", index, err)
	}
	return nil
}

func infoOf(index int) *nl.IfInfomsg {
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index = int32(index)
	return m
}

func (n *namespace) Change(index int, c Change) error {
	r := n.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	m := infoOf(index)
	r.AddData(m)
	if c.Up != nil {
		m.Change = unix.IFF_UP
		if *c.Up {
			m.Flags = unix.IFF_UP
		}
	}
	if c.MAC != nil {
		mac, err := net.ParseMAC(*c.MAC)
		if err != nil {
			return err
		}
		r.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	if c.MTU != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_MTU, uint32Attr(*c.MTU)))
	}
	if c.Name != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(*c.Name)))
	}
	if c.Master != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_MASTER, uint32Attr(*c.Master)))
	}
	if c.Namespace != nil {
		to, ok := c.Namespace.(*namespace)
		if !ok {
			return fmt.Errorf("namespace %s is not of this kernel", c.Namespace.ID())
		}
		r.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, uint32Attr(int(to.file.Fd()))))
	}
	return do(r)
}

func uint32Attr(v int) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(v))
}

package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func (n *namespace) Links() ([]Link, error) {
	messages, err := n.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	links := make([]Link, len(messages))
	for i, m := range messages {
		if links[i], err = parseLink(hostSys, m); err != nil {
			return nil, fmt.Errorf("listing links: %w", err)
		}
	}
	for i := range links {
		namePrimary(links[i].Options, func(index int) (Link, bool) {
			return Find(links, func(l Link) bool { return l.Index == index })
		})
	}
	return links, nil
}

func (n *namespace) Link(name string) (Link, error) {
	if len(name) > MaxName {
		// The kernel would answer ERANGE; no link can have such a name.
		return Link{}, fmt.Errorf("link %s: %w", name, fs.ErrNotExist)
	}
	message, err := n.linkMessage(byName(name), 0)
	if err != nil {
		return Link{}, fmt.Errorf("link %s: %w", name, err)
	}
	return n.linkOf(message)
}

func (n *namespace) byIndex(index int) (Link, error) {
	message, err := n.linkMessage([]nl.NetlinkRequestData{infoOf(index)}, 0)
	if err != nil {
		return Link{}, fmt.Errorf("link %d: %w", index, err)
	}
	return n.linkOf(message)
}

func byName(name string) []nl.NetlinkRequestData {
	return []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name))}
}

// linkMessage asks for one link, with the additional data of mask
// (RTEXT_FILTER_*). If there is no such link, the error is compatible with
// errors.Is(err, fs.ErrNotExist).
func (n *namespace) linkMessage(which []nl.NetlinkRequestData, mask int) ([]byte, error) {
	r := n.request(unix.RTM_GETLINK, 0)
	for _, d := range which {
		r.AddData(d)
	}
	if mask != 0 {
		r.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, uint32Attr(mask)))
	}
	messages, err := execute(r, unix.RTM_NEWLINK)
	if errors.Is(err, unix.ENODEV) || err == nil && len(messages) == 0 {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	return messages[0], nil
}

func (n *namespace) linkOf(message []byte) (Link, error) {
	l, err := parseLink(hostSys, message)
	if err != nil {
		return Link{}, err
	}
	namePrimary(l.Options, func(index int) (Link, bool) {
		primary, err := n.byIndex(index)
		return primary, err == nil
	})
	return l, nil
}

// namePrimary replaces the index that the kernel reports for the primary by the
// link's name.
func namePrimary(o Options, find func(index int) (Link, bool)) {
	index, err := strconv.Atoi(o[Primary])
	if err != nil {
		return
	}
	delete(o, Primary)
	if l, there := find(index); there {
		o[Primary] = l.Name
	}
}

// hostSys shows the devices of all namespaces.
var hostSys = os.DirFS("/sys")

// parseLink reads a link from a netlink message. It trusts no length in the message
// and returns an error if one is wrong. sys is the root of sysfs.
func parseLink(sys fs.FS, message []byte) (Link, error) {
	if len(message) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("a link message of %d bytes: %w", len(message), io.ErrUnexpectedEOF)
	}
	head := nl.DeserializeIfInfomsg(message)
	attrs, err := attributes(message[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, fmt.Errorf("link %d: %w", head.Index, err)
	}
	l := Link{
		Index:   int(head.Index),
		Type:    head.Type,
		Up:      head.Flags&unix.IFF_UP != 0,
		Carrier: head.Flags&unix.IFF_LOWER_UP != 0,

		// The kernel does not send an empty list or text.
		AltNames: []string{},
		Alias:    new(""),
		Flags:    new(Flags(head.Flags) & allFlags),
	}
	for _, a := range attrs {
		l.parseAttr(sys, a)
	}
	if l.Kind == kindBond {
		if l.Options == nil {
			l.Options = Options{}
		}
		l.Options[MTU], l.Options[MAC] = strconv.Itoa(l.MTU), l.MAC
	}
	return l, nil
}

func (l *Link) parseAttr(sys fs.FS, a syscall.NetlinkRouteAttr) {
	switch a.Attr.Type &^ unix.NLA_F_NESTED {
	case unix.IFLA_IFNAME:
		l.Name = unix.ByteSliceToString(a.Value)
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
		l.Device = pciOf(sys, unix.ByteSliceToString(a.Value))
	case unix.IFLA_LINKINFO:
		l.parseInfo(nested(a))
	case unix.IFLA_AF_SPEC:
		l.OwnARP = hasOwnARP(nested(a))
	case unix.IFLA_PROP_LIST:
		for _, alt := range nested(a) {
			l.AltNames = append(l.AltNames, unix.ByteSliceToString(alt.Value))
		}
	case unix.IFLA_IFALIAS:
		l.Alias = new(unix.ByteSliceToString(a.Value))
	case unix.IFLA_TXQLEN:
		l.TxQueueLen = new(int(decodeUint(a.Value)))
	case unix.IFLA_GROUP:
		l.Group = int(decodeUint(a.Value))
	case unix.IFLA_GSO_MAX_SIZE:
		l.Offload.GSOMaxSize = int(decodeUint(a.Value))
	case unix.IFLA_GSO_MAX_SEGS:
		l.Offload.GSOMaxSegs = int(decodeUint(a.Value))
	case unix.IFLA_GRO_MAX_SIZE:
		l.Offload.GROMaxSize = int(decodeUint(a.Value))
	case unix.IFLA_XDP:
		l.XDP = parseXDP(nested(a))
	}
}

// parseXDP returns the modes in which there is a program.
func parseXDP(attrs []syscall.NetlinkRouteAttr) (modes XDP) {
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_XDP_SKB_PROG_ID:
			modes |= unix.XDP_FLAGS_SKB_MODE
		case unix.IFLA_XDP_DRV_PROG_ID:
			modes |= unix.XDP_FLAGS_DRV_MODE
		case unix.IFLA_XDP_HW_PROG_ID:
			modes |= unix.XDP_FLAGS_HW_MODE
		}
	}
	return modes
}

// parseInfo reads IFLA_LINKINFO. It ignores the data of links that are neither a
// bond nor in one, because they have other meanings.
func (l *Link) parseInfo(attrs []syscall.NetlinkRouteAttr) {
	info := byType(attrs)
	l.Kind = unix.ByteSliceToString(info[unix.IFLA_INFO_KIND].Value)
	switch master := unix.ByteSliceToString(info[unix.IFLA_INFO_SLAVE_KIND].Value); {
	case l.Kind == kindBond:
		l.Options = parseBondData(nested(info[unix.IFLA_INFO_DATA]), false)
	case master == kindBond:
		l.Options = parseBondData(nested(info[unix.IFLA_INFO_SLAVE_DATA]), true)
	}
}

func nested(a syscall.NetlinkRouteAttr) []syscall.NetlinkRouteAttr {
	attrs, err := attributes(a.Value)
	if err != nil {
		return nil
	}
	return attrs
}

// attributes splits a message into its attributes (rtnetlink(7)). Unlike
// nl.ParseRouteAttr, it does not panic if the last one lacks its padding.
func attributes(b []byte) ([]syscall.NetlinkRouteAttr, error) {
	var attrs []syscall.NetlinkRouteAttr
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return nil, fmt.Errorf("an attribute of %d bytes in %d: %w", size, len(b), io.ErrUnexpectedEOF)
		}
		attrs = append(attrs, syscall.NetlinkRouteAttr{
			Attr:  syscall.RtAttr{Len: uint16(size), Type: binary.NativeEndian.Uint16(b[2:])},
			Value: b[unix.SizeofRtAttr:size],
		})
		b = b[min(len(b), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return attrs, nil
}

// parseBondData reads the options of a bond, or of a link in one.
func parseBondData(attrs []syscall.NetlinkRouteAttr, perLink bool) Options {
	payload := byType(attrs)
	o := Options{}
	for _, row := range table {
		if p, there := payload[row.attr]; there && !row.ofLink && !row.ours && !row.once && row.perLink == perLink {
			if text := row.kind.decode(p.Value); text != "" {
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
		return Link{}, fmt.Errorf("creating bond %s (%s): %w", name, o, o.explain(err))
	}
	b, err := n.Link(name)
	if err != nil {
		return Link{}, err
	}
	if err := o.unknown(b.Options); err != nil {
		return Link{}, errors.Join(fmt.Errorf("creating bond %s: %w: %w", name, unix.EOPNOTSUPP, err), n.Delete(b.Index))
	}
	if err := n.acceptRA(b, o[AcceptRA]); err != nil {
		return Link{}, errors.Join(fmt.Errorf("creating bond %s: %s: %w", name, AcceptRA, err), n.Delete(b.Index))
	}
	return b, nil
}

// payload encodes one option. A link's name is replaced by its index.
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
	if err := n.changeAltNames(unix.RTM_DELLINKPROP, index, c.DropAltNames); err != nil {
		return err
	}
	if c.AcceptRA != "" {
		link, err := n.byIndex(index)
		if err != nil {
			return err
		}
		if err := n.acceptRA(link, c.AcceptRA); err != nil {
			return fmt.Errorf("%s: %w", AcceptRA, err)
		}
	}
	if err := n.changeLink(index, c); err != nil {
		return err
	}
	if err := n.dropXDP(index, c.DropXDP); err != nil {
		return err
	}
	return n.changeAltNames(unix.RTM_NEWLINKPROP, index, c.AddAltNames)
}

// dropXDP removes a link's programs in modes, each of which is a request of its own.
func (n *namespace) dropXDP(index int, modes XDP) error {
	for _, mode := range []XDP{unix.XDP_FLAGS_SKB_MODE, unix.XDP_FLAGS_DRV_MODE, unix.XDP_FLAGS_HW_MODE} {
		if modes&mode == 0 {
			continue
		}
		r := n.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
		r.AddData(infoOf(index))
		xdp := nl.NewRtAttr(unix.IFLA_XDP|unix.NLA_F_NESTED, nil)
		xdp.AddRtAttr(unix.IFLA_XDP_FD, uint32Attr(-1))
		xdp.AddRtAttr(unix.IFLA_XDP_FLAGS, uint32Attr(int(mode)))
		r.AddData(xdp)
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

// changeAltNames adds alternative names to a link or drops them.
func (n *namespace) changeAltNames(kind, index int, names []string) error {
	if len(names) == 0 {
		return nil
	}
	r := n.request(kind, unix.NLM_F_ACK)
	r.AddData(infoOf(index))
	list := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
	for _, name := range names {
		list.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))
	}
	r.AddData(list)
	return do(r)
}

// changeLink changes everything but alternative names.
func (n *namespace) changeLink(index int, c Change) error {
	r := n.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	m := infoOf(index)
	m.Change, m.Flags = uint32(c.Set|c.Clear), uint32(c.Set)
	r.AddData(m)
	if c.Up != nil {
		m.Change |= unix.IFF_UP
		if *c.Up {
			m.Flags |= unix.IFF_UP
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
	if c.Alias != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, nl.NonZeroTerminated(*c.Alias)))
	}
	if c.Master != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_MASTER, uint32Attr(*c.Master)))
	}
	if c.TxQueueLen != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_TXQLEN, uint32Attr(*c.TxQueueLen)))
	}
	if c.Group != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_GROUP, uint32Attr(*c.Group)))
	}
	for _, size := range [...]struct{ attr, value int }{
		{unix.IFLA_GSO_MAX_SIZE, c.Offload.GSOMaxSize},
		{unix.IFLA_GSO_MAX_SEGS, c.Offload.GSOMaxSegs},
		{unix.IFLA_GRO_MAX_SIZE, c.Offload.GROMaxSize},
	} {
		if size.value > 0 {
			r.AddData(nl.NewRtAttr(size.attr, uint32Attr(size.value)))
		}
	}
	if c.OwnARP {
		r.AddData(ownARP())
	}
	if c.Namespace != nil {
		to, ok := c.Namespace.(*namespace)
		if !ok {
			return fmt.Errorf("namespace %s does not belong to this kernel", c.Namespace.ID())
		}
		r.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, uint32Attr(int(to.file.Fd()))))
	}
	if c.Number != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, uint32Attr(*c.Number)))
	}
	if c.Options != nil {
		return n.changeOptions(r, index, c.Options)
	}
	return do(r)
}

// changeOptions sets options of a bond or of a link in one. It returns an error if
// the kernel does not know one of them.
func (n *namespace) changeOptions(r *nl.NetlinkRequest, index int, o Options) error {
	kind, place := unix.IFLA_INFO_KIND, unix.IFLA_INFO_DATA
	if slices.ContainsFunc(table, func(row option) bool { return row.perLink && o[row.key] != "" }) {
		kind, place = unix.IFLA_INFO_SLAVE_KIND, unix.IFLA_INFO_SLAVE_DATA
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(kind, nl.NonZeroTerminated(kindBond))
	data := info.AddRtAttr(place, nil)
	for _, row := range table {
		text, there := o[row.key]
		if !there {
			continue
		}
		payload, err := n.payload(row, text)
		if err != nil {
			return err
		}
		data.AddRtAttr(int(row.attr), payload)
	}
	r.AddData(info)
	if err := do(r); err != nil {
		return err
	}
	now, err := n.byIndex(index)
	if err != nil {
		return err
	}
	if err := o.unknown(now.Options); err != nil {
		return fmt.Errorf("%w: %w", unix.EOPNOTSUPP, err)
	}
	return nil
}

func uint32Attr(v int) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(v))
}

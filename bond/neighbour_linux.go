package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// hasAddress are the states of a neighbour of which the kernel knows the link-layer
// address (NUD_* in include/uapi/linux/neighbour.h).
const hasAddress = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

func (n *namespace) Solicit(index int, ip netip.Addr) (bool, error) {
	state, err := n.neighbour(index, ip)
	if err != nil {
		return false, fmt.Errorf("asking for %s: %w", ip, err)
	}
	if state&hasAddress != 0 {
		return true, nil
	}
	r := n.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	r.AddData(neighbourMessage{index, ip, unix.NTF_USE})
	r.AddData(nl.NewRtAttr(unix.NDA_DST, ip.AsSlice()))
	if err := do(r); err != nil {
		return false, fmt.Errorf("asking for %s: %w", ip, err)
	}
	return false, nil
}

// neighbour returns the state of a neighbour, 0 if the kernel has none.
func (n *namespace) neighbour(index int, ip netip.Addr) (state uint16, err error) {
	r := n.request(unix.RTM_GETNEIGH, 0)
	r.AddData(neighbourMessage{index, ip, 0})
	r.AddData(nl.NewRtAttr(unix.NDA_DST, ip.AsSlice()))
	messages, err := execute(r, unix.RTM_NEWNEIGH)
	switch {
	case errors.Is(err, unix.ENODEV):
		return 0, fmt.Errorf("link %d: %w", index, fs.ErrNotExist)
	case errors.Is(err, unix.ENOENT) || err == nil && len(messages) == 0:
		return 0, nil
	}
	if err != nil || len(messages[0]) < sizeofNdMsg {
		return 0, err
	}
	return binary.NativeEndian.Uint16(messages[0][8:]), nil
}

// neighbourMessage is struct ndmsg of include/uapi/linux/neighbour.h.
type neighbourMessage struct {
	index int
	ip    netip.Addr
	flags byte // NTF_*
}

const sizeofNdMsg = 12

func (m neighbourMessage) Len() int { return sizeofNdMsg }

func (m neighbourMessage) Serialize() []byte {
	b := make([]byte, sizeofNdMsg)
	b[0] = byte(familyOf(m.ip))
	binary.NativeEndian.PutUint32(b[4:], uint32(m.index))
	b[10] = m.flags
	return b
}

package bond

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// message makes a netlink message of attributes.
func message(kind uint16, head []byte, attrs ...[]byte) []byte {
	body := head
	for _, a := range attrs {
		body = append(body, a...)
	}
	out := uint32Attr(unix.SizeofNlMsghdr + len(body))
	out = append(out, byte(kind), byte(kind>>8), 0, 0)
	return append(append(out, make([]byte, 8)...), body...)
}

func attribute(kind uint16, value ...byte) []byte {
	size := unix.SizeofRtAttr + len(value)
	out := append([]byte{byte(size), byte(size >> 8), byte(kind), byte(kind >> 8)}, value...)
	return append(out, make([]byte, -len(out)&3)...)
}

// TestParseEvents: each message of what was received is read, and what is no link is left
// out. What the kernel says of real bonds is in TestLabWatch.
func TestParseEvents(t *testing.T) {
	link := func(index byte) []byte { return append(make([]byte, 4), index, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0) }
	forgotten := message(unix.RTM_DELNSID, make([]byte, 4), attribute(netnsaNSID, 7, 0, 0, 0))
	received := message(unix.RTM_NEWLINK, link(5), attribute(unix.IFLA_IFNAME, 'v', '1', 0))
	received = append(received, message(unix.RTM_NEWNSID, make([]byte, 4), attribute(netnsaNSID, 9, 0, 0, 0))...)
	received = append(received, message(unix.RTM_DELLINK, link(6), attribute(unix.IFLA_IFNAME, 'v', '2', 0))...)
	received = append(received, forgotten...)
	events, err := parseEvents(fstest.MapFS{}, 3, received)
	require.NoError(t, err)
	require.Len(t, events, 2, "the number is one that the namespace itself had given")
	assert.Equal(t, "v1", events[0].Link.Name)
	assert.True(t, events[0].Link.Carrier)
	assert.Nil(t, events[0].Member)
	assert.Equal(t, Event{NSID: 3, Kind: Vanished, Link: Link{Index: 6}}, events[1])
	events, err = parseEvents(fstest.MapFS{}, OwnNamespace, received)
	require.NoError(t, err)
	require.Len(t, events, 3)
	assert.Equal(t, Event{NSID: 7, Kind: Forgotten}, events[2])

	for _, cut := range []int{1, 17, len(received) - 1} {
		events, err := parseEvents(fstest.MapFS{}, OwnNamespace, received[:cut])
		assert.True(t, err != nil || len(events) < 3, cut)
	}
}

// FuzzParseEvents: no message makes the reader of events fail in another way than by an
// error.
func FuzzParseEvents(f *testing.F) {
	f.Add(message(unix.RTM_NEWLINK, make([]byte, 16), attribute(unix.IFLA_EVENT, 3, 0, 0, 0)))
	f.Add(message(unix.RTM_NEWLINK, make([]byte, 16), attribute(unix.IFLA_LINKINFO,
		append(attribute(unix.IFLA_INFO_SLAVE_KIND, 'b', 'o', 'n', 'd', 0), attribute(unix.IFLA_INFO_SLAVE_DATA, attribute(1, 2)...)...)...)))
	f.Add(message(unix.RTM_DELNSID, make([]byte, 4), attribute(netnsaNSID, 1, 0, 0, 0)))
	f.Fuzz(func(t *testing.T, received []byte) {
		events, err := parseEvents(fstest.MapFS{}, 0, received)
		if err == nil {
			assert.LessOrEqual(t, len(events), len(received)/unix.SizeofNlMsghdr)
		}
	})
}

package bond

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMonitor: by what a bond notices a fault, and how long that may take.
func TestMonitor(t *testing.T) {
	for _, test := range []struct {
		o      Options
		by     string
		within time.Duration
	}{
		{Options{Miimon: "100", downdelay: "0"}, "miimon 100", 100 * time.Millisecond},
		{Options{Miimon: "50", downdelay: "200"}, "miimon 50, downdelay 200", 250 * time.Millisecond},
		{Options{Miimon: "0", arpInterval: "80", "arpMissedMax": "2"}, "arpInterval 80, arpMissedMax 2", 240 * time.Millisecond},
		{Options{arpInterval: "100"}, "arpInterval 100, arpMissedMax 2", 300 * time.Millisecond},
		{Options{}, "miimon 0", 0},
	} {
		by, within := test.o.Monitor()
		assert.Equal(t, test.by, by)
		assert.Equal(t, test.within, within, by)
	}
	assert.Equal(t, 3*time.Second, Options{updelay: "3000"}.Settles())
}

// TestProbeParses: what a probe takes for an answer of its target.
func TestProbeParses(t *testing.T) {
	reply := []byte{0, 0, 0, 0, 0x12, 0x34, 0, 7}
	header := append([]byte{0x46}, make([]byte, 23)...) // 24 bytes: it has an option
	with := func(packet []byte, at int, value byte) []byte {
		out := append([]byte{}, packet...)
		out[at] = value
		return out
	}
	for _, test := range []struct {
		what   string
		is6    bool
		packet []byte
		want   bool
	}{
		{"IPv4", false, append(header, reply...), true},
		{"IPv6", true, with(reply, 0, echoReply6), true},
		{"a request", false, append(header, with(reply, 0, echoRequest)...), false},
		{"another program's", false, append(header, with(reply, 5, 0)...), false},
		{"cut", false, append(header, reply[:7]...), false},
		{"a header that is too long", false, with(append(header, reply...), 0, 0x4f), false},
		{"nothing", false, nil, false},
		{"nothing, IPv6", true, nil, false},
	} {
		p := &probe{is6: test.is6, ident: 0x1234}
		number, is := p.parse(test.packet)
		assert.Equal(t, test.want, is, test.what)
		if is {
			assert.Equal(t, uint16(7), number, test.what)
		}
	}
}

// TestProbeThatIsLate: a program that comes late still reads what has been answered.
func TestProbeThatIsLate(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	for _, end := range ends {
		defer unix.Close(end)
	}
	p := &probe{is6: true, ident: 0x1234, echo: ends[0]}
	var got []uint16
	for range 2 {
		for number := range byte(3) {
			_, err := unix.Write(ends[1], []byte{echoReply6, 0, 0, 0, 0x12, 0x34, 0, number})
			require.NoError(t, err)
		}
		require.NoError(t, p.Answers(time.Now().Add(-time.Second), func(number uint16) { got = append(got, number) }))
	}
	assert.Equal(t, []uint16{0, 1, 2, 0, 1, 2}, got)
}

package bond

import (
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink/nl"
)

func (addresses) encode(text string) []byte {
	var payload []byte
	for i, s := range strings.Split(text, ",") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil
		}
		payload = append(payload, nl.NewRtAttr(i, a.AsSlice()).Serialize()...)
	}
	return payload
}

func (l addresses) decode(payload []byte) string {
	attrs, err := attributes(payload)
	if err != nil {
		return ""
	}
	var out []string
	for _, attr := range attrs {
		if a, ok := netip.AddrFromSlice(attr.Value); ok && l.is(a) && !a.IsUnspecified() {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ",")
}

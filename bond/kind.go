package bond

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// kind is a type of option value. Values are kept as text in one canonical form,
// so that they can be compared, stored and printed, whether a user wrote them or
// the kernel reports them.
type kind interface {
	// parse returns the canonical text of what a user wrote: a JSON number, a
	// string or, for a list, a JSON list or one string with commas.
	parse(raw json.RawMessage) (string, error)
	// encode returns the netlink attribute's payload for canonical text.
	encode(text string) []byte
	// decode returns the canonical text of the attribute's payload.
	decode(payload []byte) string
	// values describes the values that users can write.
	values() string
}

// word reads a scalar: a string, a number or a boolean, which is 1 or 0.
func word(raw json.RawMessage) (string, error) {
	text := string(bytes.TrimSpace(raw))
	switch {
	case !json.Valid(raw):
		return "", fmt.Errorf("is %s, want a JSON value", abridged(raw))
	case text[0] == '"':
		err := json.Unmarshal(raw, &text)
		return strings.TrimSpace(text), err
	case text == "true":
		return "1", nil
	case text == "false":
		return "0", nil
	case text != "null" && text[0] != '{' && text[0] != '[':
		return text, nil
	}
	return "", fmt.Errorf("is %s, want a single value", abridged(raw))
}

// abridged returns the beginning of raw, so that an error stays readable if a
// user wrote a page.
func abridged(raw json.RawMessage) string {
	const most = 60
	if len(raw) > most {
		return strings.ToValidUTF8(string(raw[:most]), "") + "..."
	}
	return string(raw)
}

type numeric struct {
	bits     int
	min, max uint32
	unit     string
}

func number(bits int, min, max uint32, unit string) kind {
	return numeric{bits: bits, min: min, max: max, unit: unit}
}

func (n numeric) parse(raw json.RawMessage) (string, error) {
	w, err := word(raw)
	if err != nil {
		return "", err
	}
	v, err := strconv.ParseUint(w, 10, 64)
	if err != nil || v < uint64(n.min) || v > uint64(n.max) {
		return "", fmt.Errorf("is %s, want %s", abridged(raw), n.values())
	}
	return strconv.FormatUint(v, 10), nil
}

func (n numeric) encode(text string) []byte {
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil
	}
	return encodeUint(n.bits, uint32(v))
}

func (n numeric) decode(payload []byte) string {
	return strconv.FormatUint(uint64(decodeUint(payload)), 10)
}

func (n numeric) values() string {
	s := fmt.Sprintf("%d to %d", n.min, n.max)
	if n.max == maxDelay {
		s = fmt.Sprintf("at least %d", n.min)
	}
	if n.max == n.min+1 {
		s = fmt.Sprintf("%d or %d", n.min, n.max)
	}
	return strings.TrimSpace(s + " " + n.unit)
}

// boolean is a number that is 0 or 1, which users write as false or true.
type boolean struct{ numeric }

func (b boolean) parse(raw json.RawMessage) (string, error) {
	text, err := b.numeric.parse(raw)
	if err != nil {
		return "", fmt.Errorf("is %s, want %s", abridged(raw), b.values())
	}
	return text, nil
}

func (boolean) values() string { return "true or false" }

// signed is a number of 32 bits that can be negative.
type signed struct{}

func (s signed) parse(raw json.RawMessage) (string, error) {
	w, err := word(raw)
	if err != nil {
		return "", err
	}
	v, err := strconv.ParseInt(w, 10, 32)
	if err != nil || w[0] == '+' {
		return "", fmt.Errorf("is %s, want %s", abridged(raw), s.values())
	}
	return strconv.FormatInt(v, 10), nil
}

func (signed) encode(text string) []byte {
	v, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil
	}
	return encodeUint(32, uint32(v))
}

func (signed) decode(payload []byte) string {
	return strconv.FormatInt(int64(int32(decodeUint(payload))), 10)
}

func (signed) values() string { return "-2147483648 to 2147483647" }

// enumeration is a list of names; the kernel's number is the index.
type enumeration struct {
	bits int
	list []string
}

func names(bits int, list ...string) kind { return enumeration{bits: bits, list: list} }

func (e enumeration) parse(raw json.RawMessage) (string, error) {
	w, err := word(raw)
	if err != nil {
		return "", err
	}
	if slices.Contains(e.list, w) {
		return w, nil
	}
	if i, err := strconv.ParseUint(w, 10, 8); err == nil && int(i) < len(e.list) {
		return e.list[i], nil
	}
	hint := ""
	if near := Nearest(w, e.list); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return "", fmt.Errorf("is %s, want %s%s", abridged(raw), e.values(), hint)
}

func (e enumeration) encode(text string) []byte {
	return encodeUint(e.bits, uint32(slices.Index(e.list, text)))
}

func (e enumeration) decode(payload []byte) string {
	v := decodeUint(payload)
	if int64(v) < int64(len(e.list)) {
		return e.list[v]
	}
	return strconv.FormatUint(uint64(v), 10)
}

func (e enumeration) values() string {
	return "one of " + strings.Join(e.list, ", ")
}

type hardwareAddr struct{}

func (hardwareAddr) parse(raw json.RawMessage) (string, error) {
	w, err := word(raw)
	if err != nil {
		return "", err
	}
	mac, err := net.ParseMAC(w)
	switch {
	case err != nil || len(mac) != 6:
		return "", fmt.Errorf("is %s, want a MAC address such as 02:00:00:00:00:01", abridged(raw))
	case mac[0]&1 != 0:
		return "", fmt.Errorf("is %s, which is a multicast address, want a unicast address", mac)
	case slices.Equal(mac, make(net.HardwareAddr, 6)):
		return "", fmt.Errorf("is %s, which no interface can have", mac)
	}
	return mac.String(), nil
}

func (hardwareAddr) encode(text string) []byte {
	mac, _ := net.ParseMAC(text)
	return mac
}

func (hardwareAddr) decode(payload []byte) string { return net.HardwareAddr(payload).String() }

func (hardwareAddr) values() string { return "a MAC address" }

// linkName is the name of an interface in the bond's namespace. The kernel takes
// and reports its index, so encode and decode do too: only the namespace can
// translate.
type linkName struct{}

func (linkName) parse(raw json.RawMessage) (string, error) {
	w, err := word(raw)
	if err != nil {
		return "", err
	}
	if err := CheckName(w); err != nil {
		return "", err
	}
	return w, nil
}

func (linkName) encode(text string) []byte {
	i, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil
	}
	return encodeUint(32, uint32(i))
}

func (linkName) decode(payload []byte) string {
	return strconv.FormatUint(uint64(decodeUint(payload)), 10)
}

func (linkName) values() string { return "the name of a link in the pod" }

// addresses is a list of the addresses of one IP version.
type addresses struct{ family, most int }

// is reports whether a is of the list's IP version. A link-local IPv6 address is;
// an IPv4-mapped IPv6 address is of neither version.
func (l addresses) is(a netip.Addr) bool {
	if l.family == 4 {
		return a.Is4()
	}
	return a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// silent reports whether no host can answer for a.
func (l addresses) silent(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (l addresses) parse(raw json.RawMessage) (string, error) {
	var only string
	if json.Unmarshal(raw, &only) == nil && only == gateway {
		return gateway, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil || list == nil {
		w, err := word(raw)
		if err != nil {
			return "", fmt.Errorf("is %s, want %s", abridged(raw), l.values())
		}
		list = strings.Split(w, ",")
	}
	if len(list) == 0 || len(list) > l.most {
		return "", fmt.Errorf("has %d addresses, want %s", len(list), l.values())
	}
	var out []string
	for _, s := range list {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		switch {
		case err != nil || !l.is(a):
			return "", fmt.Errorf("has %q, want %s", s, l.values())
		case l.silent(a):
			return "", fmt.Errorf("has %s, which never answers %s", a, map[int]string{4: "ARP requests", 6: "neighbour solicitations"}[l.family])
		case slices.Contains(out, a.String()):
			return "", fmt.Errorf("has %s twice", a)
		}
		out = append(out, a.String())
	}
	return strings.Join(out, ","), nil
}

func (l addresses) values() string {
	return fmt.Sprintf("1 to %d IPv%d addresses, or %s", l.most, l.family, gateway)
}

func encodeUint(bits int, v uint32) []byte {
	switch bits {
	case 8:
		return []byte{byte(v)}
	case 16:
		return binary.NativeEndian.AppendUint16(nil, uint16(v))
	default:
		return binary.NativeEndian.AppendUint32(nil, v)
	}
}

func decodeUint(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}

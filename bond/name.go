package bond

import (
	"fmt"
	"strings"
)

// MaxName is IFNAMSIZ without the terminating zero, in bytes.
const MaxName = 15

// CheckName returns an error if name is not valid for an interface. The rules are
// those of dev_valid_name in net/core/dev.c, which takes each byte for a character
// of Latin-1. A per cent sign is refused too: the kernel replaces it by a number
// of its choice.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is empty, want an interface name")
	case len(name) > MaxName:
		return fmt.Errorf("is %q, which has %d bytes, but an interface name has at most %d", name, len(name), MaxName)
	case name == "." || name == "..":
		return fmt.Errorf("is %q, which cannot be an interface name", name)
	}
	for _, c := range []byte(name) {
		if strings.IndexByte("/:%\x00\t\n\v\f\r \xa0", c) >= 0 {
			return fmt.Errorf("is %q, but an interface name has no slash, colon, percent sign or blank (byte %#02x)", name, c)
		}
	}
	return nil
}

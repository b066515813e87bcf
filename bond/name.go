package bond

import (
	"fmt"
	"strings"
)

// maxName is IFNAMSIZ without the closing zero.
const maxName = 15

// CheckName says what is wrong with an interface name, or nil. The rules are
// the kernel's (dev_valid_name in net/core/dev.c), whose blanks are bytes of
// Latin-1, and which reads a per cent sign as "choose a number for me".
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is empty, wanted is an interface name")
	case len(name) > maxName:
		return fmt.Errorf("is %q, %d bytes; an interface name has at most %d", name, len(name), maxName)
	case name == "." || name == "..":
		return fmt.Errorf("is %q, which cannot be an interface name", name)
	}
	for _, c := range []byte(name) {
		if strings.IndexByte("/:%\x00\t\n\v\f\r \xa0", c) >= 0 {
			return fmt.Errorf("is %q; an interface name has no slash, colon, per cent sign or blank (byte %#02x)", name, c)
		}
	}
	return nil
}

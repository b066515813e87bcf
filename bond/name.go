package bond

import (
	"fmt"
	"strings"
	"unicode"
)

// maxName is IFNAMSIZ without the closing zero.
const maxName = 15

// CheckName says what is wrong with an interface name, or nil. The rules are
// the kernel's (dev_valid_name in net/core/dev.c).
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is empty, wanted is an interface name")
	case len(name) > maxName:
		return fmt.Errorf("is %q, %d bytes; an interface name has at most %d", name, len(name), maxName)
	case name == "." || name == "..":
		return fmt.Errorf("is %q, which cannot be an interface name", name)
	case strings.ContainsAny(name, "/:\x00") || strings.ContainsFunc(name, unicode.IsSpace):
		return fmt.Errorf("is %q; an interface name has no slash, colon or blank", name)
	}
	return nil
}

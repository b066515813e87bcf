package bond

import "fmt"

// The types of links that this package knows (ARPHRD_* in
// include/uapi/linux/if_arp.h).
const (
	Ethernet   = 1
	InfiniBand = 32
)

// TypeName returns the name of a link's type.
func TypeName(t uint16) string {
	switch t {
	case Ethernet:
		return "Ethernet"
	case InfiniBand:
		return "InfiniBand"
	}
	return fmt.Sprintf("of type %d", t)
}

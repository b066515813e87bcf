package bond

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"net1", "bond0", "a", "...", "eth0.100", "x-y_z@!", "é", strings.Repeat("n", 15), "\x7f", "\x01"} {
		require.NoError(t, CheckName(name), name)
	}
	for name, want := range map[string]string{
		"":                      "is empty, want an interface name",
		strings.Repeat("n", 16): `is "nnnnnnnnnnnnnnnn", which has 16 bytes, but an interface name has at most 15`,
		"éééééééé":              `is "éééééééé", which has 16 bytes, but an interface name has at most 15`,
		".":                     `is ".", which cannot be an interface name`,
		"..":                    `is "..", which cannot be an interface name`,
		"a/b":                   `is "a/b", but an interface name has no slash, colon, percent sign or blank (byte 0x2f)`,
		"eth0:1":                `is "eth0:1", but an interface name has no slash, colon, percent sign or blank (byte 0x3a)`,
		"bond%d":                `is "bond%d", but an interface name has no slash, colon, percent sign or blank (byte 0x25)`,
		"a b":                   `is "a b", but an interface name has no slash, colon, percent sign or blank (byte 0x20)`,
		"a\n":                   `is "a\n", but an interface name has no slash, colon, percent sign or blank (byte 0x0a)`,
		"a\x00":                 `is "a\x00", but an interface name has no slash, colon, percent sign or blank (byte 0x00)`,
		"à":                     `is "à", but an interface name has no slash, colon, percent sign or blank (byte 0xa0)`, // C3 A0, which the kernel refuses
	} {
		assert.EqualError(t, CheckName(name), want)
	}
}

// FuzzCheckName compares CheckName with dev_valid_name of net/core/dev.c, which
// reads a name byte by byte. A name with a per cent sign is a pattern and is
// refused too.
func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"net1", "", ".", "..", "a/b", "eth0:1", "bond%d", "à", "a\x85b", "\u2003", strings.Repeat("n", 16), "a\x00b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		valid := name != "" && len(name) < 16 && name != "." && name != ".."
		for i := range len(name) {
			switch c := name[i]; {
			case c == '/', c == ':', c == '%', c == 0, c == ' ', c >= 9 && c <= 13, c == 0xa0:
				valid = false
			}
		}
		assert.Equal(t, valid, CheckName(name) == nil, name)
	})
}

func TestCheckPCI(t *testing.T) {
	for _, address := range []string{"0000:3b:02.1", "ffff:ff:1f.7"} {
		require.NoError(t, CheckPCI(address), address)
	}
	for _, address := range []string{"", "3b:02.1", "0000:3B:02.1", "0000:3b:02.8", "0000:3b:02", "0000:3b:02.1 ", "0000:3b:02.1\n", "../0000:3b:02.1", "00000:3b:02.1"} {
		assert.Error(t, CheckPCI(address), address)
	}
	assert.EqualError(t, CheckPCI("0000:3B:02.1"), `is "0000:3B:02.1", want a PCI address in lower case such as 0000:3b:02.1`)
}

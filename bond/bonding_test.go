package bond

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHasModule: a kernel has a module if depmod's index names it and its file
// exists.
func TestHasModule(t *testing.T) {
	const index = "kernel/net/bonding_like.ko.xz:\nkernel/drivers/net/bonding/bonding.ko.xz: kernel/net/tls/tls.ko.xz\n"
	file, dep := &fstest.MapFile{}, &fstest.MapFile{Data: []byte(index)}
	for _, test := range []struct {
		name    string
		modules fstest.MapFS
		text    string
	}{
		{"there", fstest.MapFS{"modules.dep": dep, "kernel/drivers/net/bonding/bonding.ko.xz": file}, ""},
		{"not compressed", fstest.MapFS{"modules.dep": {Data: []byte("extra/bonding.ko:")}, "extra/bonding.ko": file}, ""},
		{"not installed", fstest.MapFS{"modules.dep": {Data: []byte("kernel/net/bonding_like.ko.xz: extra/bonding.ko\n")}},
			"this kernel has no bonding: modules.dep does not list the bonding module"},
		{"its file is gone", fstest.MapFS{"modules.dep": dep},
			"this kernel has no bonding: modules.dep lists the bonding module, but its file cannot be read: open kernel/drivers/net/bonding/bonding.ko.xz: file does not exist"},
		{"no modules", fstest.MapFS{},
			"this kernel has no bonding: the bonding module is not loaded, and the kernel's modules cannot be listed: open modules.dep: file does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := hasModule(test.modules, "bonding")
			if test.text == "" {
				require.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.text)
			assert.ErrorIs(t, err, ErrNoBonding)
		})
	}
}

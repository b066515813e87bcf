package kubeclient

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// checkpointInputs are the inputs that FuzzCheckpoint starts from.
var checkpointInputs = []struct{ name, text string }{
	{"devices by NUMA node", `{"Data":{"PodDeviceEntries":[{"PodUID":"u1","ContainerName":"b","ResourceName":"r","DeviceIDs":{"0":["x2"],"-1":["x1"]}}]},"Checksum":1}`},
	{"a device twice, a container without devices", `{"Data":{"PodDeviceEntries":[{"PodUID":"u1","ContainerName":"b","ResourceName":"r","DeviceIDs":["x1","x1"]},{"PodUID":"u1","ContainerName":"a"}]}}`},
	{"entries that are null", `{"Data":{"PodDeviceEntries":null}}`},
	{"devices that are null", `{"Data":{"PodDeviceEntries":[{"PodUID":"u1","DeviceIDs":{"":null}}]}}`},
	{"nothing", ""},
	{"zero", "0"},
	{"a number", "1000"},
	{"a number with a leading zero", "00"},
	{"a number with half an exponent", "0EA"},
	{"a number on the second line", "\n0"},
	{"a number between blanks", "\r\r0 "},
	{"a number and a control character", "0\x0f"},
	{"a backslash", `\`},
	{"a backspace", "\b"},
	{"a form feed", "\f"},
	{"a byte that is not UTF-8", "\x80"},
	{"the beginning of false", "f"},
	{"half a string", `"0`},
	{"half a list", "["},
	{"a list cut off after zeros", "[000"},
	{"a list with a byte that is not UTF-8", "[\"\",\xbb"},
	{"an object cut off after a blank", "{ "},
	{"a key without a value", `{"":`},
	{"a value with leading zeros", `{"":000`},
}

func FuzzCheckpoint(f *testing.F) {
	for _, input := range checkpointInputs {
		f.Add([]byte(input.text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := FromCheckpoint(raw, "u1", []string{"b", "a"})
		if err != nil {
			return
		}
		again, err := FromCheckpoint(raw, "u1", []string{"b", "a"})
		require.NoError(t, err)
		require.Len(t, again, len(got))
		for i, c := range got {
			require.Equal(t, c.Name, again[i].Name)
			for resource := range c.Resources {
				w := Want{Resource: resource}
				require.Equal(t, c.devices(w), again[i].devices(w))
			}
		}
	})
}

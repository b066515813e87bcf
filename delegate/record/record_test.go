package record

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/strictjson"
)

// FuzzRecord: a Record's file, whatever it has, is read as the Record of its name
// or not at all; what verbs then ask of it does not panic, and it can be written
// and read again.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"bootID":"boot1","plan":{"containerID":"c1","ifName":"bond0","netns":"/run/netns/p1","links":[{"name":"a","source":"device","device":"0000:3b:02.0"}]},"started":["a"]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := decode(raw, c1)
		if err != nil {
			return
		}
		if rec.Plan.Key() != c1 || rec.Version != Version {
			t.Fatalf("%+v", rec)
		}
		rec.Phase()
		rec.Members()
		for range rec.Plugins() {
		}
		rec.assumeBegun()
		_, err = decode(strictjson.Encode(rec), c1)
		require.NoError(t, err)
	})
}

package record

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIsKept: keep runs until the last one that holds the lock has ended, and asking for it
// keeps nobody from anything.
func TestIsKept(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	is := func(want bool) {
		t.Helper()
		for range 2 {
			got, err := s.IsKept()
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
	}
	is(false)
	first, err := s.HoldKeep()
	require.NoError(t, err)
	is(true)
	second, err := s.HoldKeep()
	require.NoError(t, err, "the keep of an update")
	require.NoError(t, first.Close())
	is(true)
	require.NoError(t, second.Close())
	is(false)
	keys, err := s.List()
	require.NoError(t, err)
	assert.Empty(t, keys, "its file is no Record")
}

package kubeclient

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

// assertPrefix fails the test unless got begins with want.
func assertPrefix(t *testing.T, want, got string, messages ...any) {
	t.Helper()
	if !strings.HasPrefix(got, want) {
		assert.Fail(t, fmt.Sprintf("%q does not begin with %q", got, want), messages...)
	}
}

// refused fails the test unless err has the code and contains all words.
func refused(t *testing.T, err error, code uint, words ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, cnierror.Code(err), err)
	for _, w := range words {
		assert.ErrorContains(t, err, w)
	}
}

// eventually waits until the condition holds. The limit does not measure speed.
func eventually(t testing.TB, condition func(*assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, condition, 2*time.Minute, 5*time.Millisecond)
}

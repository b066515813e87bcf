package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/netconf"
)

// TestPoliciesKnowAllKeys: a new key must not be refused as an unknown one.
func TestPoliciesKnowAllKeys(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/validate/policy.yaml"))
	require.NoError(t, err)
	for _, keys := range [][]string{netconf.Keys(), netconf.LinkKeys()} {
		assert.Contains(t, string(text), "['"+strings.Join(keys, "', '")+"']", "the policy is made with all keys: cd tests/admission && go test -update")
	}
}

package kubeclient

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTokenWithoutNode checks that an agent whose token names no node tells so when it starts,
// in its log and on its page. The admission policies refuse all that such an agent publishes.
func TestTokenWithoutNode(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	const pod = `{"kubernetes.io": {"namespace": "multibond-system", "pod": {"name": "multibond-agent-x", "uid": "u"}`
	for _, test := range []struct {
		name, token string
		want        bool
	}{
		{"of Kubernetes 1.36", token(pod + `, "node": {"name": "n1", "uid": "v"}}}`), false},
		{"of Kubernetes 1.29", token(pod + `}}`), true},
		{"of no pod", token(`{"sub": "system:serviceaccount:multibond-system:multibond-agent"}`), false},
		{"in another form", "0123456789abcdef", false},
		{"with claims that cannot be read", "e30.e30!.c2ln", false},
		{"none", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			var log bytes.Buffer
			r.options.Log = slog.New(slog.NewTextHandler(&log, nil))
			config := r.api.Config()
			config.BearerToken = test.token
			agent, err := newAgent(r.options, config)
			require.NoError(t, err)
			page := httptest.NewRecorder()
			agent.writeReady(page, nil)
			for _, told := range []string{log.String(), page.Body.String()} {
				assert.Equal(t, test.want, strings.Contains(told, "names no node"), told)
			}
		})
	}
}

package rotation

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	policy = Policy{CALife: 300 * time.Hour, LeafLife: 30 * time.Hour, Overlap: time.Hour}
	names  = []string{"webhook.ns.svc"}
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// next is Next, whose certificate clients with this bundle must accept.
func next(t *testing.T, k Kept, published bool, after time.Duration) Kept {
	t.Helper()
	out, err := policy.Next(k, names, published, start.Add(after))
	require.NoError(t, err)
	accepted(t, out, out.Bundle, after)
	return out
}

func accepted(t *testing.T, k Kept, bundle []byte, after time.Duration) {
	t.Helper()
	pair, err := tls.X509KeyPair(k.Cert, k.Key)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(bundle))
	for _, late := range []time.Duration{0, skew / 2} { // a client's clock
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: names[0], CurrentTime: start.Add(after - late)})
		require.NoError(t, err)
	}
}

// TestRotation goes through the life of two CAs.
func TestRotation(t *testing.T) {
	first := next(t, Kept{}, false, 0)
	assert.Len(t, certificatesIn(first.Bundle), 1)
	assert.Equal(t, first, next(t, first, true, 20*time.Hour-time.Second), "nothing is due")
	renewed := next(t, first, true, 20*time.Hour+time.Second)
	assert.NotEqual(t, first.Cert, renewed.Cert)
	assert.Equal(t, first.Bundle, renewed.Bundle)

	const due = 200*time.Hour + time.Second
	renewed = next(t, renewed, true, due-10*time.Hour)
	second := next(t, renewed, true, due)
	assert.Len(t, certificatesIn(second.Bundle), 2)
	assert.Equal(t, renewed.Cert, second.Cert, "nobody knows the new CA yet")
	assert.NotEqual(t, renewed.CAKey, second.CAKey)
	assert.Equal(t, second, next(t, second, true, due+policy.Overlap/2), "a client may have the bundle of before")
	assert.Equal(t, second, next(t, second, false, due+2*policy.Overlap), "no client has been told")
	switched := next(t, second, true, due+policy.Overlap)
	assert.NotEqual(t, second.Cert, switched.Cert)
	accepted(t, switched, second.Bundle, due+policy.Overlap)
	assert.Error(t, certificatesIn(switched.Cert)[0].CheckSignatureFrom(certificatesIn(first.Bundle)[0]))

	renewed = next(t, switched, true, 299*time.Hour)
	assert.Len(t, certificatesIn(renewed.Bundle), 2)
	assert.Len(t, certificatesIn(next(t, renewed, true, 301*time.Hour).Bundle), 1, "the first CA has expired")
}

// TestRotationOfWhatIsWrong: whatever is kept, clients that have the bundle accept what follows.
func TestRotationOfWhatIsWrong(t *testing.T) {
	right, other := next(t, Kept{}, false, 0), next(t, Kept{}, false, 0)
	for name, kept := range map[string]Kept{
		"garbage":          {[]byte("x"), []byte("x"), []byte("x"), []byte("x")},
		"no bundle":        {nil, right.CAKey, right.Cert, right.Key},
		"no certificate":   {right.Bundle, right.CAKey, nil, nil},
		"another key":      {right.Bundle, right.CAKey, right.Cert, other.Key},
		"another CA's key": {right.Bundle, other.CAKey, right.Cert, right.Key},
		"another bundle":   {other.Bundle, other.CAKey, right.Cert, right.Key},
	} {
		out, err := policy.Next(kept, names, true, start)
		require.NoError(t, err, name)
		accepted(t, out, out.Bundle, 0)
	}
	lost := next(t, Kept{right.Bundle, nil, right.Cert, right.Key}, true, time.Minute)
	assert.Equal(t, right.Cert, lost.Cert, "it goes on until clients know the new CA")
	long := next(t, right, true, 10000*time.Hour)
	assert.Len(t, certificatesIn(long.Bundle), 1, "all had expired")
	renamed, err := policy.Next(right, []string{"other.ns.svc"}, true, start)
	require.NoError(t, err)
	assert.NotEqual(t, right.Cert, renamed.Cert)
	assert.Equal(t, right.Bundle, renamed.Bundle)
}

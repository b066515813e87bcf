// Package rotation decides which certificates a server has whose clients know nothing but a
// bundle of CAs that it publishes, and when they are renewed. Several servers share them.
//
// The pure line: [Policy.Next] depends on its arguments alone, and on random numbers. Where
// certificates are kept and published is the caller's.
//
// A client may have an older bundle than the one that is published now. So a new CA is
// published first, and signs the server's certificate only after Overlap. The CA before stays
// in the bundle until it expires.
package rotation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"time"
)

// Policy says how long certificates live. Each is renewed after two thirds of its life.
type Policy struct {
	CALife, LeafLife time.Duration
	Overlap          time.Duration // how old the bundle may be that a client has
}

// Kept is what the servers share, in PEM. The zero Kept is that of the first start.
type Kept struct {
	Bundle []byte // the CAs that clients have to trust, the newest last
	CAKey  []byte // of the newest CA
	Cert   []byte // of the server
	Key    []byte
}

// skew is how much a client's clock may be late.
const skew = time.Hour

// Next returns what has to be kept from now on. published says that clients are told of the
// newest CA of k. names are those by which clients call the server. Nothing that cannot be
// read is kept.
func (p Policy) Next(k Kept, names []string, published bool, now time.Time) (Kept, error) {
	cas := slices.DeleteFunc(certificatesIn(k.Bundle), func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	ca, known := p.newest(k, cas)
	if !known || isDue(ca.Leaf, now) {
		var err error
		if ca, err = p.newCA(now); err != nil {
			return k, err
		}
		if k.CAKey, err = encodeKey(ca.PrivateKey); err != nil {
			return k, err
		}
		cas, published = append(cas, ca.Leaf), false
	}
	k.Bundle = encodeCertificates(cas)
	leaf, works := leafOf(k, cas, names, now)
	switch {
	case works && !isDue(leaf, now) && leaf.CheckSignatureFrom(ca.Leaf) == nil:
		return k, nil
	case works && !(published && now.Sub(ca.Leaf.NotBefore.Add(skew)) >= p.Overlap):
		return k, nil // not every client trusts the newest CA yet
	}
	var err error
	k.Cert, k.Key, err = p.sign(ca, names, now)
	return k, err
}

// newest returns the newest CA with its key, and whether the key is there.
func (p Policy) newest(k Kept, cas []*x509.Certificate) (tls.Certificate, bool) {
	if len(cas) == 0 {
		return tls.Certificate{}, false
	}
	last := cas[len(cas)-1]
	ca, err := tls.X509KeyPair(encodeCertificates([]*x509.Certificate{last}), k.CAKey)
	ca.Leaf = last
	return ca, err == nil
}

// isDue reports whether a certificate has to be renewed.
func isDue(c *x509.Certificate, now time.Time) bool {
	from := c.NotBefore.Add(skew)
	return now.After(from.Add(c.NotAfter.Sub(from) * 2 / 3))
}

// leafOf returns the server's certificate, and whether clients that know all CAs accept it.
func leafOf(k Kept, cas []*x509.Certificate, names []string, now time.Time) (*x509.Certificate, bool) {
	pair, err := tls.X509KeyPair(k.Cert, k.Key)
	if err != nil {
		return nil, false
	}
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			return nil, false
		}
	}
	return pair.Leaf, true
}

// newCA makes a CA that signs the certificates of servers.
func (p Policy) newCA(now time.Time) (tls.Certificate, error) {
	form := &x509.Certificate{
		Subject: pkix.Name{CommonName: "multibond-webhook-ca"}, NotBefore: now.Add(-skew), NotAfter: now.Add(p.CALife),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	return make509(form, nil)
}

// sign makes a certificate of the server, which does not outlive its CA.
func (p Policy) sign(ca tls.Certificate, names []string, now time.Time) (cert, key []byte, err error) {
	end := now.Add(p.LeafLife)
	if end.After(ca.Leaf.NotAfter) {
		end = ca.Leaf.NotAfter
	}
	form := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.Add(-skew), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err := make509(form, &ca)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(leaf.PrivateKey)
	return encodeCertificates([]*x509.Certificate{leaf.Leaf}), key, err
}

// make509 makes a certificate with a new key, signed by its issuer, or by itself.
func make509(form *x509.Certificate, issuer *tls.Certificate) (out tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	if form.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return out, err
	}
	if issuer == nil {
		issuer = &tls.Certificate{Leaf: form, PrivateKey: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, form, issuer.Leaf, key.Public(), issuer.PrivateKey)
	if err != nil {
		return out, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func certificatesIn(text []byte) (out []*x509.Certificate) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
	return out
}

func encodeCertificates(all []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range all {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return out.Bytes()
}

func encodeKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

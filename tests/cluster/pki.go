package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki is the cluster's certificate authority, and the directory of all keys.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newPKI makes an authority, and the key pair that signs service-account tokens.
func newPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	var err error
	if p.key, err = p.newKey("ca"); err != nil {
		return nil, err
	}
	p.cert = template("multibond-test")
	p.cert.IsCA, p.cert.BasicConstraintsValid = true, true
	p.cert.KeyUsage |= x509.KeyUsageCertSign
	if err := p.sign("ca", p.cert, p.key); err != nil {
		return nil, err
	}
	accounts, err := p.newKey("accounts")
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&accounts.PublicKey)
	if err != nil {
		return nil, err
	}
	return p, p.write("accounts.pub", "PUBLIC KEY", der)
}

func template(name string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// issue makes a key and a certificate, file.key and file.crt, for a user with
// groups, or for a server at addresses.
func (p *pki) issue(file, user string, groups, addresses []string) error {
	c := template(user, groups...)
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, a)
		}
	}
	key, err := p.newKey(file)
	if err != nil {
		return err
	}
	return p.sign(file, c, key)
}

func (p *pki) sign(file string, c *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, c, p.cert, &key.PublicKey, p.key)
	if err != nil {
		return err
	}
	return p.write(file+".crt", "CERTIFICATE", der)
}

func (p *pki) newKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, p.write(file+".key", "EC PRIVATE KEY", der)
}

func (p *pki) write(file, kind string, der []byte) error {
	return os.WriteFile(p.path(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (p *pki) path(file string) string { return filepath.Join(p.dir, file) }

// kubeconfig is a file for a client that was issued a certificate, whose
// keys are in the directory keys.
func kubeconfig(server, keys, file string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, server, filepath.Join(keys, "ca.crt"), filepath.Join(keys, file+".crt"), filepath.Join(keys, file+".key"))
}

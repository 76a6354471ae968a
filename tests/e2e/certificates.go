// Makes the certificates and keys of a cluster.

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates are the files that API servers read, and what their caller shows them.
type certificates struct {
	caFile, certFile, keyFile string
	admin                     *tls.Config
}

// makeCertificates makes one authority, one server certificate and one administrator.
func makeCertificates(t testing.TB, dir string) certificates {
	t.Helper()
	authorityKey, authority := issue(t, "dekhand e2e", nil, nil, nil)
	serverKey, server := issue(t, "kube-apiserver", nil, authority, authorityKey)
	adminKey, admin := issue(t, "admin", []string{"system:masters"}, authority, authorityKey)

	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return certificates{
		caFile:   writePEM(t, dir, "ca.crt", "CERTIFICATE", authority.Raw),
		certFile: writePEM(t, dir, "server.crt", "CERTIFICATE", server.Raw),
		// It signs service-account tokens too: nobody here checks them against anything else.
		keyFile: writePEM(t, dir, "server.key", "EC PRIVATE KEY", marshal(t, serverKey)),
		admin: &tls.Config{
			RootCAs:      pool,
			Certificates: []tls.Certificate{{Certificate: [][]byte{admin.Raw}, PrivateKey: adminKey}},
		},
	}
}

// issue makes a key and its certificate, signed by the parent or, without one, by itself.
func issue(
	t testing.TB, name string, groups []string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey,
) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: groups},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true,
	}
	if parent == nil {
		template.IsCA = true
		template.KeyUsage = x509.KeyUsageCertSign
		parent, parentKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key, certificate
}

func marshal(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func writePEM(t testing.TB, dir, name, kind string, raw []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

package zabbix

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/natrix-os/natrix/agent/config"
)

// identity is this proxy's certificate, and what that of the other side must be.
type identity struct {
	certificate     tls.Certificate
	roots           *x509.CertPool
	issuer, subject string
}

// loadIdentity reads the files of TLS: nil if there are none.
func loadIdentity(c config.Zabbix) (*identity, error) {
	if c.CA == "" && c.Certificate == "" && c.Key == "" {
		return nil, nil
	}
	if c.CA == "" || c.Certificate == "" || c.Key == "" {
		return nil, errors.New("TLS to Zabbix needs all of [ZABBIX] tls_ca, tls_certificate and tls_key")
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read tls_ca: %w", err)
	}
	i := &identity{roots: x509.NewCertPool(), issuer: c.Issuer, subject: c.Subject}
	if !i.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.CA)
	}
	if i.certificate, err = tls.LoadX509KeyPair(c.Certificate, c.Key); err != nil {
		return nil, fmt.Errorf("read tls_certificate and tls_key: %w", err)
	}
	return i, nil
}

// client speaks first. Zabbix looks at the chain, at issuer and subject, and
// not at names of hosts.
func (i *identity) client(conn net.Conn) *tls.Conn {
	return tls.Client(conn, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Certificates:       []tls.Certificate{i.certificate},
		InsecureSkipVerify: true, // verify does it, without the name
		VerifyConnection:   i.verify,
	})
}

// server waits for the other side to speak.
func (i *identity) server(conn net.Conn) *tls.Conn {
	return tls.Server(conn, &tls.Config{
		MinVersion:       tls.VersionTLS12,
		Certificates:     []tls.Certificate{i.certificate},
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: i.verify,
	})
}

func (i *identity) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the peer shows no certificate")
	}
	peer := s.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	// One certificate serves a Zabbix process in both directions.
	if _, err := peer.Verify(x509.VerifyOptions{Roots: i.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("verify the peer's certificate: %w", err)
	}
	if i.issuer != "" && peer.Issuer.String() != i.issuer {
		return fmt.Errorf("the issuer of the peer's certificate is %q, not %q", peer.Issuer, i.issuer)
	}
	if i.subject != "" && peer.Subject.String() != i.subject {
		return fmt.Errorf("the subject of the peer's certificate is %q, not %q", peer.Subject, i.subject)
	}
	return nil
}

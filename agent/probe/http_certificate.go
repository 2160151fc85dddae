package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// maxPEM is the bytes that a file of certificates may have: the authorities of
// a system are about 200 KiB.
const maxPEM = 4 << 20

// tlsConfig is what the parameters say of TLS. TLS 1.2 is the oldest version
// (RFC 8996).
func tlsConfig(ctx context.Context, params HTTPParams) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: params.Insecure}
	if params.CACert != "" {
		text, err := pemOf(ctx, params.CACert)
		if err != nil {
			return nil, fmt.Errorf("%w: cacert: %w", command.ErrAuthorities, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: cacert holds no certificate in PEM form", command.ErrAuthorities)
		}
	}
	if params.Cert != "" {
		own, err := ownCertificate(ctx, params.Cert, params.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", command.ErrOwnCert, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

func ownCertificate(ctx context.Context, cert, key string) (tls.Certificate, error) {
	certText, err := pemOf(ctx, cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cert: %w", err)
	}
	keyText := certText
	if key != "" {
		if keyText, err = pemOf(ctx, key); err != nil {
			return tls.Certificate{}, fmt.Errorf("key: %w", err)
		}
	}
	return tls.X509KeyPair(certText, keyText)
}

// pemOf is a text in PEM form, or the file that holds one: whoever gives a
// command from afar can name no files here, nor find out which there are.
func pemOf(ctx context.Context, s string) ([]byte, error) {
	if strings.Contains(s, "-----BEGIN") {
		return []byte(s), nil
	}
	if command.Remote(ctx) {
		return nil, errors.New("want its text in PEM form: files of the terminal are for its local users")
	}
	info, err := os.Stat(s) // before it is opened: a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", s)
	}
	file, err := os.Open(s)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s is larger than %d bytes", s, maxPEM)
	}
	return text, err
}

// TLSSession is what a handshake agreed on, and whom the server says it is.
type TLSSession struct {
	Version     string // "TLS 1.3"
	Cipher      string // "TLS_AES_128_GCM_SHA256"
	KeyExchange string // "X25519MLKEM768"; "" for RSA
	ALPN        string // "h2"; "" if nothing was agreed on
	ServerName  string // the name that was asked for
	OCSPStapled bool   // with proof that the certificate has not been revoked
	Problem     error  // why the certificate would not be accepted; nil if it is
	Chain       []Certificate
}

// DaysLeft is the whole days until the first certificate of the chain expires:
// below 0 when one has.
func (s *TLSSession) DaysLeft() int {
	left := math.MaxInt
	for _, c := range s.Chain {
		left = min(left, c.DaysLeft)
	}
	return left
}

// Certificate is a certificate as the server sent it.
type Certificate struct {
	Subject, Issuer     string   // distinguished names as RFC 2253 writes them
	Names               []string // DNS names and addresses that it is for
	NotBefore, NotAfter time.Time
	DaysLeft            int // whole days until it expires, below 0 when it has
	Serial              string
	Key                 string // "RSA 2048", "ECDSA P-256", "Ed25519"
	Signature           string // algorithm of the issuer's signature
	SHA256              string // of the certificate, in hexadecimal
}

// session is what there is to tell of a connection; nil if it has no TLS.
func (e *exchange) session(state *tls.ConnectionState, host string, now time.Time) *TLSSession {
	if state == nil {
		return nil
	}
	s := &TLSSession{
		Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite), ALPN: state.NegotiatedProtocol,
		ServerName: host, OCSPStapled: len(state.OCSPResponse) > 0,
	}
	if state.CurveID != 0 {
		s.KeyExchange = state.CurveID.String()
	}
	if len(state.VerifiedChains) == 0 {
		s.Problem = verify(state.PeerCertificates, e.tls.RootCAs, host, now)
	}
	for _, c := range state.PeerCertificates {
		s.Chain = append(s.Chain, certificate(c, now))
	}
	return s
}

// verify is why a chain is not to be believed.
func verify(chain []*x509.Certificate, roots *x509.CertPool, host string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between, CurrentTime: now})
	return err
}

func certificate(c *x509.Certificate, now time.Time) Certificate {
	sum := sha256.Sum256(c.Raw)
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: names, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		DaysLeft: int(math.Floor(c.NotAfter.Sub(now).Hours() / 24)), Serial: hex.EncodeToString(c.SerialNumber.Bytes()),
		Key: keyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(), SHA256: hex.EncodeToString(sum[:]),
	}
}

func keyName(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

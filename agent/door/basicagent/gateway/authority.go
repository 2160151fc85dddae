package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// How long certificates are good for.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 365 * 24 * time.Hour
	terminalLife  = 90 * 24 * time.Hour
	tokenTries    = 5 // guesses of a terminal's token
	backdated     = time.Hour
)

// Authority is the private certificate authority of a fleet, in a directory:
// ca.pem, ca-key.pem, server.pem, server-key.pem, and a file in tokens for each
// terminal that may enroll.
type Authority struct {
	Dir string

	mu    sync.Mutex // tokens are used once
	tries map[string]int
}

// Create makes an authority, and a certificate for its servers by that name.
// What is there already is left alone and is an error.
func Create(dir, name string) (*Authority, error) {
	a := &Authority{Dir: dir}
	if _, err := os.Stat(a.path("ca-key.pem")); err == nil {
		return nil, fmt.Errorf("there is an authority in %s already", dir)
	}
	if err := os.MkdirAll(a.path("tokens"), 0o700); err != nil {
		return nil, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "natrix terminals"}, NotBefore: now.Add(-backdated), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, err := a.issue("ca", ca, nil, nil)
	if err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: now.Add(-backdated), NotAfter: now.Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	_, err = a.issue("server", server, ca, key)
	return a, err
}

func (a *Authority) path(name string) string { return filepath.Join(a.Dir, name) }

// issue makes a key and its certificate, signed by a parent or by itself, and
// writes both.
func (a *Authority) issue(name string, template, parent *x509.Certificate, signer crypto.Signer) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parent == nil {
		parent, signer = template, key
	}
	certificate, err := certify(template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	file := "-key.pem"
	if err := renameio.WriteFile(a.path(name+file), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	return key, renameio.WriteFile(a.path(name+".pem"), certificate, 0o644)
}

func certify(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// server is how a gateway speaks TLS. A terminal without a certificate gets no
// further than enrolling.
func (a *Authority) server() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(a.path("server.pem"), a.path("server-key.pem"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(a.path("ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate in it", a.path("ca.pem"))
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{wire.ALPN}, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool,
	}, nil
}

// granted is a certificate with the authorities to trust from now on, PEM.
type granted struct {
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
}

// signing is what enroll and renew ask.
type signing struct {
	ID    string `json:"id"`
	Token string `json:"token"`
	CSR   string `json:"csr"`
}

// sign makes the certificate of a terminal for a request for one, PEM.
func (a *Authority) sign(csr, host string) (granted, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return granted{}, wire.Fail(wire.InvalidParams, "csr is not PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return granted{}, wire.Fail(wire.InvalidParams, "csr: %v", err)
	}
	if key, ok := request.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return granted{}, wire.Fail(wire.InvalidParams, "csr: the key is not of ECDSA P-256")
	}
	pair, err := tls.LoadX509KeyPair(a.path("ca.pem"), a.path("ca-key.pem"))
	if err != nil {
		return granted{}, wire.Fail(wire.NotAuthorized, "this gateway issues no certificates")
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return granted{}, errors.New("the authority's key cannot sign")
	}
	now := time.Now()
	certificate, err := certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, URIs: []*url.URL{{Scheme: "urn", Opaque: "uuid:" + host}},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(terminalLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pair.Leaf, request.PublicKey, signer)
	if err != nil {
		return granted{}, err
	}
	ca, err := os.ReadFile(a.path("ca.pem"))
	return granted{string(certificate), string(ca)}, err
}

// certified is the terminal's id in a certificate, "" if there is none.
func certified(c *x509.Certificate) string {
	if len(c.URIs) != 1 {
		return ""
	}
	id, err := uuid.Parse(strings.TrimPrefix(c.URIs[0].String(), "urn:uuid:"))
	if err != nil {
		return ""
	}
	return id.String()
}

// Token makes the token with which a terminal may enroll once. Only its hash is
// kept.
func (a *Authority) Token(host string) (string, error) {
	id, err := uuid.Parse(host)
	if err != nil {
		return "", fmt.Errorf("the terminal's id: %w", err)
	}
	token := rand.Text()
	if err := os.MkdirAll(a.path("tokens"), 0o700); err != nil {
		return "", err
	}
	return token, renameio.WriteFile(a.path(filepath.Join("tokens", id.String())), []byte(hash(token)), 0o600)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// redeem uses a token up. The file goes first: of two gateways that share the
// directory one succeeds. After too many wrong guesses it is gone as well.
func (a *Authority) redeem(host, token string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	file := a.path(filepath.Join("tokens", host))
	want, err := os.ReadFile(file)
	if err != nil {
		return wire.Fail(wire.NotAuthorized, "%s has no token", host)
	}
	if subtle.ConstantTimeCompare(want, []byte(hash(token))) != 1 {
		if a.tries == nil {
			a.tries = make(map[string]int)
		}
		if a.tries[host]++; a.tries[host] >= tokenTries {
			os.Remove(file)
			delete(a.tries, host)
		}
		return wire.Fail(wire.NotAuthorized, "wrong token of %s", host)
	}
	if err := os.Remove(file); err != nil {
		return wire.Fail(wire.NotAuthorized, "the token of %s is used", host)
	}
	return nil
}

// enroll grants a certificate for a token.
func (g *Gateway) enroll(host, token, csr string, from net.Addr) func() (granted, error) {
	return func() (granted, error) {
		id, err := uuid.Parse(host)
		if err != nil {
			return granted{}, wire.Fail(wire.InvalidParams, "hostname is not a UUID")
		}
		if err := g.Authority.redeem(id.String(), token); err != nil {
			g.Log.Error("enrollment refused", "id", id, "dst", from, "err", err)
			return granted{}, err
		}
		return g.Authority.sign(csr, id.String())
	}
}

// answerSigning sends a certificate, or why there is none.
func (g *Gateway) answerSigning(conn *wire.Conn, id string, grant func() (granted, error)) error {
	cert, err := grant()
	a := wire.Success(cert)
	if err != nil {
		a = wire.Failed(err)
	}
	a.ID = id
	return conn.Send(a)
}

// authorized lets those through who have the token.
func authorized(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			reply(w, http.StatusUnauthorized, wire.Failed(wire.Fail(wire.NotAuthorized, "")))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// APIToken is the token of the API, made when it is first asked for.
func (a *Authority) APIToken() (string, error) {
	body, err := os.ReadFile(a.path("api-token"))
	if errors.Is(err, os.ErrNotExist) {
		body = []byte(rand.Text())
		err = renameio.WriteFile(a.path("api-token"), body, 0o600)
	}
	return strings.TrimSpace(string(body)), err
}

// Revoked tells whether a terminal is in the file revoked, one id a line. A
// file that cannot be read revokes all.
func (a *Authority) Revoked(host string) bool {
	body, err := os.ReadFile(a.path("revoked"))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return slices.Contains(strings.Fields(strings.ToLower(string(body))), host)
}

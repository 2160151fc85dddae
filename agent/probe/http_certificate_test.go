package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// issuer is an authority that makes certificates for tests.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newIssuer makes an authority; parent is nil for a root.
func newIssuer(t *testing.T, name string, parent *issuer) *issuer {
	i := &issuer{t: t}
	i.cert, i.key = makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000*24*time.Hour + time.Minute),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, parent)
	return i
}

func makeCert(t *testing.T, c *x509.Certificate, parent *issuer) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, signerKey := c, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, c, signer, key.Public(), signerKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

// leaf makes a certificate for 127.0.0.1, www.example.com and more names that is
// good for so long.
func (i *issuer) leaf(left time.Duration, more ...string) tls.Certificate {
	c, key := makeCert(i.t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "www.example.com", Organization: []string{"Example"}}, NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: time.Now().Add(left),
		DNSNames: append([]string{"www.example.com"}, more...), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, i)
	return tls.Certificate{Certificate: [][]byte{c.Raw, i.cert.Raw}, PrivateKey: key}
}

func (i *issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// secured serves with a TLS configuration.
func secured(t *testing.T, config *tls.Config) string {
	s, _ := webServer(t)
	s.TLS = config
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	return s.URL
}

// quiet takes what a server has to say of handshakes that are to fail.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

const day = 24 * time.Hour

func TestHTTPCertificate(t *testing.T) {
	root := newIssuer(t, "the root", nil)
	between := newIssuer(t, "the middle", root)
	good := between.leaf(10*day + time.Hour)
	good.OCSPStaple = []byte("stapled")
	at := secured(t, &tls.Config{Certificates: []tls.Certificate{good}})
	r, body := run(t, New(), "http", at, map[string]string{"cacert": root.pem()})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, want := range []string{
		`"tls":{"version":"TLS 1.3","cipher":"TLS_AES_128_GCM_SHA256","key_exchange":"X25519MLKEM768","alpn":"h2","server_name":"127.0.0.1","ocsp_stapled":true,"verified":true,"days_left":10,"chain":[`,
		`{"subject":"CN=www.example.com,O=Example","issuer":"CN=the middle","names":["www.example.com","127.0.0.1"],"not_before":"`,
		`"days_left":10,"serial":"`, `"key":"ECDSA P-256","signature":"ECDSA-SHA256","sha256":"`, `{"subject":"CN=the middle","issuer":"CN=the root","names":[],`, `"days_left":1000,`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("missing %s in %s", want, body)
		}
	}
	if text := textOf(r.Data); !strings.Contains(text, "TLS 1.3  TLS_AES_128_GCM_SHA256  X25519MLKEM768  ALPN h2\ncertificate 0: CN=www.example.com,O=Example, until ") || !strings.Contains(text, " (10 days), ECDSA P-256, by CN=the middle\n") {
		t.Errorf("got %s", text)
	}
}

func TestHTTPCertificateNotAccepted(t *testing.T) {
	root, stranger := newIssuer(t, "the root", nil), newIssuer(t, "a stranger", nil)
	for _, test := range []struct {
		name, host, ca string
		left           time.Duration
		want           string
		days           int
	}{
		{"expired", "127.0.0.1", root.pem(), -50 * time.Hour, "expired", -3},
		{"unknown authority", "127.0.0.1", stranger.pem(), day + time.Hour, "unknown authority", 1},
		{"other name", "other.example.com", root.pem(), day + time.Hour, "other.example.com", 1},
	} {
		at := secured(t, &tls.Config{Certificates: []tls.Certificate{root.leaf(test.left)}})
		_, atPort, _ := net.SplitHostPort(strings.TrimPrefix(at, "https://"))
		params := map[string]string{"cacert": test.ca, "resolve": fmt.Sprintf("other.example.com:%s:127.0.0.1", atPort)}
		to := "https://" + net.JoinHostPort(test.host, atPort)
		_, body := run(t, New(), "http", to, params)
		if !strings.Contains(body, `"errorcode":60,`) || !strings.Contains(body, test.want) || !strings.Contains(body, "subject CN=www.example.com,O=Example, issuer CN=the root, valid ") {
			t.Errorf("%s: got %s", test.name, body)
		}
		params["insecure"] = "true"
		r, body := run(t, New(), "http", to, params)
		if !strings.Contains(body, `"verified":false,"problem":"x509: `) || !strings.Contains(body, fmt.Sprintf(`"days_left":%d,"chain"`, test.days)) {
			t.Errorf("%s: got %s", test.name, body)
		}
		if r.Err == nil && !strings.Contains(textOf(r.Data), "not to be believed: x509: ") {
			t.Errorf("%s: got %s", test.name, textOf(r.Data))
		}
	}
}

func TestHTTPOldTLS(t *testing.T) {
	root := newIssuer(t, "the root", nil)
	for _, most := range []uint16{tls.VersionTLS11, tls.VersionTLS12} {
		at := secured(t, &tls.Config{Certificates: []tls.Certificate{root.leaf(day)}, MinVersion: tls.VersionTLS10, MaxVersion: most})
		_, body := run(t, New(), "http", at, map[string]string{"cacert": root.pem()})
		want := `"tls":{"version":"TLS 1.2","cipher":"TLS_ECDHE_ECDSA_`
		if most < tls.VersionTLS12 {
			want = `"errorcode":35,"errorinfo":"GET ` + at + `/: TLS handshake failed: the server has nothing newer than TLS 1.1`
		}
		if !strings.Contains(body, want) {
			t.Errorf("%s: got %s", tls.VersionName(most), body)
		}
	}
}

// The server wants to see a certificate.
func TestHTTPOwnCertificate(t *testing.T) {
	root := newIssuer(t, "the root", nil)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{root.leaf(day)}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	own := root.leaf(day)
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for _, test := range []struct {
		name, cert, key string
		want            string
	}{
		{"shown", cert, key, `"response_body":"www.example.com"`},
		{"in one text", cert + key, "", `"response_body":"www.example.com"`},
		{"none", "", "", `"errorcode":`},
		{"without key", cert, "", `"errorcode":58,`},
		{"a file, from afar", "/etc/passwd", "", `"errorcode":58,"errorinfo":"own certificate not usable: cert: want its text in PEM form`},
		{"a key file, from afar", cert, "/etc/shadow", `"errorcode":58,"errorinfo":"own certificate not usable: key: want its text in PEM form`},
	} {
		_, body := run(t, New(), "http", s.URL, map[string]string{"cacert": root.pem(), "cert": test.cert, "key": test.key, "save_response_body": "1"})
		if !strings.Contains(body, test.want) || strings.Contains(body, "PRIVATE") {
			t.Errorf("%s: got %s, want %s", test.name, body, test.want)
		}
	}
}

// Files are for those who sit at the terminal; others are not even told which there are.
func TestHTTPCertificateFiles(t *testing.T) {
	root := newIssuer(t, "the root", nil)
	at := secured(t, &tls.Config{Certificates: []tls.Certificate{root.leaf(day)}})
	directory := t.TempDir()
	file := filepath.Join(directory, "root.pem")
	if err := os.WriteFile(file, []byte(root.pem()), 0o644); err != nil {
		t.Fatal(err)
	}
	far := errors.New("authorities not readable: cacert: want its text in PEM form: files of the terminal are for its local users")
	for _, test := range []struct {
		ca        string
		here, far error // nil is success
	}{
		{root.pem(), nil, nil},
		{file, nil, far},
		{directory + "/none.pem", command.ErrAuthorities, far},
		{directory, command.ErrAuthorities, far},
		{"/dev/zero", command.ErrAuthorities, far},
		{"-----BEGIN NOTHING-----", command.ErrAuthorities, command.ErrAuthorities},
	} {
		params := DefaultHTTP()
		params.CACert = test.ca
		if _, err := New().HTTP(t.Context(), at, params); !errors.Is(err, test.here) {
			t.Errorf("%s here: got %v, want %v", test.ca, err, test.here)
		}
		r, body := run(t, New(), "http", at, map[string]string{"cacert": test.ca})
		if test.far == far && (r.Err == nil || r.Err.Error() != far.Error()) || test.far != far && !errors.Is(r.Err, test.far) {
			t.Errorf("%s from afar: got %v, want %v", test.ca, r.Err, test.far)
		}
		if r.Err != nil && !strings.Contains(body, `"errorcode":77,`) {
			t.Errorf("%s from afar: got %s, want 77", test.ca, body)
		}
	}
}

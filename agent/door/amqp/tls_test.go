package amqp

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
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
)

// authority signs certificates, and keeps everything in files of a directory.
type authority struct {
	*testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{T: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue makes NAME.pem and NAME.key.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// TestTLS has a broker with a private authority, which wants a certificate of
// its clients and is known under another name than it is reached by.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("broker", &x509.Certificate{DNSNames: []string{"broker.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.issue("terminal", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	other := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	amqptest.ForTest(t,
		"listeners.ssl.1 = 127.0.0.1:"+strconv.Itoa(port),
		"ssl_options.cacertfile = "+a.file("ca.pem"),
		"ssl_options.certfile = "+a.file("broker.pem"),
		"ssl_options.keyfile = "+a.file("broker.key"),
		"ssl_options.verify = verify_peer",
		"ssl_options.fail_if_no_peer_cert = true")

	right := map[string]string{"ca": a.file("ca.pem"), "cert": a.file("terminal.pem"), "key": a.file("terminal.key"), "server_name": "broker.example"}
	for name, test := range map[string]struct {
		change map[string]string
		err    string // "" if it connects
	}{
		"all right":         {nil, ""},
		"other authority":   {map[string]string{"ca": other.file("ca.pem")}, "unknown authority"},
		"no server name":    {map[string]string{"server_name": ""}, "127.0.0.1"},
		"no certificate":    {map[string]string{"cert": "", "key": ""}, "certificate required"},
		"authority missing": {map[string]string{"ca": "/nowhere.pem"}, "/nowhere.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			ini := fmt.Sprintf("[RABBITMQ]\nurl = amqps://%s:%s@127.0.0.1:%d/%s\n", amqptest.User, amqptest.Password, port, url.PathEscape(amqptest.VHost))
			for key, value := range right {
				if changed, found := test.change[key]; found {
					value = changed
				}
				if value != "" {
					ini += key + " = " + value + "\n"
				}
			}
			file := filepath.Join(t.TempDir(), "natrix.ini")
			if err := os.WriteFile(file, []byte(ini), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(file, "")
			if err != nil {
				t.Fatal(err)
			}
			conn, err := Dial(t.Context(), c.AMQP.URLs[0], "test")
			if err == nil {
				conn.Close()
			}
			switch {
			case test.err == "" && err != nil:
				t.Errorf("got %v, want a connection", err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v, want an error about %q", err, test.err)
			}
		})
	}
}

package basicagent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// signing is a request for a certificate.
type signing struct {
	Method   string `json:"method"` // enroll or renew
	ID       string `json:"id"`
	Hostname string `json:"hostname"`
	Token    string `json:"token,omitempty"`
	CSR      string `json:"csr"` // PEM
}

// enroll gets the terminal its certificate, if it has none and a token lies in
// the directory. A terminal with a certificate that servers refuse does not
// enroll again: it keeps trying, and a person decides.
func (d *Door) enroll(ctx context.Context) error {
	f := d.files()
	token := f.read("token")
	if _, err := os.Stat(f.path("cert.pem")); err == nil || token == "" {
		return nil
	}
	settings, err := f.tls(d.Config, false)
	if err != nil {
		return err
	}
	problems := []error{errors.New("enroll: no server gave a certificate")}
	for _, a := range d.addresses(ctx) {
		if err := d.enrollAt(ctx, a, settings, token); err != nil {
			problems = append(problems, fmt.Errorf("enroll at %s: %w", a, err))
			continue
		}
		d.Log.Info("enrolled", "dst", a)
		return os.Remove(f.path("token"))
	}
	return errors.Join(problems...)
}

func (d *Door) enrollAt(ctx context.Context, a netip.AddrPort, settings *tls.Config, token string) error {
	conn, err := d.connect(ctx, a, settings)
	if err != nil {
		return err
	}
	defer conn.Close()
	key, csr, err := newKey(d.Config.ID)
	if err != nil {
		return err
	}
	if err := conn.Send(signing{"enroll", "enroll", d.Config.ID, token, csr}); err != nil {
		return err
	}
	line, err := conn.ReadLine(d.Timing.Init)
	if err != nil {
		return err
	}
	return d.install(line, key)
}

// newKey makes a key, PEM, and the request for its certificate.
func newKey(id string) (key []byte, csr string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{{Scheme: "urn", Opaque: "uuid:" + id}},
	}, private)
	if err != nil {
		return nil, "", err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})), nil
}

// install writes the certificate of an answer with its key, the authorities
// first if the server sends new ones.
func (d *Door) install(line, key []byte) error {
	var a struct {
		Resp    string
		Retcode int
		Message string
		Data    struct{ Certificate, CA string }
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return wire.Fail(wire.Malformed, "%v", err)
	}
	if a.Resp != "success" {
		return wire.Fail(wire.Code(a.Retcode), "%.200q", a.Message)
	}
	if _, err := tls.X509KeyPair([]byte(a.Data.Certificate), key); err != nil {
		return fmt.Errorf("the certificate that came: %w", err)
	}
	f := d.files()
	if a.Data.CA != "" && x509.NewCertPool().AppendCertsFromPEM([]byte(a.Data.CA)) {
		if err := f.write("ca.pem", []byte(a.Data.CA)); err != nil {
			return err
		}
	}
	// The pair is in one file under two names: it changes at once, or not at all.
	both := append([]byte(a.Data.Certificate), key...)
	if err := f.write("cert.pem", both); err != nil {
		return err
	}
	os.Remove(f.path("key.pem"))
	return os.Symlink("cert.pem", f.path("key.pem"))
}

// renew asks for a new certificate when two thirds of the old one's life are
// over, over the session that the old one opened.
func (s *session) renew(ctx context.Context) {
	d := s.door
	for n := 1; ; n++ {
		wait := max(d.renewal(), time.Minute)
		if n == 1 {
			wait = max(d.renewal(), 0)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(wait, time.Hour)):
		}
		if d.renewal() > 0 {
			continue
		}
		key, csr, err := newKey(d.Config.ID)
		id := fmt.Sprintf("natrix-renew-%d", n)
		var line json.RawMessage
		if err == nil {
			line, err = s.ask(ctx, id, signing{"renew", id, d.Config.ID, "", csr})
		}
		if err == nil {
			err = d.install(line, key)
		}
		if err == nil {
			err = d.table.reseal(d)
		}
		if err != nil {
			d.Log.Warn("certificate not renewed", "err", err)
			continue
		}
		d.Log.Info("certificate renewed")
	}
}

// renewal is how long until the terminal's certificate should be renewed.
func (d *Door) renewal() time.Duration {
	pair, err := tls.LoadX509KeyPair(d.files().path("cert.pem"), d.files().path("key.pem"))
	if err != nil {
		return time.Hour
	}
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	return pair.Leaf.NotBefore.Add(life * 2 / 3).Sub(d.files().now())
}

package basicagent

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// files are the certificates and the state of the door: ca.pem, cert.pem,
// key.pem, token, last, clock, periodic.json.
type files struct{ dir string }

func (d *Door) files() files { return files{d.Config.Directory} }

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

// read is a small file without blanks around it, "" if it is not there.
func (f files) read(name string) string {
	body, _ := os.ReadFile(f.path(name))
	return strings.TrimSpace(string(body))
}

// write replaces a file; a power cut leaves the old one or the new one.
func (f files) write(name string, body []byte) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(f.path(name), body, 0o600)
}

// seen remembers where a server was found, and the time, which cannot go back
// behind what a server said: many boards have no clock of their own.
func (f files) seen(a netip.AddrPort, unix int64) {
	f.write("last", []byte(a.String())) // a help for the next time only
	if at := time.Unix(unix, 0); at.After(f.floor()) && at.Before(time.Now().Add(24*time.Hour)) {
		f.write("clock", []byte(strconv.FormatInt(unix, 10)))
	}
}

// floor is a time that is past.
func (f files) floor() time.Time {
	floor := built()
	if n, err := strconv.ParseInt(f.read("clock"), 10, 64); err == nil && time.Unix(n, 0).After(floor) {
		return time.Unix(n, 0)
	}
	return floor
}

// built is when this program was, as far as it knows.
func built() time.Time {
	at := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil && t.After(at) {
				at = t
			}
		}
	}
	return at
}

// now is the time by which certificates are judged.
func (f files) now() time.Time {
	if now, floor := time.Now(), f.floor(); now.Before(floor) {
		return floor
	}
	return time.Now()
}

// tls trusts the authorities of ca.pem and nobody else, for the one name: where
// a server is may be forged, who it is may not. The terminal's own certificate
// is left out for enrolling.
func (f files) tls(c config.BasicAgent, own bool) (*tls.Config, error) {
	pem, err := os.ReadFile(f.path("ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("certificate authority of the server: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in it", f.path("ca.pem"))
	}
	settings := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{wire.ALPN},
		RootCAs: roots, ServerName: c.ServerName(), Time: f.now,
	}
	if len(c.Pins) > 0 {
		settings.VerifyConnection = func(state tls.ConnectionState) error { return pinned(state, c.Pins) }
	}
	if own {
		pair, err := tls.LoadX509KeyPair(f.path("cert.pem"), f.path("key.pem"))
		if err != nil {
			return nil, fmt.Errorf("certificate of the terminal: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}

// pinned wants one of the keys in the chain that was verified.
func pinned(state tls.ConnectionState, pins []string) error {
	for _, chain := range state.VerifiedChains {
		for _, c := range chain {
			sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
			if slices.Contains(pins, base64.StdEncoding.EncodeToString(sum[:])) {
				return nil
			}
		}
	}
	return errors.New("no key in the server's chain is one of the pins")
}

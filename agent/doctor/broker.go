package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

const (
	patience = 900 * time.Millisecond // for one answer of something that is asked twice
	soon     = 14 * 24 * time.Hour    // in which an expiring certificate is worth a warning
	dateOnly = time.DateOnly
)

// broker is what is known about it.
type broker struct {
	urls []amqp091.URI // those that could be read
	uri  amqp091.URI   // the one that is examined
	addr string        // host:port of it
	raw  net.Conn      // nil until there is a connection
	conn net.Conn      // the same, or TLS over it
	amqp *amqp091.Connection
	deny error // why the virtual host was refused
}

func (b *broker) close() {
	if b.amqp != nil {
		b.amqp.CloseDeadline(time.Now().Add(time.Second))
	}
	if b.raw != nil {
		b.raw.Close()
	}
}

func readURLs(all []string) []amqp091.URI {
	var uris []amqp091.URI
	for _, s := range all {
		if uri, err := amqp091.ParseURI(s); err == nil {
			uris = append(uris, uri)
		}
	}
	return uris
}

// name is the first name of a broker that has one rather than an address.
func (b *broker) name() string {
	for _, uri := range b.urls {
		if _, err := netip.ParseAddr(uri.Host); err != nil {
			return uri.Host
		}
	}
	return ""
}

func address(uri amqp091.URI) string { return net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)) }

// examineConnect dials all brokers at the same time. The first in their order
// that takes the connection is examined further.
func (p *patient) examineConnect(ctx context.Context) Finding {
	b := &p.broker
	switch {
	case len(p.Brokers) == 0:
		return found(ConnectNoBroker)
	case len(b.urls) == 0:
		return found(ConnectUnreadable)
	}
	begin := time.Now()
	conns, errs := p.dialAll(ctx, b.urls)
	for i, conn := range conns {
		switch {
		case conn == nil:
		case b.raw != nil:
			conn.Close()
		default:
			b.uri, b.addr, b.raw, b.conn = b.urls[i], address(b.urls[i]), conn, conn
		}
	}
	if b.raw == nil {
		return connectFailure(address(b.urls[0]), errs[0])
	}
	return found(ConnectFine, b.addr, time.Since(begin).Round(100*time.Microsecond))
}

func (p *patient) dialAll(ctx context.Context, uris []amqp091.URI) ([]net.Conn, []error) {
	link := ""
	if p.Link != "" {
		link = p.link.Name
	}
	conns, errs := make([]net.Conn, len(uris)), make([]error, len(uris))
	done := make(chan struct{})
	for i, uri := range uris {
		go func() {
			conns[i], errs[i] = netif.Dialer(link, p.source).DialContext(ctx, "tcp", address(uri))
			done <- struct{}{}
		}()
	}
	for range uris {
		<-done
	}
	return conns, errs
}

func connectFailure(addr string, err error) Finding {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return found(ConnectRefused, addr)
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return found(ConnectUnreachable, addr, last(err))
	case errors.As(err, &timeout) && timeout.Timeout():
		return found(ConnectSilent, addr)
	}
	return found(ConnectFailed, addr, err)
}

// last is the innermost error: what the kernel said.
func last(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (p *patient) examineTLS(ctx context.Context) Finding {
	b := &p.broker
	if b.uri.Scheme != "amqps" {
		return found(TLSUnused)
	}
	config, err := tlsConfig(b.uri)
	if err != nil {
		return found(TLSFiles, err)
	}
	config.Time = p.now
	client := tls.Client(b.raw, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return p.tlsFailure(err)
	}
	b.conn = client
	state := client.ConnectionState()
	until := state.PeerCertificates[0].NotAfter
	if until.Sub(p.now()) < soon {
		return found(TLSExpiring, tls.VersionName(state.Version), until.Format(dateOnly))
	}
	return found(TLSFine, tls.VersionName(state.Version), until.Format(dateOnly))
}

// tlsConfig is what the agent's library makes of the same URL.
func tlsConfig(uri amqp091.URI) (*tls.Config, error) {
	config := &tls.Config{ServerName: cmp.Or(uri.ServerName, uri.Host), MinVersion: tls.VersionTLS12}
	if uri.CACertFile != "" {
		pem, err := os.ReadFile(uri.CACertFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if uri.CertFile != "" && uri.KeyFile != "" {
		own, err := tls.LoadX509KeyPair(uri.CertFile, uri.KeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

func (p *patient) tlsFailure(err error) Finding {
	b := &p.broker
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return found(TLSUnknown, b.addr, unknown.Cert.Issuer.String())
	case errors.As(err, &name):
		return found(TLSName, name.Host, certifies(name.Certificate))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		c := invalid.Cert
		return found(TLSDate, c.NotBefore.Format(dateOnly), c.NotAfter.Format(dateOnly), p.now().UTC().Format(clockLayout))
	case errors.As(err, &record):
		return found(TLSNone, b.addr)
	}
	return found(TLSFailed, b.addr, err)
}

// certifies is whom a certificate is for.
func certifies(c *x509.Certificate) string {
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return c.Subject.String()
	}
	return strings.Join(all, ", ")
}

// examineLogin opens the connection of AMQP as the agent does. The library asks
// for the virtual host in the same breath: what came of that is kept for the
// next step.
func (p *patient) examineLogin(ctx context.Context) Finding {
	b := &p.broker
	deadline, _ := ctx.Deadline()
	if err := b.conn.SetDeadline(deadline); err != nil {
		return found(LoginFailed, b.addr, err)
	}
	ear := &listener{Conn: b.conn}
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName("natrix doctor")
	conn, err := amqp091.Open(ear, amqp091.Config{
		SASL:       []amqp091.Authentication{b.uri.PlainAuth()},
		Vhost:      b.uri.Vhost,
		Heartbeat:  10 * time.Second,
		Locale:     "en_US",
		Properties: properties,
	})
	var said *amqp091.Error
	errors.As(err, &said)
	first, silent := ear.heard()
	switch {
	case err == nil:
		b.amqp = conn
	case silent:
		return found(LoginSilent, b.addr)
	case first != methodFrame:
		return found(LoginNotAMQP, b.addr)
	case said != nil && said.Code == amqp091.NotAllowed, errors.Is(err, amqp091.ErrVhost):
		b.deny = err
	case said != nil && said.Code == amqp091.AccessRefused:
		return found(LoginRefused, b.uri.Username)
	default:
		return found(LoginFailed, b.addr, err)
	}
	product, _ := conn.Properties["product"].(string)
	version, _ := conn.Properties["version"].(string)
	return found(LoginFine, cmp.Or(strings.TrimSpace(product+" "+version), "the broker"), b.uri.Username)
}

// listener notes what is heard from the broker: the library tells neither
// whether anything was, nor whether it was AMQP at all.
type listener struct {
	net.Conn

	mu     sync.Mutex
	first  byte // 0 while there was none
	silent bool // a deadline passed
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == 0 && n > 0 {
		l.first = p[0]
	}
	l.silent = l.silent || errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

// methodFrame is the first byte of all that a broker says before it lets
// somebody in (AMQP 0-9-1 section 4.2.3).
const methodFrame = 1

// heard returns the first byte and whether there was a wait in vain.
func (l *listener) heard() (first byte, silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.silent
}

func (p *patient) examineVHost(context.Context) Finding {
	b := &p.broker
	if b.amqp != nil {
		return found(VHostFine, b.uri.Vhost)
	}
	switch reason := b.deny.Error(); {
	case strings.Contains(reason, "not found"):
		return found(VHostNone, b.uri.Vhost)
	case strings.Contains(reason, "refused"):
		return found(VHostRefused, b.uri.Username, b.uri.Vhost)
	}
	return found(VHostFailed, b.uri.Vhost, b.deny)
}

// examineQueue looks at the queue of the link without taking anything.
func (p *patient) examineQueue(ctx context.Context) Finding {
	b := &p.broker
	name := "natrix_request_" + p.link.Terminal()
	defer context.AfterFunc(ctx, func() { b.raw.Close() })()
	queue, err := look(b.amqp, name)
	var said *amqp091.Error
	switch {
	case err == nil && queue.Consumers == 0:
		return found(QueueUnwatched, name, queue.Messages)
	case err == nil && queue.Consumers > 1:
		return found(QueueShared, name, queue.Consumers)
	case err == nil:
		return found(QueueFine, name)
	case errors.As(err, &said) && said.Code == amqp091.NotFound:
		return found(QueueNone, name)
	case errors.As(err, &said) && said.Code == amqp091.AccessRefused:
		return found(QueueRefused, b.uri.Username, name)
	}
	return found(QueueFailed, name, err)
}

func look(conn *amqp091.Connection, name string) (amqp091.Queue, error) {
	ch, err := conn.Channel()
	if err != nil {
		return amqp091.Queue{}, err
	}
	defer ch.Close()
	return ch.QueueDeclarePassive(name, true, false, false, false, nil)
}

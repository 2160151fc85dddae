package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
)

// ask examines the terminal against the brokers, from the clock of today.
func ask(t *testing.T, brokers ...string) map[Step]Finding {
	t.Helper()
	p := healthy()
	p.Brokers, p.now = brokers, time.Now
	return byStep(t, examine(t.Context(), p, func(Finding) {}))
}

// listen serves a port of loopback until the test ends.
func listen(t *testing.T, config *tls.Config, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return addr
}

// certificate makes one for name, signed by itself, and the file of it for clients.
func certificate(t *testing.T, name string, from, to time.Time) (server *tls.Config, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, DNSNames: []string{name},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

const day = 24 * time.Hour

func TestBrokerFaultsBeforeLogin(t *testing.T) {
	silent := listen(t, nil, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	web := listen(t, nil, func(conn net.Conn) {
		conn.Read(make([]byte, 1))
		io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	})
	closed := listen(t, nil, func(net.Conn) {})
	now := time.Now()
	deaf := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	right, ca := certificate(t, "127.0.0.1", now.Add(-day), now.Add(90*day))
	named, namedCA := certificate(t, "broker.example", now.Add(-day), now.Add(90*day))
	expired, expiredCA := certificate(t, "127.0.0.1", now.Add(-90*day), now.Add(-day))
	for name, test := range map[string]struct {
		url  string
		step Step
		want Verdict
	}{
		"refused":           {"amqp://127.0.0.1:1/", Connect, ConnectRefused},
		"not a URL":         {"amqp://127.0.0.1:x/", Connect, ConnectUnreadable},
		"unknown authority": {"amqps://" + listen(t, right, deaf) + "/", TLS, TLSUnknown},
		"wrong authority":   {"amqps://" + listen(t, right, deaf) + "/?cacertfile=" + namedCA, TLS, TLSUnknown},
		"other name":        {"amqps://" + listen(t, named, deaf) + "/?cacertfile=" + namedCA, TLS, TLSName},
		"expired":           {"amqps://" + listen(t, expired, deaf) + "/?cacertfile=" + expiredCA, TLS, TLSDate},
		"no TLS":            {"amqps://" + web + "/?cacertfile=" + ca, TLS, TLSNone},
		"TLS cut off":       {"amqps://" + closed + "/?cacertfile=" + ca, TLS, TLSFailed},
		"no such file":      {"amqps://" + silent + "/?cacertfile=/nowhere", TLS, TLSFiles},
		"no TLS wanted":     {"amqp://" + silent + "/", TLS, TLSUnused},
		"web server":        {"amqp://" + web + "/", Login, LoginNotAMQP},
		"silent":            {"amqp://" + silent + "/", Login, LoginSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, test.url)[test.step]
			if got.Verdict != test.want {
				t.Errorf("got %d (%v), want %d", got.Verdict, got.Args, test.want)
			}
		})
	}
}

func TestBrokerThatAnswersIsExamined(t *testing.T) {
	open := listen(t, nil, func(conn net.Conn) { conn.Read(make([]byte, 8)); io.WriteString(conn, "nothing") })
	got := ask(t, "amqp://127.0.0.1:1/", "amqp://"+open+"/")
	if f := got[Connect]; f.Verdict != ConnectFine || f.Args[0] != open {
		t.Errorf("got %+v, want the connection to %s", f, open)
	}
	if f := got[Login]; f.Verdict != LoginNotAMQP {
		t.Errorf("got %+v", f)
	}
}

func TestRabbitMQ(t *testing.T) {
	b := amqptest.ForTest(t)
	at := fmt.Sprintf("127.0.0.1:%d", b.Port)
	vhost := url.PathEscape(amqptest.VHost)
	login := amqptest.User + ":" + amqptest.Password
	right := "amqp://" + login + "@" + at + "/" + vhost
	faults := func(t *testing.T, url string, step Step, want Verdict) {
		t.Helper()
		if got := ask(t, url)[step]; got.Verdict != want {
			t.Errorf("step %d: got %d (%v), want %d", step, got.Verdict, got.Args, want)
		}
	}
	faults(t, "amqp://natrix:wrong@"+at+"/"+vhost, Login, LoginRefused)
	faults(t, "amqp://"+login+"@"+at+"/nowhere", VHost, VHostNone)
	faults(t, right, Login, LoginFine)
	faults(t, right, Queue, QueueNone)

	// Through TLS, by a certificate that names its authority.
	config, ca := certificate(t, "127.0.0.1", time.Now().Add(-day), time.Now().Add(90*day))
	secured := listen(t, config, func(conn net.Conn) { relay(conn, at) })
	faults(t, "amqps://"+login+"@"+secured+"/"+vhost+"?cacertfile="+ca, TLS, TLSFine)
	faults(t, "amqps://"+login+"@"+secured+"/"+vhost+"?cacertfile="+ca, VHost, VHostFine)
	faults(t, "amqps://natrix:wrong@"+secured+"/"+vhost+"?cacertfile="+ca, Login, LoginRefused)
	soon, soonCA := certificate(t, "127.0.0.1", time.Now().Add(-day), time.Now().Add(day))
	expiring := listen(t, soon, func(conn net.Conn) { relay(conn, at) })
	faults(t, "amqps://"+login+"@"+expiring+"/"+vhost+"?cacertfile="+soonCA, TLS, TLSExpiring)
	faults(t, "amqp://"+login+"@"+secured+"/", Login, LoginNotAMQP) // TLS answers with an alert

	conn, err := amqp091.Dial(right)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	const queue = "natrix_request_020000000001"
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	faults(t, right, Queue, QueueUnwatched)
	for _, want := range []Verdict{QueueFine, QueueShared} {
		if _, err := ch.Consume(queue, "", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		faults(t, right, Queue, want)
	}
}

// relay joins a connection to a port in the clear.
func relay(conn net.Conn, to string) {
	clear, err := net.Dial("tcp4", to)
	if err != nil {
		return
	}
	defer clear.Close()
	go func() { defer clear.Close(); io.Copy(clear, conn) }()
	io.Copy(conn, clear)
}

package logs

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// header is a message of RFC 5424, without its text.
var header = regexp.MustCompile(`^<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) \S+ natrix \d+ - - `)

func dial(t *testing.T, collector string) *Syslog {
	t.Helper()
	s, err := Dial(collector)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// frame reads one message of a stream (RFC 6587, section 3.4.1).
func frame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var n int
	if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func accept(t *testing.T, l net.Listener) *bufio.Reader {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return bufio.NewReader(conn)
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	return l
}

func TestSyslogUDP(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := dial(t, "udp://"+l.LocalAddr().String())
	log := slog.New(s.Handler(slog.LevelDebug))
	log.Error("broken", "err", errors.New("disk full"))
	log.Debug(strings.Repeat("ä", 5000))
	l.SetReadDeadline(time.Now().Add(patience))
	for _, want := range []struct{ severity, text string }{{"27", `broken err="disk full"`}, {"31", strings.Repeat("ä", 100)}} {
		b := make([]byte, 10000)
		n, _, err := l.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		got := string(b[:n])
		head := header.FindStringSubmatch(got)
		if head == nil || head[1] != want.severity || !strings.HasPrefix(got[len(head[0]):], want.text) || n > longestDatagram {
			t.Errorf("got %d bytes, %q, want severity %s, %q", n, got, want.severity, want.text)
		}
	}
}

func TestSyslogTCPComesBack(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := &Syslog{queue: newQueue(), scheme: "tcp", address: l.Addr().String(), pause: 10 * time.Millisecond}
	s.start()
	defer s.Close()
	log := slog.New(s.Handler(slog.LevelInfo))
	log.Info("one")
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	first.SetDeadline(time.Now().Add(patience))
	if got := frame(t, bufio.NewReader(first)); !strings.HasSuffix(got, " - - one") {
		t.Errorf("got %q", got)
	}
	l.Close()
	first.Close()
	stop := make(chan struct{})
	var logging sync.WaitGroup
	logging.Go(func() { // what is on its way when a collector goes is lost with it
		for {
			select {
			case <-time.After(10 * time.Millisecond):
				log.Info("again")
			case <-stop:
				return
			}
		}
	})
	r := accept(t, listen(t, l.Addr().String()))
	close(stop)
	logging.Wait()
	if got := frame(t, r); !strings.HasSuffix(got, " - - again") {
		t.Errorf("got %q", got)
	}
}

func TestSyslogTLS(t *testing.T) {
	// httptest has a certificate for example.com and loopback.
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	certificates := x509.NewCertPool()
	certificates.AddCert(server.Certificate())
	l := tls.NewListener(listen(t, "127.0.0.1:0"), &tls.Config{Certificates: server.TLS.Certificates})

	s := &Syslog{queue: newQueue(), scheme: "tls", address: l.Addr().String(), tls: &tls.Config{ServerName: "example.com", RootCAs: certificates}, pause: time.Second}
	s.start()
	defer s.Close()
	slog.New(s.Handler(slog.LevelInfo)).Warn("over TLS")
	if got := frame(t, accept(t, l)); !strings.HasPrefix(got, "<28>1 ") || !strings.HasSuffix(got, " - - over TLS") {
		t.Errorf("got %q", got)
	}
}

func TestSyslogWriteReadsTextLines(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := dial(t, "tcp://"+l.Addr().String())
	fmt.Fprint(s, "time=2026-11-21T07:30:12.500+01:00 level=WARN msg=hot\nplain words\n")
	r := accept(t, l)
	if got := frame(t, r); !strings.HasPrefix(got, "<28>1 2026-11-21T07:30:12.500000+01:00 ") || !strings.HasSuffix(got, "msg=hot") {
		t.Errorf("got %q", got)
	}
	if got := frame(t, r); !strings.HasPrefix(got, "<30>1 ") || !strings.HasSuffix(got, " - - plain words") {
		t.Errorf("got %q", got)
	}
}

func TestSyslogCollectorThatDoesNotRead(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s, err := Dial("tcp://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(s.Handler(slog.LevelInfo))
	for range 4 * queued { // more than fits into its buffers
		log.Info(strings.Repeat("x", 4000))
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err == nil {
			t.Error("nothing is said of what was lost")
		}
	case <-time.After(patience):
		t.Fatal("does not end")
	}
}

func TestDialRefuses(t *testing.T) {
	for _, bad := range []string{"", "http://h:1", "udp://h", "127.0.0.1:514"} {
		if _, err := Dial(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("time=2026-11-21T07:30:12.500+01:00 level=WARN msg=hot")
	f.Add("level= time=\n\xff\x00\r\n")
	f.Fuzz(func(t *testing.T, line string) {
		at, level := headOf(line)
		m := message(at, level, line, longestDatagram)
		if len(m) > longestDatagram+3 || !header.MatchString(m) {
			t.Errorf("got %q", m)
		}
	})
}

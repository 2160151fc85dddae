package basicagent_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent"
	"github.com/natrix-os/natrix/agent/door/basicagent/gateway"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// enrolled has a terminal enroll and go again, so that it has its certificate.
func (l *lab) enrolled(d *basicagent.Door) *basicagent.Door {
	l.t.Helper()
	at := d.Config.Addresses
	d.Config.Addresses = []netip.AddrPort{l.at}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	wait(l.t, "the terminal to enroll", func() bool { return slices.Contains(l.g.Hosts(), d.Config.ID) })
	cancel()
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
	wait(l.t, "the terminal to go", func() bool { return !slices.Contains(l.g.Hosts(), d.Config.ID) })
	os.Remove(filepath.Join(d.Config.Directory, "last"))
	fresh := l.door()
	fresh.Config, fresh.Timing = d.Config, d.Timing
	fresh.Config.Addresses = at
	return fresh
}

// peer is a server that does as a test tells it, line by line.
type peer struct {
	l       *lab
	at      netip.AddrPort
	mu      sync.Mutex
	times   []time.Time
	refused []error
}

// script is what a peer does with a connection whose init it has heard.
type script func(conn net.Conn, lines *bufio.Reader, first string)

func (l *lab) peer(address string, settings *tls.Config, do script) *peer {
	l.t.Helper()
	if settings == nil {
		pair, err := tls.LoadX509KeyPair(filepath.Join(l.ca.Dir, "server.pem"), filepath.Join(l.ca.Dir, "server-key.pem"))
		if err != nil {
			l.t.Fatal(err)
		}
		settings = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	}
	settings.NextProtos = []string{wire.ALPN}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		l.t.Fatal(err)
	}
	p := &peer{l: l, at: netip.MustParseAddrPort(listener.Addr().String())}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.times = append(p.times, time.Now())
			p.mu.Unlock()
			running.Go(func() { p.serve(tls.Server(conn, settings), do) })
		}
	})
	l.t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return p
}

func (p *peer) serve(conn *tls.Conn, do script) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	lines := bufio.NewReader(conn)
	first, err := lines.ReadString('\n')
	if err != nil {
		p.mu.Lock()
		p.refused = append(p.refused, err)
		p.mu.Unlock()
		return
	}
	do(conn, lines, first)
}

func (p *peer) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.times)
}

func (p *peer) refusals() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.refused)
}

const accept = `{"method":"accept","proto":1,"session":"s","time":1}` + "\n"

// heard is an accepting peer that hands its connection to a test.
func (l *lab) heard() (*peer, chan net.Conn, chan string) {
	conns, firsts := make(chan net.Conn, 16), make(chan string, 16)
	end := make(chan struct{})
	p := l.peer("127.0.0.1:0", nil, func(conn net.Conn, _ *bufio.Reader, first string) {
		fmt.Fprint(conn, accept)
		firsts <- first
		conns <- conn
		<-end
	})
	l.t.Cleanup(func() { close(end) }) // before the peer waits for its connections
	return p, conns, firsts
}

func (l *lab) take(conns chan net.Conn) (net.Conn, *bufio.Reader) {
	l.t.Helper()
	select {
	case c := <-conns:
		c.SetDeadline(time.Now().Add(30 * time.Second))
		return c, bufio.NewReader(c)
	case <-time.After(30 * time.Second):
		l.t.Fatal("no connection")
	}
	return nil, nil
}

// line reads an answer.
func line(t *testing.T, r *bufio.Reader) answer {
	t.Helper()
	text, err := r.ReadString('\n')
	a := answer{raw: text}
	if err == nil {
		err = json.Unmarshal([]byte(text), &a)
	}
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return a
}

func Test01AddressesInOrder(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	_, at := l.serve("127.0.0.3:0", nil)
	port := at.Port()
	var seen []string
	var mu sync.Mutex
	for _, a := range []string{"127.0.0.1", "127.0.0.2"} {
		listener, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(a), port).String())
		if err != nil {
			t.Skipf("port %d is taken: %v", port, err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				seen = append(seen, a)
				mu.Unlock()
				conn.Close()
			}
		}()
	}
	d.Config.Addresses = nil
	for _, a := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		d.Config.Addresses = append(d.Config.Addresses, netip.AddrPortFrom(netip.MustParseAddr(a), port))
	}
	l.run(d)
	wait(t, "the first two to be tried", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) >= 2 })
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen[:2], []string{"127.0.0.1", "127.0.0.2"}) {
		t.Errorf("got %v, want 127.0.0.1, then 127.0.0.2", seen)
	}
	wait(t, "the session with the third", func() bool {
		body, _ := os.ReadFile(filepath.Join(d.Config.Directory, "last"))
		return strings.HasPrefix(string(body), "127.0.0.3:")
	})
}

func Test02InitComesFirst(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p, conns, firsts := l.heard()
	d.Config.Addresses = []netip.AddrPort{p.at}
	l.run(d)
	l.take(conns)
	var got wire.Init
	if err := json.Unmarshal([]byte(<-firsts), &got); err != nil || got.Method != "init" || got.Hostname != d.Config.ID || got.Proto != 1 {
		t.Errorf("got %+v, %v, want init of %s", got, err, d.Config.ID)
	}
}

func Test03Redirect(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	second, at := l.serve("127.0.10.2:0", nil)
	_, first := l.serve("127.0.0.1:0", func(string) string { return fmt.Sprintf("127.0.10.1:%d, %s,", at.Port(), at) })
	d.Config.Addresses = []netip.AddrPort{first}
	l.run(d)
	wait(t, "the terminal at the second target", func() bool { return slices.Contains(second.Hosts(), d.Config.ID) })
}

func Test05RedirectLoop(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	var a, b *peer
	ready := make(chan struct{})
	a = l.peer("127.0.0.1:0", nil, func(conn net.Conn, _ *bufio.Reader, _ string) {
		<-ready
		fmt.Fprintf(conn, `{"method":"redirect","server":"%s"}`+"\n", b.at)
	})
	b = l.peer("127.0.0.1:0", nil, func(conn net.Conn, _ *bufio.Reader, _ string) {
		fmt.Fprintf(conn, `{"method":"redirect","server":"%s"}`+"\n", a.at)
	})
	close(ready)
	d.Config.Addresses = []netip.AddrPort{a.at}
	d.Timing.First, d.Timing.Longest = time.Hour, time.Hour
	l.run(d)
	wait(t, "both to be asked", func() bool { return a.calls() > 0 && b.calls() > 0 })
	if n := a.calls() + b.calls(); n > 4 {
		t.Errorf("got %d connections, want no more than one round's", n)
	}
}

func Test07Framing(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p, conns, _ := l.heard()
	d.Config.Addresses = []netip.AddrPort{p.at}
	l.run(d)
	conn, r := l.take(conns)
	text := `{"id":"split","method":"agent.ping"}` + "\r\n"
	for i := 0; i < len(text); i += 2 {
		fmt.Fprint(conn, text[i:min(i+2, len(text))])
	}
	if a := line(t, r); a.ID != "split" || a.text() != "pong" {
		t.Errorf("got %s", a.raw)
	}
	fmt.Fprint(conn, "\n\r\n"+strings.Repeat("\n", 3))
	var all strings.Builder
	for i := range 5 {
		fmt.Fprintf(&all, `{"id":"one of %d","method":"agent.ping"}`+"\n", i)
	}
	fmt.Fprint(conn, all.String())
	var got []string
	for range 5 {
		got = append(got, line(t, r).ID)
	}
	slices.Sort(got)
	if got[0] != "one of 0" || got[4] != "one of 4" {
		t.Errorf("got %q", got)
	}
	fmt.Fprint(conn, `{"id":"p","method":"ping"}`+"\n")
	if a := line(t, r); a.Message != "pong" || a.Retcode != 0 {
		t.Errorf("ping: got %s", a.raw)
	}
}

func Test08FlatAndNested(t *testing.T) {
	l := newLab(t)
	x := l.join(l.door())
	flat := x.askAs("same", `"method":"getinfo.users","args":"-U root"`)
	other := x.askAs("other", `"method":"getinfo.users","arguments":{"args":"-U root"}`)
	if strings.Replace(other.raw, "other", "same", 1) != flat.raw {
		t.Errorf("got %s and %s", flat.raw, other.raw)
	}
	x.code(wire.InvalidParams, `"method":"getinfo.users","args":"-A","arguments":{"args":"-A"}`)
}

func Test10Silence(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p, conns, _ := l.heard()
	d.Config.Addresses = []netip.AddrPort{p.at}
	d.Timing.Quiet, d.Timing.Silence = 50*time.Millisecond, 500*time.Millisecond
	l.run(d)
	_, r := l.take(conns)
	text, err := r.ReadString('\n')
	if err != nil || !strings.Contains(text, `"method":"ping"`) {
		t.Errorf("got %q, %v, want a ping", text, err)
	}
	for err == nil {
		_, err = r.ReadString('\n')
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the terminal keeps a connection on which nothing comes")
	}
}

func Test19Duplicates(t *testing.T) {
	x := commander(t, full)
	file := filepath.Join(t.TempDir(), "runs")
	script := fmt.Sprintf(`"method":"sync.bash","cmd":"echo run >> %s; echo done"`, file)
	first, second := x.askAs("one", "%s", script), x.askAs("one", "%s", script)
	if first.Duplicate || !second.Duplicate || second.text() != "done\n" {
		t.Errorf("got %s and %s", first.raw, second.raw)
	}
	if body, _ := os.ReadFile(file); string(body) != "run\n" {
		t.Errorf("got %q, want one run", body)
	}
}

func Test22Periodic(t *testing.T) {
	p := full
	l := newLab(t)
	needRoot(t)
	d := l.withPolicy(l.door(), p)
	d.Config.AllowPeriodic = true
	x := l.join(d)
	file := filepath.Join(t.TempDir(), "ticks")
	x.code(0, `"method":"cron.set","name":"tick","schedule":"*/2 * * * * ?","cmd":"date +%%s >> %s"`, file)
	for schedule, want := range map[string]wire.Code{
		"0 0 0 20 * ?": 0, "0 0 0 ? * 7": 0, "0 0 0 ? jan-mar mon-fri": 0,
		"0 0 0 20 * 1": wire.InvalidSchedule, "0 0 0 ? * ?": wire.InvalidSchedule, "0 0 * * *": wire.InvalidSchedule,
		"0 0 23-7/2 * * ?": wire.InvalidSchedule, "0 0 0 30 feb ?": wire.InvalidSchedule, "? * * * * *": wire.InvalidSchedule,
	} {
		x.code(want, `"method":"cron.set","name":"other","schedule":%q,"cmd":"true"`, schedule)
	}
	wait(t, "a tick", func() bool { body, _ := os.ReadFile(file); return len(body) > 0 })
	x.code(0, `"method":"cron.remove","name":"tick"`)
	x.code(wire.NoSuchTask, `"method":"cron.remove","name":"tick"`)
}

func Test23Users(t *testing.T) {
	l := newLab(t)
	x := l.join(l.door())
	count := func(args string) int {
		var u struct{ Count int }
		if a := x.ask(`"method":"info.users","args":%q`, args); json.Unmarshal(a.Data, &u) != nil {
			t.Errorf("%s: got %s", args, a.raw)
		}
		return u.Count
	}
	if all, ordinary, system := count("-A"), count("-u"), count("-S"); all == 0 || all != ordinary+system {
		t.Errorf("got %d, of them %d and %d", all, ordinary, system)
	}
	if n := count("-U nosuchuser"); n != 0 {
		t.Errorf("got %d users that there are not", n)
	}
	x.code(wire.InvalidParams, `"method":"getinfo.users","args":"-A -u"`)
	x.code(wire.UnknownMethod, `"method":"getinfo.nothing"`)
	x.code(wire.UnknownMethod, `"method":"daemon.init"`)
	for _, subject := range []string{"memory", "disk", "net", "host", "agent", "clock"} {
		x.code(0, `"method":"getinfo.%s"`, subject)
	}
}

func Test25FanOut(t *testing.T) {
	l := newLab(t)
	a, b := l.join(l.door()), l.join(l.door())
	body := fmt.Sprintf(`{"id":"all","hosts":[%q,"nobody",%q],"method":"agent.ping"}`, a.id, b.id)
	s, err := l.g.FanOut(t.Context(), []byte(body))
	if err != nil || s.Retcode != int(wire.SomeFailed) || len(s.Response) != 3 {
		t.Fatalf("got %+v, %v", s, err)
	}
	if got := string(s.Response[1]); !strings.Contains(got, `"retcode":203`) || !strings.Contains(got, `"No such host"`) || !strings.Contains(got, `"host":"nobody"`) {
		t.Errorf("got %s", got)
	}
	for _, i := range []int{0, 2} {
		if got := string(s.Response[i]); !strings.Contains(got, `"pong"`) {
			t.Errorf("got %s", got)
		}
	}
}

// forged is a server certificate for the name, by an authority of its own.
func forged(t *testing.T, name string) tls.Certificate {
	t.Helper()
	ca, err := gateway.Create(filepath.Join(t.TempDir(), "ca"), name)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(ca.Dir, "server.pem"), filepath.Join(ca.Dir, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// signedBy is a certificate of the lab's authority that is not as it should be.
func (l *lab) signedBy(change func(*x509.Certificate)) tls.Certificate {
	l.t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(l.ca.Dir, "ca.pem"), filepath.Join(l.ca.Dir, "ca-key.pem"))
	if err != nil {
		l.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(c)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		l.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAbuse01And02ServerThatIsNot(t *testing.T) {
	l := newLab(t)
	base := l.enrolled(l.door())
	for _, test := range []struct {
		name     string
		settings *tls.Config
	}{
		{"another authority", &tls.Config{Certificates: []tls.Certificate{forged(t, serverName)}}},
		{"another name", &tls.Config{Certificates: []tls.Certificate{l.signedBy(func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} })}}},
		{"a terminal's certificate", &tls.Config{Certificates: []tls.Certificate{l.signedBy(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })}}},
		{"expired", &tls.Config{Certificates: []tls.Certificate{l.signedBy(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}}},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{l.signedBy(func(*x509.Certificate) {})}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inner := *l
			inner.t = t
			p := inner.peer("127.0.0.1:0", test.settings, func(_ net.Conn, _ *bufio.Reader, first string) {
				t.Errorf("an init came: %s", first)
			})
			d := inner.door()
			d.Config = base.Config
			d.Config.Addresses = []netip.AddrPort{p.at}
			inner.run(d)
			wait(t, "refusals", func() bool { return p.refusals() >= 2 })
		})
	}
}

func TestAbuse04Certificate(t *testing.T) {
	l := newLab(t)
	a, b := l.enrolled(l.door()), l.enrolled(l.door())
	a.Config.ID = b.Config.ID // the certificate of one, the name of the other
	a.Config.Addresses = []netip.AddrPort{l.at}
	l.run(a)
	pair, err := tls.LoadX509KeyPair(filepath.Join(a.Config.Directory, "cert.pem"), filepath.Join(a.Config.Directory, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, certificates := range map[string][]tls.Certificate{"none": nil, "of another": {pair}} {
		conn, err := tls.Dial("tcp", l.at.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{wire.ALPN}, Certificates: certificates})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, `{"method":"init","hostname":%q}`+"\n", b.Config.ID)
		text, _ := bufio.NewReader(conn).ReadString('\n')
		if !strings.Contains(text, `"retcode":105`) {
			t.Errorf("certificate %s: got %q, want 105", name, text)
		}
	}
	if got := l.g.Hosts(); len(got) != 0 {
		t.Errorf("got %v, want nobody", got)
	}
}

func TestAbuse10Lines(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p, conns, _ := l.heard()
	d.Config.Addresses = []netip.AddrPort{p.at}
	l.run(d)
	for name, test := range map[string]struct {
		text string
		want wire.Code
	}{
		"no end":         {strings.Repeat("x", wire.ToAgent+100), wire.TooLarge},
		"deep":           {`{"id":"x","method":"agent.ping","a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}", wire.Malformed},
		"twice":          {`{"id":"x","method":"sync.bash","cmd":"id","user":"nobody","user":"root"}`, wire.Malformed},
		"lone surrogate": {`{"id":"\ud800","method":"agent.ping"}`, wire.Malformed},
		"NaN":            {`{"id":"x","method":"agent.ping","a":NaN}`, wire.Malformed},
		"BOM":            {"\xef\xbb\xbf" + `{"id":"x","method":"agent.ping"}`, wire.Malformed},
		"not UTF-8":      {"{\"id\":\"\xff\",\"method\":\"agent.ping\"}", wire.Malformed},
		"list":           {`[]`, wire.Malformed},
	} {
		conn, r := l.take(conns)
		fmt.Fprint(conn, test.text+"\n")
		if a := line(t, r); a.Retcode != int(test.want) {
			t.Errorf("%s: got %s, want %d", name, a.raw, int(test.want))
		}
		if _, err := r.ReadString('\n'); err == nil {
			t.Errorf("%s: the connection goes on", name)
		}
	}
}

func TestAbuse11SlowSender(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p, conns, _ := l.heard()
	d.Config.Addresses = []netip.AddrPort{p.at}
	d.Timing.Line = 300 * time.Millisecond
	l.run(d)
	conn, r := l.take(conns)
	fmt.Fprint(conn, `{"id":"slow`)
	_, err := r.ReadString('\n')
	if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() {
		t.Errorf("got %v, want the end of the connection", err)
	}
}

func TestAbuse12Identifiers(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p, conns, _ := l.heard()
	d.Config.Addresses = []netip.AddrPort{p.at}
	l.run(d)
	conn, r := l.take(conns)
	for id, want := range map[string]wire.Code{
		`"` + strings.Repeat("x", 128) + `"`: wire.Malformed, `"a\u0007"`: wire.Malformed, `7`: wire.Malformed, `""`: wire.MissingID,
	} {
		fmt.Fprintf(conn, `{"id":%s,"method":"agent.ping"}`+"\n", id)
		if a := line(t, r); a.Retcode != int(want) {
			t.Errorf("%s: got %s, want %d", id, a.raw, int(want))
		}
	}
	fmt.Fprint(conn, `{"method":"agent.ping"}`+"\n")
	if a := line(t, r); a.Retcode != int(wire.MissingID) {
		t.Errorf("no id: got %s", a.raw)
	}
}

func TestAbuse21Enrollment(t *testing.T) {
	l := newLab(t)
	d := l.door()
	token, _ := os.ReadFile(filepath.Join(d.Config.Directory, "token"))
	l.join(d)
	if _, err := os.Stat(filepath.Join(d.Config.Directory, "token")); err == nil {
		t.Error("the token is still there")
	}
	for _, again := range []string{string(token), "guess"} {
		other := l.door()
		other.Config.ID = d.Config.ID
		l.write(other.Config, "token", again)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		other.Run(ctx)
		cancel()
		if _, err := os.Stat(filepath.Join(other.Config.Directory, "cert.pem")); err == nil {
			t.Errorf("token %q enrolled again", again)
		}
	}
	other := l.door()
	for range 5 {
		if err := redeem(l, other.Config.ID, "guess"); !strings.Contains(err, `"retcode":105`) {
			t.Errorf("a guess: got %s, want 105", err)
		}
	}
	token, _ = os.ReadFile(filepath.Join(other.Config.Directory, "token"))
	if got := redeem(l, other.Config.ID, string(token)); !strings.Contains(got, `"retcode":105`) {
		t.Errorf("the token after five guesses: got %s, want 105", got)
	}
}

// redeem sends a token, and returns the answer.
func redeem(l *lab, id, token string) string {
	conn, err := tls.Dial("tcp", l.at.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{wire.ALPN}})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	fmt.Fprintf(conn, `{"method":"enroll","id":"e","hostname":%q,"token":%q,"csr":"x"}`+"\n", id, token)
	text, _ := bufio.NewReader(conn).ReadString('\n')
	return text
}

func TestAbuse22Flood(t *testing.T) {
	l := newLab(t)
	d := l.enrolled(l.door())
	p := l.peer("127.0.0.1:0", nil, func(conn net.Conn, _ *bufio.Reader, _ string) {
		fmt.Fprint(conn, `{"resp":"failed","retcode":105,"message":"Not authorized"}`+"\n")
	})
	d.Config.Addresses = []netip.AddrPort{p.at}
	d.Timing.First, d.Timing.Longest = time.Hour, time.Hour
	l.run(d)
	wait(t, "a refusal", func() bool { return p.calls() > 0 })
	time.Sleep(200 * time.Millisecond) // time to do wrong
	if n := p.calls(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}

package rtstat

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/sysinfo"
)

// patienceMost is for what has to come, however busy the machine is.
const patienceMost = 20 * time.Second

// door is a running live door.
type door struct {
	*Server
	page, raw string // where it listens
	cut       func() // closes the connections to page that there are
}

// cutter is a listener that remembers its connections.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// open runs a live door on the loopback until the test ends.
func open(t testing.TB, c config.Live, definitions ...command.Definition) door {
	t.Helper()
	page, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Config: c, Core: command.NewSet(definitions...), Sampler: sysinfo.NewSampler(sysinfo.Machine{}, 200*time.Millisecond),
		Version: "0.0.1", Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s.begin()
	cuts := &cutter{Listener: page}
	go func() { ended <- s.serveOn(ctx, cuts, raw) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the door ended with %v", err)
			}
		case <-time.After(patienceMost):
			t.Error("the door does not end")
		}
	})
	return door{s, page.Addr().String(), raw.Addr().String(), cuts.cut}
}

// peer is a client of the protocol.
type peer interface {
	say(message string) // as it is
	next() (string, error)
	close()
}

type webPeer struct {
	t testing.TB
	*websocket.Conn
}

func (p webPeer) say(message string) {
	p.t.Helper()
	if err := p.Write(p.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		p.t.Fatalf("say %q: %v", message, err)
	}
}

func (p webPeer) next() (string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patienceMost)
	defer cancel()
	_, m, err := p.Read(ctx)
	return string(m), err
}

func (p webPeer) close() { p.CloseNow() }

type rawPeer struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (p rawPeer) say(message string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, message+"\n"); err != nil {
		p.t.Fatalf("say %q: %v", message, err)
	}
}

func (p rawPeer) next() (string, error) {
	p.SetReadDeadline(time.Now().Add(patienceMost))
	return p.in.ReadString('\n')
}

func (p rawPeer) close() { p.Conn.Close() }

func (d door) web(t testing.TB, path string, header http.Header) (webPeer, error) {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+d.page+path, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return webPeer{}, err
	}
	c.SetReadLimit(1 << 20)
	t.Cleanup(func() { c.CloseNow() })
	return webPeer{t, c}, nil
}

// dial connects over a transport and takes the greeting.
func (d door) dial(t testing.TB, transport string) peer {
	t.Helper()
	var p peer
	if transport == "raw" {
		c, err := net.Dial("tcp", d.raw)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		p = rawPeer{t, c, bufio.NewReader(c)}
	} else {
		web, err := d.web(t, "/any/path?at=all", nil)
		if err != nil {
			t.Fatal(err)
		}
		p = web
	}
	want(t, p, "Welcome::Rt-Stat v.0.3.1\n")
	return p
}

func want(t testing.TB, p peer, message string) {
	t.Helper()
	if got, err := p.next(); got != message || err != nil {
		t.Fatalf("got %q, %v, want %q", got, err, message)
	}
}

// both runs a test over each transport.
func both(t *testing.T, c config.Live, test func(*testing.T, door, peer)) {
	for _, transport := range []string{"raw", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d := open(t, c)
			test(t, d, d.dial(t, transport))
		})
	}
}

const version = "Version::0.3.1\n"

func TestAnswers(t *testing.T) {
	both(t, config.Live{}, func(t *testing.T, _ door, p peer) {
		for _, test := range []struct{ say, want string }{
			{"version", version},
			{"VeRsIoN", version},
			{"version::", version},
			{"version::x::y", version},
			{" \t version\r", version},
			{"version:", "Error::Unknown command\n"},
			{"version:version", "Error::Unknown command\n"},
			{"nonsense::x", "Error::Unknown command\n"},
			{" ", "Error::Unknown command\n"},
			{"é", "Error::Unknown command\n"},
			{"start", "Error::Interval is not set\n"},
			{"start::", "Error::Interval is not set\n"},
			{"stop", "Error::Not started\n"},
			{"interval", "Error::Interval command has 1 required parameter: int interval (not set)\n"},
			{"interval::", "Error::Interval command has 1 required parameter: int interval (not set)\n"},
			{"interval::abc", "Error::Interval command has 1 required parameter: int interval (not positive float)\n"},
			{"interval::0", "Error::Interval command has 1 required parameter: int interval (not positive float)\n"},
			{"interval::NaN", "Error::Interval command has 1 required parameter: int interval (not positive float)\n"},
			{"interval::1e400", "Error::Interval command has 1 required parameter: int interval (not positive float)\n"},
			{"interval::0.49", "Error::Interval command has must be equal or greater than 0.5\n"},
			{"interval::-1", "Error::Interval command has must be equal or greater than 0.5\n"},
			{"auth", "Error::Auth command has 1 required parameter: string token (not set)\n"},
			{"auth::", "Error::Auth command has 1 required parameter: string token (not set)\n"},
			{"auth::x", "Error::Auth failed\n"},
			{"interval::3600", ""},
			{"start", ""},
			{"start", "Error::Already started\n"},
			{"interval::7200", ""},
			{"pong::", ""},
			{"stop", ""},
			{"stop", "Error::Not started\n"},
			{"version", version},
		} {
			p.say(test.say)
			if test.want == "" {
				continue // success is silent: what comes next answers the next
			}
			if got, err := p.next(); got != test.want || err != nil {
				t.Fatalf("%q: got %q, %v, want %q", test.say, got, err, test.want)
			}
		}
	})
}

func TestQuit(t *testing.T) {
	for _, word := range []string{"quit", "exit", "QUIT::", "exit::now"} {
		both(t, config.Live{Token: "t"}, func(t *testing.T, d door, p peer) {
			p.say(word)
			m, err := p.next()
			if code := websocket.CloseStatus(err); err == nil || code >= 0 && code != websocket.StatusNormalClosure {
				t.Errorf("after %s: got %q, %v, want a polite end", word, m, err)
			}
		})
	}
}

func TestToken(t *testing.T) {
	both(t, config.Live{Token: `10\a::b`}, func(t *testing.T, _ door, p peer) {
		const wrong = "Error::Auth failed\n"
		for _, test := range []struct{ say, want string }{
			{"version", version},
			{"nonsense", "Error::Unknown command\n"},
			{"interval", "Error::Not authorized\n"},
			{"start", "Error::Not authorized\n"},
			{"stop", "Error::Not authorized\n"},
			{"history", "Error::Not authorized\n"},
			{"run::{}", "Error::Not authorized\n"},
			{`auth::10.0`, wrong},
			{`auth::10\\a::b`, wrong},
			{`auth::::10`, wrong},
			{`AUTH::10\\a\::b::more`, ""},
			{"interval::3600", ""},
			{"start::", ""},
			{"start::", "Error::Already started\n"},
			{"auth::wrong", wrong},
			{"stop", "Error::Not authorized\n"},
			{`auth::10\\a\::b`, ""},
			{"stop", "Error::Not started\n"}, // who fails is pushed nothing more
		} {
			p.say(test.say)
			if test.want == "" {
				continue
			}
			if got, err := p.next(); got != test.want || err != nil {
				t.Fatalf("%q: got %q, %v, want %q", test.say, got, err, test.want)
			}
		}
	})
}

func TestGuessingIsSlowAndEnds(t *testing.T) {
	both(t, config.Live{Token: "secret"}, func(t *testing.T, d door, p peer) {
		for range failuresMax {
			p.say("auth::guess")
			want(t, p, "Error::Auth failed\n")
		}
		if m, err := p.next(); err == nil {
			t.Errorf("after %d guesses: got %q, want the end", failuresMax, m)
		}
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+d.page+"/api/v1/snapshot", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			d.gate.missed(sender(d.raw)) // 127.0.0.1, like the peer
		}
		r.Header.Set("Authorization", "Bearer guess")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusTooManyRequests {
			t.Errorf("further guesses of that address: got %s, want 429", answer.Status)
		}
	})
}

// pushWire is what a push has to hold, and what it may.
type pushWire struct {
	CPU       map[string]struct{ Usage, User, System, IOWait *float64 } `json:"cpu_stat"`
	Memory    meminfo                                                   `json:"meminfo"`
	Processes *processCounts                                            `json:"processes"`
	Uptime    *uptimeWords                                              `json:"uptime"`
}

// decodeAsClients reads a push as the README of Rt-Stat has it, and as the
// original's client.js does, which cuts at every "::".
func decodeAsClients(t *testing.T, message string) pushWire {
	t.Helper()
	body, found := strings.CutPrefix(message, "Push::")
	if !found || !strings.HasSuffix(body, "\n") || strings.Contains(body, "::") {
		t.Fatalf("not a push that every client can read: %q", message)
	}
	args := arguments(strings.TrimSuffix(body, "\n"))
	var p pushWire
	if err := json.Unmarshal([]byte(args[0]), &p); err != nil || len(args) != 1 {
		t.Fatalf("%d arguments, %v in %q", len(args), err, args[0])
	}
	return p
}

func TestPushes(t *testing.T) {
	both(t, config.Live{}, func(t *testing.T, _ door, p peer) {
		p.say("interval::0.5")
		begin := time.Now()
		p.say("start::")
		m, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if first := time.Since(begin); first < 450*time.Millisecond {
			t.Errorf("the first push came after %v, want an interval", first)
		}
		got := decodeAsClients(t, m)
		for range 2 {
			if m, err = p.next(); err != nil {
				t.Fatal(err)
			}
		}
		if all := time.Since(begin); all < 1400*time.Millisecond {
			t.Errorf("three pushes in %v, want an interval before each", all)
		}
		got = decodeAsClients(t, m)
		examine(t, got)

		p.say("stop")
		p.say("version")
		for m != version { // what was on its way
			if m, err = p.next(); err != nil {
				t.Fatal(err)
			}
		}
		p.say("interval::0.6")
		p.say("start")
		if m, err = p.next(); !strings.HasPrefix(m, "Push::") {
			t.Errorf("started again: got %.40q, %v", m, err)
		}
	})
}

func examine(t *testing.T, got pushWire) {
	t.Helper()
	stat, err := sysinfo.Machine{}.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.CPU) != len(stat.Cores) {
		t.Errorf("got %d processors, want %d", len(got.CPU), len(stat.Cores))
	}
	for name, c := range got.CPU {
		if !regexp.MustCompile(`^cpu\d+$`).MatchString(name) {
			t.Errorf("a processor is called %q", name)
		}
		for _, v := range []*float64{c.Usage, c.User, c.System, c.IOWait} {
			if v == nil || *v < 0 || *v > 1 {
				t.Errorf("%s: %v is no share", name, v)
			}
		}
	}
	m, s := got.Memory.Memory, got.Memory.Swap
	now, err := sysinfo.Machine{}.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if m.Total != now.Total>>10 || m.Used != m.Total-m.Free || s.Total != now.SwapTotal>>10 || s.Used != s.Total-s.Free {
		t.Errorf("memory %+v, swap %+v of a machine with %d KiB", m, s, now.Total>>10)
	}
	if m.Apps > m.Total-m.Free-m.Cached || m.Apps+m.Free+m.Buffers+m.Cached+m.SwapCached > m.Total+2 {
		t.Errorf("memory does not add up: %+v", m)
	}
	if p := got.Processes; p == nil || p.All != p.Running+p.Sleep+p.Stopped+p.Zombie || p.Sleep < 1 {
		t.Errorf("processes: %+v", p)
	}
	if u := got.Uptime; u == nil || !regexp.MustCompile(`^\d\d:\d\d:\d\d$`).MatchString(u.Time) || !regexp.MustCompile(`^\d+\.\d\d$`).MatchString(u.Quart) || u.Uptime == "" || u.Users == "" {
		t.Errorf("uptime: %+v", u)
	}
}

func TestPushHasTheOrdersOfTheOriginal(t *testing.T) {
	d := open(t, config.Live{})
	p := d.dial(t, "websocket")
	p.say("interval::0.5")
	p.say("start::")
	m, err := p.next()
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	decoder := json.NewDecoder(strings.NewReader(arguments(strings.TrimPrefix(m, "Push::"))[0]))
	decoder.Token()
	for decoder.More() {
		key, _ := decoder.Token()
		keys = append(keys, fmt.Sprint(key))
		var skipped json.RawMessage
		if err := decoder.Decode(&skipped); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"cpu_stat", "meminfo", "processes", "uptime", "net", "disk", "temp", "probes", "broker"}; !slices.Equal(keys, want) {
		t.Errorf("got %q, want %q", keys, want)
	}
}

func TestRawFraming(t *testing.T) {
	t.Parallel()
	d := open(t, config.Live{})
	c, err := net.Dial("tcp", d.raw)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := rawPeer{t, c, bufio.NewReader(c)}
	want(t, p, "Welcome::Rt-Stat v.0.3.1\n")
	for _, test := range []struct {
		pieces []string
		want   []string
	}{
		{[]string{"version\nVERSION\r\nx\n"}, []string{version, version, "Error::Unknown command\n"}},
		{[]string{"\n"}, []string{"Error::Unknown command\n"}},
		{[]string{"\xff\xfe\n"}, []string{"Error::Unknown command\n"}},
		{[]string{"version"}, []string{version}}, // nothing follows for a while
		{[]string{"ver", "sion\n"}, []string{version}},
		{[]string{strings.Repeat("x", lineMost-1) + "\n"}, []string{"Error::Unknown command\n"}},
		{[]string{strings.Repeat("x", 1<<20)}, []string{"Error::Unknown message\n"}},
	} {
		for _, piece := range test.pieces {
			if _, err := io.WriteString(c, piece); err != nil && len(piece) < lineMost {
				t.Fatal(err)
			}
		}
		for _, answer := range test.want {
			want(t, p, answer)
		}
	}
	if m, err := p.next(); err == nil {
		t.Errorf("after too long a line: got %q, want the end", m)
	}
}

func TestWebSocketFraming(t *testing.T) {
	t.Parallel()
	d := open(t, config.Live{})
	p := d.dial(t, "websocket").(webPeer)
	p.say("")
	want(t, p, "Error::Unknown message\n")
	p.say("version\nversion")
	want(t, p, "Error::Unknown command\n")
	w, err := p.Writer(t.Context(), websocket.MessageBinary) // in fragments, and not text
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "ver")
	io.WriteString(w, "sion")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, p, version)
	p.say(strings.Repeat("x", messageMost))
	want(t, p, "Error::Unknown command\n")

	for message, code := range map[string]websocket.StatusCode{
		"\xff\xfe":                         websocket.StatusInvalidFramePayloadData,
		strings.Repeat("x", messageMost+1): websocket.StatusMessageTooBig,
	} {
		p := d.dial(t, "websocket").(webPeer)
		p.say(message)
		if _, err := p.next(); websocket.CloseStatus(err) != code {
			t.Errorf("%.4q: got %v, want close %d", message, err, code)
		}
	}
}

func TestMaxClients(t *testing.T) {
	t.Parallel()
	d := open(t, config.Live{Clients: 1})
	first := d.dial(t, "raw")
	over, err := d.web(t, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := over.next(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("one too many: got %q, %v, want close 1000", m, err)
	}
	c, err := net.Dial("tcp", d.raw)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("one too many: got %q, want nothing", b)
	}
	first.close()
	for deadline := time.Now().Add(patienceMost); d.gate.count() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place is not given back")
		}
	}
	d.dial(t, "websocket")
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	d := open(t, config.Live{Origins: []string{"monitor.example.com"}})
	for origin, want := range map[string]bool{
		"http://" + d.page:                 true,
		"https://monitor.example.com":      true,
		"":                                 true, // not a browser
		"https://evil.example.com":         false,
		"http://127.0.0.1:1":               false,
		"null":                             false,
		"https://monitor.example.com.evil": false,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		p, err := d.web(t, "/", header)
		if (err == nil) != want {
			t.Errorf("origin %q: got %v, want that it may is %v", origin, err, want)
		}
		if err == nil {
			p.close()
		}
	}
}

func TestSlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	d := open(t, config.Live{})
	slow := d.dial(t, "raw")
	slow.say("interval::0.5\nstart::")
	quick := d.dial(t, "websocket")
	quick.say("interval::0.5")
	quick.say("start")
	for range 3 {
		if m, err := quick.next(); !strings.HasPrefix(m, "Push::") {
			t.Fatalf("got %.40q, %v", m, err)
		}
	}
}

func TestHistoryAndSnapshot(t *testing.T) {
	t.Parallel()
	d := open(t, config.Live{Token: "secret"})
	for path, status := range map[string]int{"/": 200, "/api/v1/history": 401, "/api/v1/snapshot": 401, "/metrics": 401, "/probe?target=x": 401} {
		if got := d.get(t, path, ""); got.StatusCode != status {
			t.Errorf("%s without the token: got %s, want %d", path, got.Status, status)
		}
	}
	got := d.get(t, "/api/v1/snapshot", "secret")
	var now map[string]any
	if err := json.NewDecoder(got.Body).Decode(&now); err != nil {
		t.Fatal(err)
	}
	if keys := slices.Sorted(maps.Keys(now)); !slices.Contains(keys, "meminfo") || !slices.Contains(keys, "net") {
		t.Errorf("got %q", keys)
	}
	p := d.dial(t, "websocket")
	p.say("auth::secret")
	p.say("history::")
	m, err := p.next()
	if err != nil {
		t.Fatal(err)
	}
	var c chronicle
	if err := json.Unmarshal([]byte(arguments(strings.TrimPrefix(m, "History::"))[0]), &c); err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if c.Version != "0.0.1" || c.Hostname != host || len(c.Points) == 0 {
		t.Errorf("got %+v", c)
	}
}

func (d door) get(t testing.TB, path, token string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+d.page+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

package basicagent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

const hopsMost = 3 // redirects that are followed in a round

// round tries the addresses one after another until a session comes about, and
// returns how long that lasted and why it ended.
func (d *Door) round(ctx context.Context) (lasted time.Duration, err error) {
	if err := d.enroll(ctx); err != nil {
		return 0, err
	}
	list := d.addresses(ctx)
	if len(list) == 0 {
		return 0, errors.New("no address of a server is known")
	}
	v := visit{door: d, seen: make(map[netip.AddrPort]bool)}
	var problems []error
	for _, a := range list {
		begun, err := v.try(ctx, a)
		if !begun.IsZero() || ctx.Err() != nil {
			return time.Since(begun), err
		}
		problems = append(problems, err)
	}
	return 0, errors.Join(problems...)
}

// visit is one round through the addresses.
type visit struct {
	door *Door
	seen map[netip.AddrPort]bool
	hops int
}

// try has a session with the server at an address, or with one that it sends
// the terminal to. The time is that of the session's begin, zero if there was
// none.
func (v *visit) try(ctx context.Context, a netip.AddrPort) (time.Time, error) {
	if v.seen[a] {
		return time.Time{}, errLoop(a)
	}
	v.seen[a] = true
	d := v.door
	conn, err := d.dial(ctx, a)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	greeting, err := d.greet(conn)
	if err != nil {
		return time.Time{}, fmt.Errorf("init at %s: %w", a, err)
	}
	switch greeting.Method {
	case "accept":
		begun := time.Now()
		return begun, d.serve(ctx, conn, a, greeting)
	case "redirect":
		conn.Close()
		return v.follow(ctx, a, greeting.Server)
	}
	err = fmt.Errorf("init at %s: %w", a, wire.Fail(wire.Code(greeting.Retcode), "%.200q", greeting.Message))
	if greeting.RetryAfter > 0 {
		err = &retryError{time.Duration(greeting.RetryAfter) * time.Second, err}
	}
	return time.Time{}, err
}

// follow tries the targets of a redirect in their order.
func (v *visit) follow(ctx context.Context, from netip.AddrPort, list string) (time.Time, error) {
	d := v.door
	if v.hops++; v.hops > hopsMost {
		return time.Time{}, wire.Fail(wire.TooManyRedirects, "%s sends on for the %dth time", from, v.hops)
	}
	to, err := targets(list, from, d.Config.RedirectAllow)
	if err != nil {
		return time.Time{}, fmt.Errorf("redirect by %s: %w", from, err)
	}
	d.Log.Info("redirected", "dst", from, "to", list)
	var problems []error
	for _, a := range to {
		begun, err := v.try(ctx, a)
		if !begun.IsZero() || ctx.Err() != nil {
			return begun, err
		}
		problems = append(problems, err)
	}
	return time.Time{}, errors.Join(problems...)
}

// dial opens a connection, up to TLS. In TLS 1.3 that does not yet say that the
// server takes the terminal's certificate: the answer to init does (RFC 8446,
// 4.4.2.4).
func (d *Door) dial(ctx context.Context, a netip.AddrPort) (*wire.Conn, error) {
	settings, err := d.files().tls(d.Config, true)
	if err != nil {
		return nil, err
	}
	return d.connect(ctx, a, settings)
}

func (d *Door) connect(ctx context.Context, a netip.AddrPort, settings *tls.Config) (*wire.Conn, error) {
	plain, err := (&net.Dialer{Timeout: d.Timing.Connect, Control: userTimeout}).DialContext(ctx, "tcp", a.String())
	if err != nil {
		return nil, err
	}
	if d.Config.LegacyPlainInit {
		if err := d.plainInit(plain); err != nil {
			plain.Close()
			return nil, err
		}
	}
	secure := tls.Client(plain, settings)
	limited, cancel := context.WithTimeout(ctx, d.Timing.Init)
	defer cancel()
	if err := secure.HandshakeContext(limited); err != nil {
		plain.Close()
		return nil, fmt.Errorf("TLS with %s: %w", a, err)
	}
	if secure.ConnectionState().NegotiatedProtocol != wire.ALPN {
		plain.Close()
		return nil, fmt.Errorf("TLS with %s: it does not speak %s", a, wire.ALPN)
	}
	return wire.NewConn(secure, wire.ToAgent, d.Timing.Timing), nil
}

// plainInit is init in clear before TLS, as the oldest servers want it; nothing
// else ever goes in clear. Its answer is heard, and init comes again in TLS.
func (d *Door) plainInit(plain net.Conn) error {
	c := wire.NewConn(plain, wire.ToAgent, d.Timing.Timing)
	if err := c.Send(wire.Init{Method: "init", Hostname: d.Config.ID}); err != nil {
		return err
	}
	_, err := c.ReadLine(d.Timing.Init)
	return err
}

// greet says who the terminal is, and returns what the server makes of it.
func (d *Door) greet(conn *wire.Conn) (wire.Greeting, error) {
	var g wire.Greeting
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" is left out
	err := conn.Send(wire.Init{
		Method: "init", Hostname: d.Config.ID, Proto: wire.Proto, Agent: d.Version,
		OS: runtime.GOOS, Arch: runtime.GOARCH, BootID: strings.TrimSpace(string(boot)), Features: d.features(),
	})
	if err != nil {
		return g, err
	}
	line, err := conn.ReadLine(d.Timing.Init)
	if err != nil {
		return g, err
	}
	if _, err := wire.Object(line); err != nil {
		return g, err
	}
	if err := json.Unmarshal(line, &g); err != nil {
		return g, wire.Fail(wire.Malformed, "%v", err)
	}
	if g.Method == "accept" && g.Proto > wire.Proto {
		return g, wire.Fail(wire.UnsupportedProto, "%d", g.Proto)
	}
	return g, nil
}

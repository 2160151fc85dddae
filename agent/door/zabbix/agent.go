package zabbix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const agentTimeout = 4 * time.Second

// agent asks the agent of a host for an item, or the terminal itself if the
// host's agent would be that of this machine.
func (p *proxy) agent(ctx context.Context, it *item) (string, error) {
	if strings.HasPrefix(it.key.name, "natrix.") {
		return p.natrix(ctx, it.key)
	}
	if it.iface == nil {
		return "", unsupported("the item has no interface")
	}
	if p.own(it.iface) {
		p.states.note(it.iface.id, nil)
		return p.self(ctx, it.key)
	}
	if !p.states.may(it.iface.id) {
		return "", errUnreachable{errors.New("the interface is unreachable")}
	}
	text, err := askAgent(ctx, it.iface, it.keyText)
	var network errUnreachable
	if !errors.As(err, &network) {
		p.states.note(it.iface.id, nil)
		return text, err
	}
	if ctx.Err() == nil {
		p.states.note(it.iface.id, network)
	}
	return "", err
}

// own says whether an interface is the agent of this machine.
func (p *proxy) own(i *hostInterface) bool {
	if i.port != strconv.Itoa(p.Config.Agent) {
		return false
	}
	addr, err := netip.ParseAddr(i.conn())
	if err != nil {
		return false
	}
	if addr.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == addr.WithZone("") {
			return true
		}
	}
	return false
}

// askAgent is a passive check ("Passive and active agent checks", Zabbix
// manual): a key goes out, a value comes back, or NUL and a reason.
func askAgent(ctx context.Context, i *hostInterface, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	conn, done, err := connect(ctx, "tcp", net.JoinHostPort(i.conn(), i.port))
	if err != nil {
		return "", errUnreachable{fmt.Errorf("Get value from agent failed: cannot connect to [[%s]:%s]: %s", i.conn(), i.port, cause(err))}
	}
	defer done()
	if err := writeFrame(conn, []byte(key), false); err != nil {
		return "", errUnreachable{fmt.Errorf("Get value from agent failed: cannot send to [[%s]:%s]: %s", i.conn(), i.port, cause(err))}
	}
	answer, _, err := readAgent(conn)
	switch {
	case errors.Is(err, io.EOF):
		return "", errUnreachable{errors.New("Received empty response from Zabbix Agent. Assuming that agent dropped connection because of access permissions.")}
	case err != nil:
		return "", errUnreachable{fmt.Errorf("Get value from agent failed: %s", cause(err))}
	}
	if reason, is := strings.CutPrefix(string(answer), "ZBX_NOTSUPPORTED"); is {
		if reason = strings.Trim(reason, "\x00"); reason == "" {
			reason = "Not supported by Zabbix Agent"
		}
		return "", errors.New(reason)
	}
	return strings.TrimRight(string(answer), " \r\n"), nil
}

func readAgent(r io.Reader) ([]byte, bool, error) { return readFrame(r, limit{1 << 20, 1 << 20}) }

// cause is an error of the network as Zabbix shows it: with its number.
func cause(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text := errno.Error()
		return fmt.Sprintf("[%d] %s", int(errno), strings.ToUpper(text[:1])+text[1:])
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "timed out"
	}
	return err.Error()
}

package zabbix

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
)

const serviceTimeout = 4 * time.Second // Zabbix's Timeout, by default

// simple answers a simple check.
func (p *proxy) simple(ctx context.Context, it *item) (string, error) {
	k := it.key
	switch {
	case isPing(k.name):
		_, err := parsePing(it) // those that are right do not come here
		return "", err
	case strings.HasPrefix(k.name, "net.tcp.service"), strings.HasPrefix(k.name, "net.udp.service"):
		host := ""
		if it.iface != nil {
			host = it.iface.conn()
		}
		return service(ctx, k, host)
	case strings.HasPrefix(k.name, "natrix."):
		return p.natrix(ctx, k)
	}
	return "", unsupported("Simple check is not supported.")
}

// services are those that Zabbix knows by name, with their port and what a
// server says first; "" if it is enough that it accepts.
func services() map[string]struct {
	port   int
	banner string
} {
	return map[string]struct {
		port   int
		banner string
	}{
		"tcp": {}, "http": {80, ""}, "https": {443, ""}, "ssh": {22, "SSH-"}, "ftp": {21, "220"}, "smtp": {25, "220"},
		"pop": {110, "+OK"}, "imap": {143, "* OK"}, "nntp": {119, "200"}, "ldap": {389, ""}, "telnet": {23, ""},
	}
}

// service answers net.tcp.service[name,host,port] and its kin. What does not
// answer is down, which is a value.
func service(ctx context.Context, k key, host string) (string, error) {
	if len(k.params) > 3 {
		return "", unsupported("Too many parameters.")
	}
	if h := k.param(1); h != "" {
		host = h
	}
	var check func(context.Context, string) error
	number := k.param(2)
	switch {
	case strings.HasPrefix(k.name, "net.udp.service") && k.param(0) == "ntp":
		check = askNTP
		if number == "" {
			number = "123"
		}
	case strings.HasPrefix(k.name, "net.tcp.service"):
		s, known := services()[k.param(0)]
		if !known {
			return "", unsupported("Invalid first parameter.")
		}
		check = func(ctx context.Context, address string) error { return askTCP(ctx, address, k.param(0), s.banner) }
		if number == "" && s.port != 0 {
			number = strconv.Itoa(s.port)
		}
	default:
		return "", unsupported("Invalid first parameter.")
	}
	if port, err := strconv.ParseUint(number, 10, 16); err != nil || port == 0 {
		return "", unsupported("Invalid third parameter.")
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	start := time.Now()
	err := check(ctx, net.JoinHostPort(host, number))
	took := time.Since(start)
	switch timed := strings.HasSuffix(k.name, ".perf"); {
	case err != nil:
		return "0", nil
	case timed:
		return perf(took), nil
	}
	return "1", nil
}

// connect connects, and closes the connection when ctx ends.
func connect(ctx context.Context, network, address string) (net.Conn, func(), error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() { stop(); conn.Close() }, nil
}

func askTCP(ctx context.Context, address, service, banner string) error {
	conn, done, err := connect(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer done()
	if service == "https" {
		// Zabbix asks whether the service is there, not whether it is the right one.
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	}
	if banner == "" {
		return nil
	}
	r := bufio.NewReaderSize(conn, 1024)
	for {
		line, err := r.ReadString('\n')
		if strings.HasPrefix(line, banner) || service == "nntp" && strings.HasPrefix(line, "201") {
			return nil
		}
		if err != nil {
			return err
		}
		if len(line) < 4 || line[3] != '-' { // "220-" goes on
			return errors.New("another service")
		}
	}
}

// askNTP asks for the time (RFC 5905): 48 bytes, client mode, answered by server
// mode.
func askNTP(ctx context.Context, address string) error {
	conn, done, err := connect(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer done()
	request := make([]byte, 48)
	request[0] = 4<<3 | 3
	if _, err := conn.Write(request); err != nil {
		return err
	}
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err == nil && (n < 48 || answer[0]&7 != 4) {
		err = errors.New("not an answer of NTP")
	}
	return err
}

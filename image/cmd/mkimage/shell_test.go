package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
)

// terminal is a machine whose console a person sits at.
type terminal struct {
	*qemu.Machine
	t   *testing.T
	ctx context.Context
}

const (
	shellPrompt = "natrix> "
	patience    = time.Minute // for one line of the console
)

// types types keys, with Enter where the test wants it: \r.
func (p *terminal) types(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p, keys); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits for a line and returns its submatches.
func (p *terminal) sees(line string) []string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	match, err := p.WaitLine(ctx, regexp.MustCompile(line))
	if err != nil {
		p.t.Fatal(err)
	}
	return match
}

// runs types a command and waits for the lines that it prints, and the next prompt.
func (p *terminal) runs(command string, lines ...string) {
	p.t.Helper()
	p.types(command + "\r")
	for _, line := range lines {
		p.sees(line)
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := p.WaitPrompt(ctx, shellPrompt); err != nil {
		p.t.Fatal(err)
	}
}

// TestShell drives the shell of a booted machine over its serial line: one
// machine, and one fault after the other.
func TestShell(t *testing.T) {
	slow(t)
	dir := t.TempDir()
	board, err := find("amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Build(t.Context(), board, described(t), dir); err != nil {
		t.Fatal(err)
	}
	broker := amqptest.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	m, err := qemu.Start(ctx, qemu.Config{
		Board: board.Name, Dir: dir, Links: []qemu.Link{{MAC: mac}, {Silent: true}},
		Cmdline: "natrix.watchdog=off natrix.ntp=" + qemu.Host + " natrix.broker=" + broker.URL(qemu.Host),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := &terminal{m, t, ctx}
	p.sees(`^natrix \S+ on natrix\S*, console ttyS0$`)
	p.sees(`^Standard PC .*, serial number`)
	p.sees(`^eth0 +up +10\.0\.2\.15/24`) // with the banner, or as soon as it has one
	p.sees(`msg=boot phase=broker`)
	p.runs("version", `^natrix \S+`)

	editing(p)
	settings(p)
	faults(p, broker)
	p.types("poweroff\r")
	if err := m.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// editing is what the line editor does.
func editing(p *terminal) {
	p.t.Helper()
	p.runs("ver\t", `^natrix \S+`)                                               // a command
	p.runs("check -o json ha\t", `^\{.*\}$`)                                     // an argument
	p.runs("ping --interf\t et\t0 -c 1 10.0.2.2", `1 .*10\.0\.2\.2|10\.0\.2\.2`) // an option and a link
	p.runs("\x1b[A\x1b[A\x1b[A", `^natrix \S+`)                                  // the history
	p.types("set ?")
	p.sees(`^address  Give a link an address by hand`)
	p.types("\x15") // which deletes the line
	p.runs("exi\x7f\x7f\x7fversion", `^natrix \S+`)
	p.runs("doctro", `^error: unknown command "doctro"`)
	p.runs("help set", `set address eth0|address .*by hand`)
	p.types("mtr " + qemu.Host + "\r")
	p.sees(`1\. 10\.0\.2\.2 .*0\.0%`)
	p.runs("q", `^HOST: natrix`)
	p.runs("shell cat /proc/version", `^Linux version`)
	p.types("log -f\r")
	p.sees(`msg=boot`)
	p.runs("\x03", `^error: interrupted|natrix>`)
}

// settings are changed, and looked at.
func settings(p *terminal) {
	p.t.Helper()
	p.types("restart network\rcapture eth1 -m dhcp -c 1\r")
	p.sees(` out 0\.0\.0\.0:68 > 255\.255\.255\.255:67 dhcp DISCOVER of `)
	p.runs("", `^\d+ packets, \d+ bytes`)
	p.runs("lease", `^server +10\.0\.2\.2$`, `^dns +10\.0\.2\.3$`)
	p.runs("config set common.log_level debug", `^common.log_level is set, agent starts anew`, `^for this boot only: this machine has no medium`)
	p.runs("config show", `^common.log_level +debug +set here, not saved`)
	p.runs("config set common.log_level info", `is set`)
	p.runs("config set common.log_level loud", `^error: .*"loud" is not debug`)
	p.runs("config save", `^error: this machine has no medium`)
	p.runs("set address eth1 192.0.2.7/24", `is set, network starts anew`)
	p.sees(`msg=lease link=eth1 addr=192\.0\.2\.7/24`)
	p.runs("links", `^eth1 +up +192\.0\.2\.7/24`)
	p.runs("set address eth1 dhcp", `is set`)
	p.sees(`msg="lease withdrawn" link=eth1`)
	p.runs("set clock 2026-11-30 12:00:00")
	p.runs("status", `^clock +2026-11-30 12:00`)
}

// faults has the doctor find each, and nothing else.
func faults(p *terminal, broker *amqptest.Broker) {
	p.t.Helper()
	right := broker.URL(qemu.Host)
	at := fmt.Sprintf("%s:%d", qemu.Host, broker.Port)
	vhost := url.PathEscape(amqptest.VHost)
	secret := amqptest.User + ":" + amqptest.Password
	use := func(url string) { p.runs("set broker "+url, `^rabbitmq.url is set, agent starts anew`) }

	use(right)
	p.sees(`msg=consuming`)
	p.runs("doctor", `^queue +ok +natrix_request_`, `^Nothing keeps this terminal offline`, `^Code 0001-073`)

	use("amqp://" + secret + "@" + qemu.Host + ":1/" + vhost)
	p.diagnosis("tcp", "refuses the connection", "082")
	use("amqp://natrix:wrong@" + at + "/" + vhost)
	p.diagnosis("login", "does not let the user natrix in", "101")
	use("amqp://" + secret + "@" + at + "/nowhere")
	p.diagnosis("vhost", "no virtual host nowhere", "111")
	use("amqps://" + secret + "@" + fmt.Sprintf("%s:%d", qemu.Host, selfSigned(p.t)) + "/" + vhost)
	p.diagnosis("tls", "certificate of an unknown authority", "092")

	use("amqp://" + secret + "@broker.example:5672/" + vhost)
	p.runs("set dns 10.0.2.99", `is set, network starts anew`)
	p.sees(`msg=boot phase=network link=eth0`)
	p.diagnosis("dns", "no answer from 10.0.2.99", "062")
	p.runs("set dns dhcp", `is set`)
	p.sees(`msg=boot phase=network link=eth0`)

	p.diagnosis("dhcp", "no DHCP server answers on eth1", "031", "--link eth1")
	use(right)
	if err := p.Plug(0, false); err != nil {
		p.t.Fatal(err)
	}
	p.sees(`msg="carrier lost" link=eth0`)
	p.diagnosis("carrier", "no signal on eth0", "021", "--link eth0")
	p.types("doctor --lang zh --link eth0\r")
	p.sees(`^信号 +故障 +eth0 没有信号$`)
	p.runs("", `^故障码 0211-0`)
	if err := p.Plug(0, true); err != nil {
		p.t.Fatal(err)
	}
	p.sees(`msg=consuming`)
	p.runs("doctor", `^Nothing keeps this terminal offline`)
	p.runs("doctor --explain 0211-0008", `^carrier +FAIL +no signal on`)
}

// diagnosis runs the doctor, who must name the step, say so, and give the code
// of that verdict on a wired link; the step before must have passed.
func (p *terminal) diagnosis(step, said, verdict string, options ...string) {
	p.t.Helper()
	p.types("doctor " + strings.Join(options, " ") + "\r")
	p.sees(`^` + step + ` +FAIL +.*` + said)
	p.sees(`^This terminal is offline because of: ` + step + `\.$`)
	p.runs("", `^Code `+verdict+`1-`)
}

// selfSigned serves TLS with a certificate that no authority knows, for as long
// as the test runs.
func selfSigned(t *testing.T) (port int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, IPAddresses: []net.IP{net.ParseIP(qemu.Host)},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				conn.(*tls.Conn).Handshake() // which the client breaks off
				conn.Close()
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// Package amqptest runs a private RabbitMQ for tests and demonstrations: its
// own node name, ports and data directory, so that a broker which already runs
// on the machine is left alone.
package amqptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

// Where Debian's rabbitmq-server keeps the scripts that run as the current
// user; those in PATH change to another.
const (
	server  = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	control = "/usr/lib/rabbitmq/bin/rabbitmqctl"
)

// Install is the line that installs what is missing.
const Install = "apt-get install rabbitmq-server"

// User, password and virtual host of the broker: those of the original client's
// sample configuration.
const (
	User     = "natrix"
	Password = "natrix"
	VHost    = "/natrix"
)

// Broker is a RabbitMQ server of our own. It dies with this process, however
// that ends.
//
// A persistent message survives Kill and Start once RabbitMQ has confirmed it,
// if its queue does. A durable queue, exchange or binding survives only after
// Sync: RabbitMQ answers a declaration up to some seconds before it writes it
// to a file.
type Broker struct {
	Port int // of AMQP, on 127.0.0.1

	more       string // lines of its configuration
	dir        string
	epmd, beam *process
	epmdPort   int
	distPort   int
}

// New starts a broker with its data below dir and returns once it accepts
// connections. The caller closes it. Further lines of its configuration are as
// in rabbitmq.conf(5).
func New(ctx context.Context, dir string, further ...string) (*Broker, error) {
	if _, err := os.Stat(server); err != nil {
		return nil, fmt.Errorf("no RabbitMQ on this machine: %s", Install)
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	b := &Broker{Port: ports[0], more: strings.Join(further, "\n"), dir: dir, epmdPort: ports[1], distPort: ports[2]}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	if err := b.startNames(); err != nil {
		return nil, err
	}
	if err := b.Start(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// URL is the broker's address as host sees it: "127.0.0.1" from this machine,
// "10.0.2.2" from a guest of QEMU.
func (b *Broker) URL(host string) string {
	return fmt.Sprintf("amqp://%s:%s@%s/%s", User, Password, net.JoinHostPort(host, strconv.Itoa(b.Port)), url.PathEscape(VHost))
}

// prepare writes the configuration.
func (b *Broker) prepare() error {
	conf := fmt.Sprintf(`listeners.tcp.1 = 127.0.0.1:%d
default_user = %s
default_pass = %s
default_vhost = %s
log.file.level = warning
%s
`, b.Port, User, Password, VHost, b.more)
	for name, body := range map[string]string{"rabbitmq.conf": conf, "enabled_plugins": "[].\n", "advanced.config": "[].\n"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(body), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// startNames starts Erlang's name server on a port of its own. The broker would
// start one itself, but as a daemon that outlives everything.
func (b *Broker) startNames() (err error) {
	cmd := exec.Command("epmd", "-port", strconv.Itoa(b.epmdPort), "-address", "127.0.0.1")
	if b.epmd, err = start(cmd); err != nil {
		return fmt.Errorf("start epmd: %w (%s)", err, Install)
	}
	return nil
}

// Start starts the broker again after Kill, and returns once it accepts connections.
func (b *Broker) Start(ctx context.Context) error {
	out, err := os.Create(filepath.Join(b.dir, "broker.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(server)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = b.env()
	if b.beam, err = start(cmd); err != nil {
		return fmt.Errorf("start RabbitMQ: %w", err)
	}
	return b.ready(ctx)
}

// Sync returns once all that has been declared is in files and so survives Kill.
func (b *Broker) Sync(ctx context.Context) error {
	return b.eval(ctx, "ok = mnesia:sync_log().")
}

// AddUser adds a user who may do everything in VHost.
func (b *Broker) AddUser(ctx context.Context, name, password string) error {
	return b.eval(ctx, fmt.Sprintf(
		"ok = rabbit_auth_backend_internal:add_user(%[1]s, %[2]s, %[3]s), ok = rabbit_auth_backend_internal:set_permissions(%[1]s, %[4]s, %[5]s, %[5]s, %[5]s, %[3]s).",
		binary(name), binary(password), binary("test"), binary(VHost), binary(".*")))
}

// binary is a string as Erlang has it, byte by byte.
func binary(s string) string {
	return "<<" + strings.Trim(strings.ReplaceAll(fmt.Sprint([]byte(s)), " ", ","), "[]") + ">>"
}

// Eval runs Erlang inside the broker: what its operator might do.
func (b *Broker) Eval(ctx context.Context, expression string) error { return b.eval(ctx, expression) }

// eval runs Erlang inside the broker.
func (b *Broker) eval(ctx context.Context, expression string) error {
	cmd := exec.CommandContext(ctx, control, "eval", expression)
	cmd.Env = b.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("have RabbitMQ do %q: %w\n%s", expression, err, out)
	}
	return nil
}

// env is the environment of RabbitMQ's programs.
func (b *Broker) env() []string {
	return append(os.Environ(),
		"HOME="+b.dir, // the Erlang cookie
		"RABBITMQ_NODENAME=natrix-"+strconv.Itoa(b.Port)+"@localhost",
		"RABBITMQ_DIST_PORT="+strconv.Itoa(b.distPort),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(b.dir, "data"),
		"RABBITMQ_LOG_BASE="+filepath.Join(b.dir, "log"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(b.dir, "rabbitmq"),
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(b.dir, "none"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+filepath.Join(b.dir, "advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(b.dir, "enabled_plugins"),
		"RABBITMQ_PID_FILE="+filepath.Join(b.dir, "pid"),
		"ERL_EPMD_PORT="+strconv.Itoa(b.epmdPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none",
		"RUNNING_UNDER_SYSTEMD=1", // the script becomes the broker, rather than its parent
	)
}

// ready waits until a client gets in.
func (b *Broker) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		conn, err := amqp091.Dial(b.URL("127.0.0.1"))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("RabbitMQ is not ready: %w\n%s", err, b.log())
		case <-b.beam.ended:
			return fmt.Errorf("RabbitMQ ended while starting:\n%s", b.log())
		case <-time.After(100 * time.Millisecond): // the broker does not tell its clients when it is ready
		}
	}
}

func (b *Broker) log() []byte {
	body, _ := os.ReadFile(filepath.Join(b.dir, "broker.log"))
	return body
}

// Kill ends the broker with SIGKILL: what it has not written to files is lost.
func (b *Broker) Kill() {
	if b.beam == nil {
		return
	}
	b.beam.kill()
	b.beam = nil
}

// Close ends the broker and its name server. The data directory is the caller's.
func (b *Broker) Close() error {
	b.Kill()
	b.epmd.kill()
	return nil
}

// freePorts finds TCP ports of loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

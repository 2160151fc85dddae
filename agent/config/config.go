// Package config is every setting of a terminal, its default, and how it is
// read: from the ini file of the original client, unchanged, with more keys,
// and from the words of the kernel command line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// File is where the settings are, unless a flag says otherwise.
const File = "/etc/natrix/natrix.ini"

// Session is where an appliance keeps what was set since it was booted.
const Session = "/run/natrix/session.ini"

// Config is what one terminal is told. Parts receive their section by value.
type Config struct {
	AMQP      AMQP
	Zabbix    Zabbix
	Network   Network
	Limits    Limits
	Location  Location
	Capture   Capture
	Metrics   Metrics
	Live      Live
	Appliance Appliance
	Update    Update
	Log       Log
	Sandbox   bool // whether the agent gives up what it does not need; default true
	Schedule  []Scheduled
	Ignored   []string // what user-data says that means nothing here, a line for each file

	BasicAgent BasicAgent

	broker broker // parts of AMQP.URLs, until the whole file is read
	given  []Setting
}

// AMQP configures the worker door, which stays closed while URLs is empty.
type AMQP struct {
	URLs       []string      // brokers, tried in turn: amqp://user:password@host:5672/vhost
	Commands   []string      // those that a server may give; default nil, which is all
	Prefetch   int           // commands in hand at once, those that wait for their turn included; default 256
	Basic      time.Duration // between basic reports; default 1m
	Advance    time.Duration // between advance reports; default 30m
	ReplyDelay time.Duration // least time from receiving a command to answering it; default 0. Servers of May 2019 need 1s: they refuse an answer that is quicker than their own bookkeeping
}

// Network holds the targets by which a report says what a link can reach. An
// empty list counts as reached.
type Network struct {
	Internet  []string // hosts on the internet
	Corporate []string // hosts of the company
	Intranet  []string // addresses on the local network
	Echo      []string // services that tell a caller its public address: URLs, or stun:host:port; default none
}

// Scheduled is a command that the terminal runs by itself: a line of the
// section [SCHEDULE], such as
//
//	gateway = */5 * * * * ping 192.0.2.1 --count 5
type Scheduled struct {
	Name    string   // the key
	When    string   // a cron expression (crontab(5)), or @hourly, @every 90s and the like; in local time, which on an appliance is UTC
	Command []string // as typed: words
}

// Limits bound what commands do at the same time, counted in light ones such as
// a ping: a request of HTTP is two, a page load many. 0 goes by the machine's
// processors and memory.
type Limits struct {
	Commands int // of all commands together
	Heavy    int // the part of it that others than light ones may take; default half
}

// Location names the data sets that say where addresses are.
type Location struct {
	Data []string // files, or directories of files: ip2region, ipv6wry or MaxMind; default /etc/natrix/location, which may be missing
}

// Capture is about files of packets that commands of a server ask for.
type Capture struct {
	Directory string // where they are, at most 64 MiB; "" refuses such commands, which is the default
}

// Live configures the live door, which stays closed while both addresses are
// empty.
type Live struct {
	Listen      string   // where the page, WebSocket and HTTP are: an address and a port, such as :8000; default none
	Raw         string   // where the protocol of Rt-Stat is over plain TCP; default none
	Token       string   // without which nothing is told; default none is wanted
	Clients     int      // at once; 0 is any number, default 10
	Certificate string   // file of a certificate, for TLS at Listen; default none
	Key         string   // file of its key, if that is another
	Commands    []string // that may be run from the page if there is a Token; default none
	Origins     []string // hosts whose pages may connect, besides this one; default none
	Modules     string   // blackbox.yml with the modules of /probe; default those of the exporter's example
}

// Appliance configures the machine when natrix is its PID 1.
type Appliance struct {
	Hostname string       // default: natrix- and the end of the first link's MAC
	Config   string       // URL of a file that every other configuration wins over; default: option 224 of the leases
	NTP      []string     // time servers; default: those of the lease, then the pool
	Watchdog bool         // feed /dev/watchdog; default true
	DNS      []netip.Addr // name servers; default: those of the leases
	Address  []Address    // of links that have no lease; default none
	Password string       // bcrypt hash of the password of the consoles; default: none is asked for
	Tools    bool         // the shell of the field tools may be opened; default true
}

// Update is about new versions of an appliance.
type Update struct {
	Keys   []string      // public keys that may sign them, besides those of the image: 32 bytes in base64
	Remote bool          // whether the server may order one; default false
	Trial  time.Duration // since the kernel's start, until a new version has to work as the old one did; default 85s, which is the most
}

// Address is what a link is given by hand.
type Address struct {
	Link    string
	Addr    netip.Prefix
	Gateway netip.Addr // zero for none
}

// Metrics configures the listener that tells Prometheus how the agent is doing.
type Metrics struct {
	Listen string // address:port; default "", which is no listener
}

// Log configures what is logged.
type Log struct {
	Level     string // debug, info, warn or error; default info
	Directory string // where log files are, on an ordinary machine; default /var/log/natrix; "" for none
	Syslog    string // where the log goes besides: udp://host:514, tcp://host:601 or tls://host:6514; default none
}

// Default is the configuration of a terminal that was told nothing.
func Default() Config {
	return Config{
		AMQP:      AMQP{Prefetch: 256, Basic: time.Minute, Advance: 30 * time.Minute},
		Zabbix:    Zabbix{Protocol: "auto", Agent: 10050, Buffer: 64},
		Location:  Location{Data: []string{"/etc/natrix/location"}},
		Live:      Live{Clients: 10},
		Appliance: Appliance{Watchdog: true, Tools: true},
		Update:    Update{Trial: 85 * time.Second},
		Log:       Log{Level: "info", Directory: "/var/log/natrix"},
		Sandbox:   true,
		broker:    broker{vhost: "/"},

		BasicAgent: defaultBasicAgent(),
	}
}

// Load reads the file, then the kernel command line, whose words win, then
// further files, which win over both and need not be there. Either of the first
// paths may be "", and a file that does not exist is an error. The
// configuration is usable even if there is an error: it holds everything that
// could be understood, and the error names every line that could not.
func Load(file, cmdline string, further ...string) (Config, error) {
	c := Default()
	var problems []error
	if file != "" {
		problems = append(problems, c.load(file))
	}
	return c, errors.Join(append(problems, c.finish(cmdline, further))...)
}

// LoadLayers is Load with several files in the place of the first, of which a
// later one wins, setting by setting, and none needs to be there.
func LoadLayers(files []string, cmdline string, further ...string) (Config, error) {
	c := Default()
	return c, errors.Join(c.loadAll(files), c.finish(cmdline, further))
}

// loadAll applies those of the files that exist.
func (c *Config) loadAll(files []string) error {
	var problems []error
	for _, file := range files {
		if err := c.load(file); !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// load applies a file. The broker that it names, as a host or by URLs, is
// instead of one that an earlier file names in either way. The file's name says
// what format it has.
func (c *Config) load(file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if body, err = text(body); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	before := c.broker
	c.broker.list, c.broker.host = nil, ""
	switch filepath.Base(file) {
	case UserDataFile:
		err = c.readUserData(file, body)
	case NetworkConfigFile:
		err = c.readNetworkConfig(file, body)
	default:
		err = c.readFile(file, body)
	}
	if len(c.broker.list) == 0 && c.broker.host == "" {
		c.broker.list, c.broker.host = before.list, before.host
	}
	return err
}

// text takes off the mark that the editors of Windows put before UTF-8.
func text(body []byte) ([]byte, error) {
	if bytes.HasPrefix(body, []byte("\xff\xfe")) || bytes.HasPrefix(body, []byte("\xfe\xff")) {
		return nil, errors.New("the file is in UTF-16: save it again as UTF-8")
	}
	return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), nil
}

// finish applies the kernel command line and the files that win over it, and
// puts together what only all of it tells.
func (c *Config) finish(cmdline string, further []string) error {
	var problems []error
	if cmdline != "" {
		words, err := os.ReadFile(cmdline)
		if err != nil {
			problems = append(problems, fmt.Errorf("read kernel command line: %w", err))
		}
		problems = append(problems, c.readKernel(string(words)))
	}
	problems = append(problems, c.loadAll(further))
	var err error
	c.AMQP.URLs, err = c.broker.urls()
	problems = append(problems, err)
	return errors.Join(problems...)
}

// Missing reports whether err says no more than that the file is not there.
func Missing(err error) bool {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) && len(several.Unwrap()) > 1 {
		return false
	}
	return errors.Is(err, fs.ErrNotExist)
}

// Redact is a broker's URL without its password, for logs.
func Redact(broker string) string {
	u, err := url.Parse(broker)
	if err != nil {
		return "(unreadable URL)"
	}
	return u.Redacted()
}

package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A setting is one key of the file. Every key is also a word of the kernel
// command line, natrix.section.key=value; some have a short word besides.
type setting struct {
	section, key string
	word         string                      // short form on the kernel command line, after "natrix."
	set          func(*Config, string) error // nil for a key that means nothing here
}

// settings lists every key that the file may hold. Keys of the original client
// that mean nothing here are accepted, so that its file is read unchanged.
func settings() []setting {
	return append(zabbixSettings(), []setting{
		{"rabbitmq", "host", "", func(c *Config, v string) error { return host(&c.broker.host, v) }},
		{"rabbitmq", "port", "", func(c *Config, v string) error { return port(&c.broker.port, v) }},
		{"rabbitmq", "username", "", func(c *Config, v string) error { c.broker.username = v; return nil }},
		{"rabbitmq", "password", "", func(c *Config, v string) error { c.broker.password = v; return nil }},
		{"rabbitmq", "vhost", "", func(c *Config, v string) error { c.broker.vhost = v; return nil }},
		{"rabbitmq", "url", "broker", func(c *Config, v string) (err error) { c.broker.list, err = brokers(v); return err }},
		{"rabbitmq", "ca", "", func(c *Config, v string) error { return directory(&c.broker.ca, v) }},
		{"rabbitmq", "cert", "", func(c *Config, v string) error { return directory(&c.broker.cert, v) }},
		{"rabbitmq", "key", "", func(c *Config, v string) error { return directory(&c.broker.key, v) }},
		{"rabbitmq", "server_name", "", func(c *Config, v string) error { return host(&c.broker.serverName, v) }},
		{"rabbitmq", "commands", "", func(c *Config, v string) error { c.AMQP.Commands = granted(v); return nil }},
		{"rabbitmq", "prefetch", "prefetch", func(c *Config, v string) error { return whole(&c.AMQP.Prefetch, v, 1, 1000) }},
		{"rabbitmq", "basic", "", func(c *Config, v string) error { return period(&c.AMQP.Basic, v, time.Second) }},
		{"rabbitmq", "advance", "", func(c *Config, v string) error { return period(&c.AMQP.Advance, v, time.Second) }},
		{"rabbitmq", "reply_delay", "", func(c *Config, v string) error { return period(&c.AMQP.ReplyDelay, v, 0) }},

		{"network", "internet_websites", "", func(c *Config, v string) error { c.Network.Internet = list(v); return nil }},
		{"network", "corporate_websites", "", func(c *Config, v string) error { c.Network.Corporate = list(v); return nil }},
		{"network", "intranet_ips", "", func(c *Config, v string) error { c.Network.Intranet = list(v); return nil }},
		{"network", "public_ip_services", "", func(c *Config, v string) error { c.Network.Echo = list(v); return nil }},

		{"limits", "commands", "", func(c *Config, v string) error { return whole(&c.Limits.Commands, v, 1, 65536) }},
		{"limits", "heavy", "", func(c *Config, v string) error { return whole(&c.Limits.Heavy, v, 1, 65536) }},

		{"capture", "directory", "", func(c *Config, v string) error { return directory(&c.Capture.Directory, v) }},

		{"live", "listen", "live", func(c *Config, v string) error { return listen(&c.Live.Listen, v) }},
		{"live", "raw", "", func(c *Config, v string) error { return listen(&c.Live.Raw, v) }},
		{"live", "token", "", func(c *Config, v string) error { c.Live.Token = v; return nil }},
		{"live", "clients", "", func(c *Config, v string) error { return whole(&c.Live.Clients, v, 0, 65536) }},
		{"live", "certificate", "", func(c *Config, v string) error { return directory(&c.Live.Certificate, v) }},
		{"live", "key", "", func(c *Config, v string) error { return directory(&c.Live.Key, v) }},
		{"live", "commands", "", func(c *Config, v string) error { c.Live.Commands = list(v); return nil }},
		{"live", "origins", "", func(c *Config, v string) error { c.Live.Origins = list(v); return nil }},
		{"live", "modules", "", func(c *Config, v string) error { return directory(&c.Live.Modules, v) }},

		{"location", "data", "", func(c *Config, v string) error { c.Location.Data = list(v); return nil }},

		{"metrics", "listen", "", func(c *Config, v string) error { return listener(&c.Metrics.Listen, v) }},

		{"appliance", "hostname", "hostname", func(c *Config, v string) error { return hostname(&c.Appliance.Hostname, v) }},
		{"appliance", "config", "config", func(c *Config, v string) error { return further(&c.Appliance.Config, v) }},
		{"appliance", "ntp", "ntp", func(c *Config, v string) error { c.Appliance.NTP = list(v); return nil }},
		{"appliance", "dns", "dns", func(c *Config, v string) error { return addresses(&c.Appliance.DNS, v) }},
		{"appliance", "address", "address", func(c *Config, v string) error { return byHand(&c.Appliance.Address, v) }},
		{"appliance", "password", "", func(c *Config, v string) error { return hash(&c.Appliance.Password, v) }},
		{"appliance", "tools", "tools", func(c *Config, v string) error { return toggle(&c.Appliance.Tools, v) }},
		{"appliance", "watchdog", "watchdog", func(c *Config, v string) error { return toggle(&c.Appliance.Watchdog, v) }},

		{"update", "keys", "", func(c *Config, v string) error { return publicKeys(&c.Update.Keys, v) }},
		{"update", "remote", "", func(c *Config, v string) error { return toggle(&c.Update.Remote, v) }},
		{"update", "trial", "", func(c *Config, v string) error { return trial(&c.Update.Trial, v) }},

		{"common", "log_directory", "", func(c *Config, v string) error { return directory(&c.Log.Directory, v) }},
		{"common", "log_level", "log", func(c *Config, v string) error { return level(&c.Log.Level, v) }},
		{"common", "sandbox", "sandbox", func(c *Config, v string) error { return toggle(&c.Sandbox, v) }},
		{"common", "syslog", "syslog", func(c *Config, v string) error { return collector(&c.Log.Syslog, v) }},

		{"basicagent", "door", "basicagent", func(c *Config, v string) error { return toggle(&c.BasicAgent.Open, v) }},
		{"basicagent", "server", "", func(c *Config, v string) error { return host(&c.BasicAgent.Server, v) }},
		{"basicagent", "port", "", func(c *Config, v string) error { return whole(&c.BasicAgent.Port, v, 1, 65535) }},
		{"basicagent", "name", "", func(c *Config, v string) error { return host(&c.BasicAgent.Name, v) }},
		{"basicagent", "addresses", "", func(c *Config, v string) error { return addressPorts(&c.BasicAgent.Addresses, v) }},
		{"basicagent", "id", "", func(c *Config, v string) error { return identifier(&c.BasicAgent.ID, v) }},
		{"basicagent", "directory", "", func(c *Config, v string) error { return directory(&c.BasicAgent.Directory, v) }},
		{"basicagent", "redirect_allow", "", func(c *Config, v string) error { return prefixes(&c.BasicAgent.RedirectAllow, v) }},
		{"basicagent", "pins", "", func(c *Config, v string) error { return pins(&c.BasicAgent.Pins, v) }},
		{"basicagent", "legacy_plain_init", "", func(c *Config, v string) error { return toggle(&c.BasicAgent.LegacyPlainInit, v) }},
		{"basicagent", "success_retcode", "", func(c *Config, v string) error { return whole(&c.BasicAgent.SuccessRetcode, v, -1, 255) }},
		{"basicagent", "policy", "", func(c *Config, v string) error { return policy(&c.BasicAgent.Policy, v) }},
		{"basicagent", "commands", "", func(c *Config, v string) error { c.BasicAgent.Commands = list(v); return nil }},
		{"basicagent", "allow_root", "", func(c *Config, v string) error { return toggle(&c.BasicAgent.AllowRoot, v) }},
		{"basicagent", "allow_periodic", "", func(c *Config, v string) error { return toggle(&c.BasicAgent.AllowPeriodic, v) }},
		{"basicagent", "operators", "", func(c *Config, v string) error { return operators(&c.BasicAgent.Operators, v) }},

		{"terminal", "post_slot", "", nil},
		{"service", "backend", "", nil},
		{"service", "reboot", "", nil},
		{"mqtt", "host", "", nil},
		{"mqtt", "port", "", nil},
		{"mqtt", "username", "", nil},
		{"mqtt", "password", "", nil},
		{"mqtt", "vhost", "", nil},
		{"mqtt", "client_id", "", nil},
		{"mqtt", "ssl", "", nil},
		{"mqtt", "keepalive", "", nil},
	}...)
}

// find looks a setting up by section and key, or returns nil.
func find(section, key string) *setting {
	all := settings()
	i := slices.IndexFunc(all, func(s setting) bool {
		return s.section == strings.ToLower(section) && s.key == strings.ToLower(key)
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

func port(p *string, v string) error {
	var n int
	if err := whole(&n, v, 1, 65535); err != nil {
		return err
	}
	*p = v
	return nil
}

// listen takes an address and a port, or a port alone; nothing for nowhere.
func listen(p *string, v string) error {
	if v != "" && !strings.Contains(v, ":") {
		v = ":" + v
	}
	address, number, err := net.SplitHostPort(v)
	if v != "" && err == nil {
		err = port(&number, number)
	}
	if v != "" && err == nil && address != "" {
		_, err = netip.ParseAddr(address)
	}
	if v != "" && err != nil {
		return fmt.Errorf("%q is not a port, or an address and a port, such as 192.0.2.7:8000", v)
	}
	*p = v
	return nil
}

// host takes a name or an address, with or without brackets.
func host(p *string, v string) error {
	if v == "" || strings.ContainsAny(v, " \t/@?#%\"<>\\^`{|}") {
		return fmt.Errorf("%q is not a host name or address", v)
	}
	*p = v
	return nil
}

func whole(p *int, v string, least, most int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%q is not a whole number from %d to %d", v, least, most)
	}
	*p = n
	return nil
}

// period takes seconds, or a number with a unit: 60, 90s, 30m.
func period(p *time.Duration, v string, least time.Duration) error {
	d, err := time.ParseDuration(v)
	if n, plain := strconv.ParseFloat(v, 64); plain == nil && n >= 0 && n < 1e9 {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || d < least {
		return fmt.Errorf("%q is not a duration such as 90s or 30m, of at least %v", v, least)
	}
	*p = d
	return nil
}

func toggle(p *bool, v string) error {
	switch strings.ToLower(v) {
	case "on", "yes", "true", "1":
		*p = true
	case "off", "no", "false", "0":
		*p = false
	default:
		return fmt.Errorf("%q is neither on nor off", v)
	}
	return nil
}

func level(p *string, v string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(v)) {
		return fmt.Errorf("%q is not debug, info, warn or error", v)
	}
	*p = strings.ToLower(v)
	return nil
}

// directory takes an absolute path, also of a file, or nothing for none.
func directory(p *string, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return fmt.Errorf("%q is not an absolute path", v)
	}
	*p = v
	return nil
}

// granted reads the names of commands; nil is all of them.
func granted(v string) []string {
	if strings.EqualFold(v, "all") {
		return nil
	}
	return list(strings.ToLower(v))
}

// listener takes an address with a port, or nothing for none. A name is not
// taken: it might mean more addresses than one thinks.
func listener(p *string, v string) error {
	if _, err := netip.ParseAddrPort(v); err != nil && v != "" {
		return fmt.Errorf("%q is not an address with a port, such as 127.0.0.1:9469", v)
	}
	*p = v
	return nil
}

// collector takes where syslog is sent, with the port of its transport unless
// it says another (RFC 5426, 6587, 5425).
func collector(p *string, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%q is not like udp://host:514, tcp://host:601 or tls://host:6514", v)
	}
	standard, known := map[string]string{"udp": "514", "tcp": "601", "tls": "6514"}[u.Scheme]
	if !known {
		return fmt.Errorf("%q begins with none of udp://, tcp:// and tls://", v)
	}
	number := u.Port()
	if number == "" {
		number = standard
	}
	if err := port(&number, number); err != nil {
		return err
	}
	*p = u.Scheme + "://" + net.JoinHostPort(u.Hostname(), number)
	return nil
}

// further reads the URL of a configuration, which has no password in it: the
// kernel command line is for everybody to read.
func further(p *string, v string) error {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		return errors.New("not the URL of a file, such as http://192.0.2.1/natrix.ini")
	}
	*p = v
	return nil
}

func hostname(p *string, v string) error {
	if v == "" || len(v) > 63 || strings.Trim(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return fmt.Errorf("%q is not a host name of letters, digits and hyphens", v)
	}
	*p = v
	return nil
}

// list reads the original's lists, which look like JSON and are not: quotes,
// brackets and blanks do not count, commas separate.
func list(v string) []string {
	v = strings.NewReplacer("[", "", "]", "", `"`, "", "'", "", " ", "", "\t", "", "\n", "").Replace(v)
	return slices.DeleteFunc(strings.Split(v, ","), func(s string) bool { return s == "" })
}

// brokers reads one or several URLs, separated by commas or blanks.
func brokers(v string) ([]string, error) {
	urls := strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	for _, one := range urls {
		u, err := url.Parse(one)
		if err != nil || (u.Scheme != "amqp" && u.Scheme != "amqps") || u.Hostname() == "" {
			// The URL is not shown: it holds a password.
			return nil, errors.New("not a broker's URL such as amqp://user:password@host:5672/vhost (escape special characters in the password, %40 for @)")
		}
	}
	return urls, nil
}

// addresses reads addresses that are separated by commas.
func addresses(p *[]netip.Addr, v string) error {
	var all []netip.Addr
	for _, word := range list(v) {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return fmt.Errorf("%q is not an address such as 192.0.2.53", word)
		}
		all = append(all, a)
	}
	*p = all
	return nil
}

// byHand reads LINK=ADDRESS/BITS or LINK=ADDRESS/BITS=GATEWAY, separated by
// commas. There are no blanks in it, so that it is also a word of the kernel's
// command line.
func byHand(p *[]Address, v string) error {
	var all []Address
	for _, item := range list(v) {
		words := strings.Split(item, "=")
		a := Address{Link: words[0]}
		var err, bad error
		if len(words) == 2 || len(words) == 3 {
			a.Addr, err = netip.ParsePrefix(words[1])
		}
		if len(words) == 3 {
			a.Gateway, bad = netip.ParseAddr(words[2])
		}
		if err != nil || bad != nil || a.Link == "" || !a.Addr.Addr().Is4() || a.Gateway.IsValid() && !a.Gateway.Is4() {
			return fmt.Errorf("%q is not of the form eth0=192.0.2.7/24=192.0.2.1", item)
		}
		all = append(all, a)
	}
	*p = all
	return nil
}

// hash takes a bcrypt hash; nothing takes the password away.
func hash(p *string, v string) error {
	if v != "" && (len(v) != 60 || !strings.HasPrefix(v, "$2")) {
		return errors.New("not a bcrypt hash: set it with config password in the shell, or htpasswd -nB")
	}
	*p = v
	return nil
}

func publicKeys(p *[]string, v string) error {
	keys := list(v)
	for _, key := range keys {
		if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) != ed25519.PublicKeySize {
			return fmt.Errorf("%.60q is no public key: want %d bytes in base64, as make update-key prints them", key, ed25519.PublicKeySize)
		}
	}
	*p = keys
	return nil
}

// trial is short enough for the other slot to be back within two minutes.
func trial(p *time.Duration, v string) error {
	var d time.Duration
	if err := period(&d, v, 10*time.Second); err != nil {
		return err
	}
	if most := Default().Update.Trial; d > most {
		return fmt.Errorf("%v is too long: want %v at most", d, most)
	}
	*p = d
	return nil
}

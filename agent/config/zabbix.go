package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Zabbix configures the door through which the terminal is a Zabbix proxy. It
// stays closed while Mode is "".
type Zabbix struct {
	Mode     string         // "active": the terminal calls the server; "passive": the server calls the terminal; "" for neither, the default
	Servers  []string       // host:port of the servers of an active proxy, tried in turn
	Hostname string         // name of the proxy, as the server has it
	Protocol string         // "6.0", "7.0", or "auto", the default: as the server answers
	Listen   string         // where the server and senders call: address:port; default [::]:10051 of a passive proxy, none of an active one
	Allowed  []netip.Prefix // who may call; default none
	Agent    int            // port at which this machine's own agent would be: items of it are answered by the terminal; default 10050
	Every    time.Duration  // between two requests for the configuration; 0 as the dialect has it: 1m for 6.0, 10s for 7.0
	Buffer   int            // MiB of values that are kept while the server is away; default 64

	// TLS with certificates; CA is empty for none. Files are PEM.
	CA, Certificate, Key string
	Issuer, Subject      string // that the peer's certificate must have (RFC 4514); "" for any
}

func zabbixSettings() []setting {
	return []setting{
		{"zabbix", "mode", "", func(c *Config, v string) error { return mode(&c.Zabbix.Mode, v) }},
		{"zabbix", "server", "", func(c *Config, v string) (err error) { c.Zabbix.Servers, err = endpoints(v, "10051"); return err }},
		{"zabbix", "hostname", "", func(c *Config, v string) error { return proxyName(&c.Zabbix.Hostname, v) }},
		{"zabbix", "protocol", "", func(c *Config, v string) error { return oneOf(&c.Zabbix.Protocol, v, "auto", "6.0", "7.0") }},
		{"zabbix", "listen", "", func(c *Config, v string) error { return listener(&c.Zabbix.Listen, v) }},
		{"zabbix", "allowed_server", "", func(c *Config, v string) (err error) { c.Zabbix.Allowed, err = networks(v); return err }},
		{"zabbix", "agent_port", "", func(c *Config, v string) error { return whole(&c.Zabbix.Agent, v, 1, 65535) }},
		{"zabbix", "config_every", "", func(c *Config, v string) error { return period(&c.Zabbix.Every, v, time.Second) }},
		{"zabbix", "buffer", "", func(c *Config, v string) error { return whole(&c.Zabbix.Buffer, v, 2, 65536) }},
		{"zabbix", "tls_ca", "", func(c *Config, v string) error { return directory(&c.Zabbix.CA, v) }},
		{"zabbix", "tls_certificate", "", func(c *Config, v string) error { return directory(&c.Zabbix.Certificate, v) }},
		{"zabbix", "tls_key", "", func(c *Config, v string) error { return directory(&c.Zabbix.Key, v) }},
		{"zabbix", "tls_issuer", "", func(c *Config, v string) error { c.Zabbix.Issuer = v; return nil }},
		{"zabbix", "tls_subject", "", func(c *Config, v string) error { c.Zabbix.Subject = v; return nil }},
	}
}

func mode(p *string, v string) error {
	if err := oneOf(p, v, "off", "active", "passive"); err != nil {
		return err
	}
	if *p == "off" {
		*p = ""
	}
	return nil
}

func oneOf(p *string, v string, words ...string) error {
	if !slices.Contains(words, strings.ToLower(v)) {
		return fmt.Errorf("%q is none of %s", v, strings.Join(words, ", "))
	}
	*p = strings.ToLower(v)
	return nil
}

// proxyName takes what Zabbix takes for the name of a host.
func proxyName(p *string, v string) error {
	const others = "._- "
	if v == "" || len(v) > 128 || strings.ContainsFunc(v, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(others, r))
	}) {
		return fmt.Errorf("%q is not a name of letters, digits, blanks and %s", v, others[:3])
	}
	*p = v
	return nil
}

// endpoints reads hosts, each with a port or without, separated by commas.
func endpoints(v, standard string) ([]string, error) {
	var all []string
	for _, word := range list(strings.ReplaceAll(v, "]", "\x00")) {
		word = strings.ReplaceAll(word, "\x00", "]")
		name, number, err := net.SplitHostPort(word)
		if err != nil {
			name, number = strings.Trim(word, "[]"), standard
		}
		if err := host(new(string), name); err != nil {
			return nil, err
		}
		if err := port(new(string), number); err != nil {
			return nil, err
		}
		all = append(all, net.JoinHostPort(name, number))
	}
	return all, nil
}

// networks reads addresses and networks, separated by commas.
func networks(v string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, word := range list(v) {
		prefix, err := netip.ParsePrefix(word)
		if err != nil {
			addr, bad := netip.ParseAddr(word)
			if bad != nil {
				return nil, fmt.Errorf("%q is not an address or network such as 192.0.2.1 or 192.0.2.0/24", word)
			}
			prefix = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		all = append(all, prefix)
	}
	return all, nil
}

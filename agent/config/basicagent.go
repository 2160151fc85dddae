package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// BasicAgent configures the door for servers that speak BasicAgent.
type BasicAgent struct {
	Open            bool              // default false
	Server          string            // name that is resolved; default config.cargo.com
	Port            int               // default 5443
	Name            string            // of the server's certificate; default Server
	Addresses       []netip.AddrPort  // when Server cannot be reached; port 0 is Port; default none
	ID              string            // of the terminal, a UUID; default that of the machine
	Directory       string            // of certificates and state; default /var/lib/natrix/basicagent
	RedirectAllow   []netip.Prefix    // where a redirect may lead; default the server's own scope
	Pins            []string          // SHA-256 of public keys, base64; default none
	LegacyPlainInit bool              // an init in clear before TLS; default false
	SuccessRetcode  int               // of every success; default -1, the exit status
	Policy          string            // off, list, shell or full; default off
	Commands        []string          // that policy shell may start; default none
	Templates       map[string]string // of policy list: section [COMMANDS]
	AllowRoot       bool              // default false
	AllowPeriodic   bool              // default false
	Operators       map[string][]byte // Ed25519 keys; with any, commands must be signed; default none
}

func defaultBasicAgent() BasicAgent {
	return BasicAgent{Server: "config.cargo.com", Port: 5443, Directory: "/var/lib/natrix/basicagent", SuccessRetcode: -1, Policy: "off"}
}

// ServerName is what the server's certificate must say.
func (b BasicAgent) ServerName() string {
	if b.Name != "" {
		return b.Name
	}
	return b.Server
}

var templateName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)

// template takes a line of the section [COMMANDS].
func (b *BasicAgent) template(name, text string) error {
	if !templateName.MatchString(name) || text == "" {
		return fmt.Errorf("[COMMANDS] %s: wants a name and a command, such as reach = ping -c {count:int:1-10} {target:host}", name)
	}
	if b.Templates == nil {
		b.Templates = make(map[string]string)
	}
	b.Templates[name] = text
	return nil
}

func policy(p *string, v string) error {
	if !slices.Contains([]string{"off", "list", "shell", "full"}, strings.ToLower(v)) {
		return fmt.Errorf("%q is not off, list, shell or full", v)
	}
	*p = strings.ToLower(v)
	return nil
}

func identifier(p *string, v string) error {
	id, err := uuid.Parse(v)
	if err != nil {
		return fmt.Errorf("%q is not a UUID", v)
	}
	*p = id.String()
	return nil
}

// addressPorts reads addresses, with or without a port each.
func addressPorts(p *[]netip.AddrPort, v string) error {
	var all []netip.AddrPort
	for item := range strings.SplitSeq(strings.NewReplacer(`["`, "", `"]`, "", `"`, "", " ", "", "\n", "").Replace(v), ",") {
		if a, err := netip.ParseAddr(item); err == nil {
			all = append(all, netip.AddrPortFrom(a, 0))
			continue
		}
		a, err := netip.ParseAddrPort(item)
		if err != nil {
			return fmt.Errorf("%q is not an address, with or without a port", item)
		}
		all = append(all, a)
	}
	*p = all
	return nil
}

func prefixes(p *[]netip.Prefix, v string) error {
	var all []netip.Prefix
	for _, word := range list(v) {
		n, err := netip.ParsePrefix(word)
		if err != nil {
			return fmt.Errorf("%q is not a network such as 192.0.2.0/24", word)
		}
		all = append(all, n)
	}
	*p = all
	return nil
}

func pins(p *[]string, v string) error {
	all := list(v)
	for _, pin := range all {
		if b, err := base64.StdEncoding.DecodeString(pin); err != nil || len(b) != 32 {
			return fmt.Errorf("%q is not a SHA-256 in base64", pin)
		}
	}
	*p = all
	return nil
}

// operators reads name=key.
func operators(p *map[string][]byte, v string) error {
	all := make(map[string][]byte)
	for _, item := range list(v) {
		name, text, _ := strings.Cut(item, "=")
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize || name == "" {
			return fmt.Errorf("%q is not name=KEY, with an Ed25519 public key in base64", item)
		}
		all[name] = key
	}
	if *p = nil; len(all) > 0 {
		*p = all
	}
	return nil
}

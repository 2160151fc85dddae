package sysinfo

import (
	"bytes"
	"net/netip"
	"strings"
)

// Resolver is how the machine resolves names (resolv.conf(5)).
type Resolver struct {
	Servers []netip.Addr // in the order in which they are asked; with a zone if link-local
	Search  []string     // domains that short names are tried in
}

// Resolver reads /etc/resolv.conf.
func (m Machine) Resolver() (Resolver, error) {
	b, err := m.read("etc/resolv.conf")
	return parseResolver(b), err
}

func parseResolver(b []byte) Resolver {
	var r Resolver
	for l := range bytes.Lines(b) {
		words := strings.Fields(clean(strings.ReplaceAll(string(l), "\t", " ")))
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				r.Servers = append(r.Servers, a)
			}
		case "domain", "search": // the last line of either kind counts
			r.Search = words[1:]
		}
	}
	return r
}

package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// answer is what a name server said.
type answer struct {
	server netip.Addr
	addrs  []netip.Addr
	rcode  string // "NOERROR", "NXDOMAIN", ...
	err    error  // it said nothing
}

// examineNames asks every name server at the same time, for the name of the
// broker, or just for a sign of life if no broker has a name.
func (p *patient) examineNames(ctx context.Context) Finding {
	p.broker.urls = readURLs(p.Brokers)
	name := p.broker.name()
	if name == "" {
		return p.examineServers(ctx)
	}
	if len(p.Servers) == 0 {
		return p.byFile(ctx, name, found(NamesNoServer, name))
	}
	answers := p.askAll(ctx, name)
	var silent, refused, unknown []answer
	var known *answer
	for i, a := range answers {
		switch {
		case a.err != nil:
			silent = append(silent, a)
		case len(a.addrs) > 0 && known == nil:
			known = &answers[i]
		case len(a.addrs) > 0:
		case a.rcode == "NOERROR" || a.rcode == "NXDOMAIN":
			unknown = append(unknown, a)
		default:
			refused = append(refused, a)
		}
	}
	switch {
	case known != nil && len(silent) > 0:
		return found(NamesPartly, name, known.addrs[0], list(silent))
	case known != nil:
		return found(NamesFine, name, known.addrs[0], known.server)
	case len(unknown) > 0:
		return p.byFile(ctx, name, found(NamesUnknown, name, list(unknown)))
	case len(refused) > 0:
		return p.byFile(ctx, name, found(NamesRefused, list(refused), refused[0].rcode))
	}
	return p.byFile(ctx, name, found(NamesSilent, list(silent)))
}

// examineServers looks for one that answers anything at all.
func (p *patient) examineServers(ctx context.Context) Finding {
	if len(p.Servers) == 0 {
		return found(NamesIdle, "-")
	}
	answers := p.askAll(ctx, "")
	for _, a := range answers {
		if a.err == nil {
			return found(NamesUnneeded, a.server)
		}
	}
	return found(NamesIdle, list(answers))
}

// byFile is for names that only /etc/hosts has.
func (p *patient) byFile(ctx context.Context, name string, without Finding) Finding {
	if addrs, err := p.hosts(ctx, name); err == nil && len(addrs) > 0 {
		return found(NamesByFile, name, addrs[0].Unmap())
	}
	return without
}

// askAll asks all servers for a name as it stands and completed by each of the
// search domains, or for nothing in particular if it is empty. It keeps a
// little of the time for what comes after.
func (p *patient) askAll(ctx context.Context, name string) []answer {
	config := dns.ClientConfig{Search: p.Search, Ndots: 1}
	questions := []string{""}
	if name != "" {
		questions = config.NameList(name)
	}
	answers := make([]answer, len(p.Servers))
	var wait sync.WaitGroup
	for i, server := range p.Servers {
		wait.Go(func() {
			for _, q := range questions {
				a, err := p.ask(ctx, server, q)
				if a.server, a.err = server, err; answers[i].rcode == "" || len(a.addrs) > 0 {
					answers[i] = a
				}
				if len(a.addrs) > 0 || err != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	return answers
}

func list(answers []answer) string {
	var all []string
	for _, a := range answers {
		all = append(all, a.server.String())
	}
	return strings.Join(all, ", ")
}

// askServer asks one server for the addresses of a name, or for the root's
// name servers, which every one knows.
func askServer(ctx context.Context, server netip.Addr, name string) (answer, error) {
	if name == "" {
		return exchange(ctx, server, ".", dns.TypeNS)
	}
	a, err := exchange(ctx, server, name, dns.TypeA)
	if err != nil || len(a.addrs) > 0 || a.rcode != "NOERROR" {
		return a, err
	}
	return exchange(ctx, server, name, dns.TypeAAAA)
}

// exchange repeats a question that may have been lost.
func exchange(ctx context.Context, server netip.Addr, name string, kind uint16) (answer, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	to := net.JoinHostPort(server.String(), "53")
	var err error
	for range 2 {
		limited, cancel := context.WithTimeout(ctx, patience)
		var m *dns.Msg
		m, _, err = new(dns.Client).ExchangeContext(limited, question, to)
		cancel()
		if err == nil {
			return read(m), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return answer{}, errors.Join(err, ctx.Err())
}

func read(m *dns.Msg) answer {
	a := answer{rcode: dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		var ip net.IP
		switch r := rr.(type) {
		case *dns.A:
			ip = r.A
		case *dns.AAAA:
			ip = r.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			a.addrs = append(a.addrs, addr.Unmap())
		}
	}
	return a
}

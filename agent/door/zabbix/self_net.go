package zabbix

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// dns answers net.dns[server,name,type,timeout,count]: 1 if the name is known.
func (p *proxy) dns(ctx context.Context, k key) (string, error) {
	answer, err := p.lookup(ctx, k)
	if err != nil {
		if _, bad := err.(parameterError); bad {
			return "", err
		}
		return "0", nil
	}
	if answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		return "0", nil
	}
	return "1", nil
}

// dnsRecord answers net.dns.record: a line for each record, of name, type and
// value.
func (p *proxy) dnsRecord(ctx context.Context, k key) (string, error) {
	answer, err := p.lookup(ctx, k)
	if err != nil {
		return "", err
	}
	if answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		return "", unsupported("Cannot perform DNS query.")
	}
	var lines []string
	for _, r := range answer.Answer {
		h := r.Header()
		value := strings.TrimSpace(strings.TrimPrefix(r.String(), h.String()))
		lines = append(lines, pad(strings.TrimSuffix(h.Name, "."), 20)+" "+pad(dns.TypeToString[h.Rrtype], 8)+" "+strings.TrimSuffix(value, "."))
	}
	return strings.Join(lines, "\n"), nil
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(width-len(s), 0)) }

// parameterError is a key's fault, not the network's.
type parameterError struct{ error }

func (p *proxy) lookup(ctx context.Context, k key) (*dns.Msg, error) {
	kind, ok := dns.StringToType[strings.ToUpper(cmp.Or(k.param(2), "SOA"))]
	if !ok {
		return nil, parameterError{unsupported("Invalid third parameter.")}
	}
	timeout, err := strconv.Atoi(cmp.Or(k.param(3), "1"))
	if err != nil || timeout < 1 || timeout > 60 {
		return nil, parameterError{unsupported("Invalid fourth parameter.")}
	}
	tries, err := strconv.Atoi(cmp.Or(k.param(4), "2"))
	if err != nil || tries < 1 || tries > 10 {
		return nil, parameterError{unsupported("Invalid fifth parameter.")}
	}
	server := k.param(0)
	if server == "" {
		r, err := p.Machine.Resolver()
		if len(r.Servers) == 0 {
			return nil, ifEmpty("", err)
		}
		server = r.Servers[0].String()
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(cmp.Or(k.param(1), "zabbix.com")), kind)
	client := &dns.Client{Timeout: time.Duration(timeout) * time.Second}
	if k.param(5) == "tcp" {
		client.Net = "tcp"
	}
	for range tries {
		var answer *dns.Msg
		if answer, _, err = client.ExchangeContext(ctx, m, net.JoinHostPort(server, "53")); err == nil {
			return answer, nil
		}
	}
	return nil, unsupported("Cannot perform DNS query: %v", err)
}

// webPage answers web.page.get[host,path,port], .perf with the seconds that it
// took, and .regexp[host,path,port,expression,length,output].
func (p *proxy) webPage(ctx context.Context, k key) (string, error) {
	url := k.param(0)
	if url == "" {
		return "", errFirst
	}
	if !strings.Contains(url, "://") {
		port := cmp.Or(k.param(2), "80")
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", unsupported("Invalid third parameter.")
		}
		url = "http://" + net.JoinHostPort(url, port) + "/" + strings.TrimPrefix(k.param(1), "/")
	}
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil || request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		return "", errFirst
	}
	start := time.Now()
	page, err := get(request)
	took := time.Since(start)
	switch {
	case k.name == "web.page.perf" && err != nil:
		return "0", nil
	case k.name == "web.page.perf":
		return strconv.FormatFloat(took.Seconds(), 'f', 6, 64), nil
	case err != nil:
		return "", unsupported("Cannot get the content of web page: %v", err)
	case k.name == "web.page.regexp":
		text, err := substitute(page, k.param(3), cmp.Or(k.param(5), `\0`))
		if err != nil {
			return "", nil // that nothing matches is an empty value
		}
		if n, err := strconv.Atoi(k.param(4)); err == nil && n >= 0 {
			text = cut(text, n)
		}
		return text, nil
	}
	return page, nil
}

// get is a page with its headers, as it came.
func get(request *http.Request) (string, error) {
	t := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	r, err := t.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	head, err := httputil.DumpResponse(r, false)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMost))
	return string(head) + string(body), err
}

// kernelLimit reads a number below /proc/sys.
func (p *proxy) kernelLimit(name string) func(context.Context, key) (string, error) {
	return func(context.Context, key) (string, error) {
		fields, err := p.proc("sys/" + name)
		if err != nil {
			return "", err
		}
		return fields[0], nil
	}
}

// openFiles is the first number of /proc/sys/fs/file-nr (proc(5)).
func (p *proxy) openFiles(ctx context.Context, k key) (string, error) {
	return p.kernelLimit("fs/file-nr")(ctx, k)
}

func (p *proxy) proc(name string) ([]string, error) {
	body, err := os.ReadFile(filepath.Join(cmp.Or(p.Machine.Root, "/"), "proc", name))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(body))
	if len(fields) == 0 {
		return nil, unsupported("/proc/%s is empty", name)
	}
	return fields, nil
}

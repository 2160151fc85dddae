package zabbix

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const bodyMost = 1 << 20

// fetch answers an item of an HTTP agent.
func (p *proxy) fetch(ctx context.Context, it *item) (string, error) {
	s := p.snapshot()
	text := func(column string) string { return s.expand(it.row.text(column), it) }
	timeout := 3 * time.Second
	if t := text("timeout"); t != "" {
		var err error
		if timeout, err = seconds(t); err != nil || timeout <= 0 || timeout > 10*time.Minute {
			return "", unsupported("Unsupported timeout value %q.", t)
		}
	}
	if n := it.row.number("authtype"); n > 1 {
		return "", unsupported("HTTP authentication of type %d is not supported by this proxy", n)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := p.request(ctx, it, text)
	if err != nil {
		return "", err
	}
	client, err := httpClient(it, text("http_proxy"))
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return "", unsupported("Cannot perform request: %v", errors.Unwrap(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyMost+1))
	switch {
	case err != nil:
		return "", unsupported("Cannot perform request: %v", err)
	case len(body) > bodyMost:
		return "", unsupported("Cannot perform request: the body is larger than %d bytes", bodyMost)
	}
	if wanted := text("status_codes"); !statusIn(response.StatusCode, wanted) {
		return "", unsupported("Response code %q did not match any of the required status codes %q", strconv.Itoa(response.StatusCode), wanted)
	}
	return rendered(it, response, string(body))
}

func (p *proxy) request(ctx context.Context, it *item, text func(string) string) (*http.Request, error) {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodHead}
	method := it.row.number("request_method")
	if method < 0 || method >= len(methods) {
		return nil, unsupported("request method %d is not supported by this proxy", method)
	}
	target, err := url.Parse(text("url"))
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return nil, unsupported("%q is not a URL of http or https", text("url"))
	}
	query, err := queryFields(text("query_fields"))
	if err != nil {
		return nil, err
	}
	if query != "" {
		target.RawQuery = strings.Trim(target.RawQuery+"&"+query, "&")
	}
	request, err := http.NewRequestWithContext(ctx, methods[method], target.String(), strings.NewReader(text("posts")))
	if err != nil {
		return nil, unsupported("%v", err)
	}
	switch it.row.number("post_type") {
	case 2:
		request.Header.Set("Content-Type", "application/json")
	case 3:
		request.Header.Set("Content-Type", "application/xml")
	}
	for _, line := range strings.Split(text("headers"), "\n") {
		if name, v, ok := strings.Cut(strings.TrimRight(line, "\r"), ":"); ok {
			request.Header.Set(strings.TrimSpace(name), strings.TrimSpace(v))
		}
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	if it.row.number("authtype") == 1 {
		request.SetBasicAuth(text("username"), text("password"))
	}
	return request, nil
}

// queryFields reads [{"name":"value"},...].
func queryFields(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	var fields []map[string]string
	if err := json.Unmarshal([]byte(s), &fields); err != nil {
		return "", unsupported("cannot read query fields: %v", err)
	}
	var parts []string
	for _, f := range fields {
		for name, v := range f {
			parts = append(parts, url.QueryEscape(name)+"="+url.QueryEscape(v))
		}
	}
	return strings.Join(parts, "&"), nil
}

// httpClient has certificates and redirects as the item wants them.
func httpClient(it *item, through string) (*http.Client, error) {
	t := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: it.row.number("verify_peer") == 0},
		ForceAttemptHTTP2: true,
	}
	if through != "" {
		u, err := url.Parse(through)
		if err != nil {
			return nil, unsupported("%q is not the URL of a proxy", through)
		}
		t.Proxy = http.ProxyURL(u)
	}
	c := &http.Client{Transport: t}
	c.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		switch {
		case it.row.number("follow_redirects") == 0:
			return http.ErrUseLastResponse
		case len(via) >= 10:
			return errors.New("more than 10 redirects")
		}
		return nil
	}
	return c, nil
}

// statusIn looks a status up in a list such as 200,300-399. An empty list takes any.
func statusIn(status int, list string) bool {
	if strings.TrimSpace(list) == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(list, ","), func(part string) bool {
		from, to, err := span(strings.TrimSpace(part), 0, 999)
		return err == nil && from <= status && status <= to
	})
}

// rendered is the part of a response that the item wants, in its form.
func rendered(it *item, r *http.Response, body string) (string, error) {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s\r\n", r.Proto, r.Status)
	headers := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			fmt.Fprintf(&head, "%s: %s\r\n", name, v)
			headers[name] = v
		}
	}
	head.WriteString("\r\n")
	mode := it.row.number("retrieve_mode")
	if it.row.number("output_format") == 0 {
		return [3]string{body, head.String(), head.String() + body}[min(max(mode, 0), 2)], nil
	}
	wrapped := make(map[string]any)
	if mode != 0 {
		wrapped["header"] = headers
	}
	if mode != 1 {
		wrapped["body"] = body
		if json.Valid([]byte(body)) && checkDepth([]byte(body)) == nil {
			wrapped["body"] = json.RawMessage(body)
		}
	}
	b, err := json.Marshal(wrapped)
	return string(b), err
}

package contract

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
)

// fetched is the data of http.
type fetched struct {
	Status    int     `json:"status_code"`
	Redirects int     `json:"redirect_count"`
	LastURL   string  `json:"last_url"`
	Total     float64 `json:"total_time"` // ms, as all times
	Lookup    float64 `json:"period_nslookup"`
	Connect   float64 `json:"period_tcp_connect"`
	TLS       float64 `json:"period_ssl_connect"`
	Request   float64 `json:"period_request"`
	Response  float64 `json:"period_response"`
	Transfer  float64 `json:"period_transfer"`
	Local     string  `json:"local_ip"`
	Remote    string  `json:"remote_ip"`
	Body      *string `json:"response_body"`
	Header    *string `json:"response_header"`
}

// get is http with further parameters.
func (s *server) get(destination string, parameters map[string]any) response {
	s.Helper()
	if parameters == nil {
		parameters = make(map[string]any)
	}
	if parameters["operation"] == nil {
		parameters["operation"] = "get"
	}
	return s.ask("http", destination, parameters)
}

// echoed is what the web server saw of a request.
func (s *server) echoed(destination string, parameters map[string]any) request {
	s.Helper()
	parameters["save_response_body"] = true
	var data fetched
	s.get(destination, parameters).into(s.TB, &data)
	var seen request
	if data.Body == nil {
		s.Fatalf("%s: no body", destination)
	}
	if err := json.Unmarshal([]byte(*data.Body), &seen); err != nil {
		s.Fatalf("%s: %v in %s", destination, err, *data.Body)
	}
	return seen
}

// An empty body with save_response_body=true leaves response_body out.
func (l *lab) check12(t *testing.T) {
	s := l.running(t)
	got := s.get("http://www.site.test/empty", map[string]any{"save_response_body": true})
	if names := keys(t, got.Data); slices.Contains(names, "response_body") || slices.Contains(names, "response_header") {
		t.Errorf("got %q", names)
	}
	var data fetched
	s.get("http://www.site.test/", map[string]any{"save_response_body": "true", "save_response_header": 1}).into(t, &data)
	if data.Body == nil || *data.Body != "hello from eth0\n" || data.Header == nil {
		t.Errorf("got body %v and header %v", data.Body, data.Header)
	}
}

// total_time is the sum of the six periods within 1 ms, and only https has
// period_ssl_connect.
func (l *lab) check13(t *testing.T) {
	s := l.running(t)
	for destination, secure := range map[string]bool{"http://www.site.test/": false, "https://www.site.test/": true, "https://www.site.test/redirect/2": true} {
		var d fetched
		s.get(destination, nil).into(t, &d)
		if sum := d.Lookup + d.Connect + d.TLS + d.Request + d.Response + d.Transfer; math.Abs(sum-d.Total) > 1 || d.Total <= 0 {
			t.Errorf("%s: the periods are %v together, the total %v", destination, sum, d.Total)
		}
		if secure != (d.TLS > 0) {
			t.Errorf("%s: period_ssl_connect is %v", destination, d.TLS)
		}
	}
}

// http_header reaches the target as header fields, given as the text of a JSON
// object or as K:V.
func (l *lab) check14(t *testing.T) {
	s := l.running(t)
	for _, header := range []any{`{"Content-Type":"application/json","X-One":"1"}`, "Content-Type:application/json\nX-One: 1", map[string]any{"content-type": "application/json", "x-one": 1}} {
		seen := s.echoed("http://www.site.test/echo", map[string]any{"operation": "post", "http_header": header, "http_body": "{}"})
		if got := seen.Header.Values("Content-Type"); len(got) != 1 || got[0] != "application/json" || seen.Header.Get("X-One") != "1" {
			t.Errorf("%v: got %v", header, seen.Header)
		}
	}
}

// Methods, basic authentication and bodies reach a server as told, and
// redirects are followed as told.
func (l *lab) check15(t *testing.T) {
	s := l.running(t)
	const body = `{"type":"direct"}`
	for operation, method := range map[string]string{"get": "GET", "post": "POST", "put": "PUT", "delete": "DELETE", "patch": "PATCH"} {
		seen := s.echoed("http://www.site.test/echo", map[string]any{"operation": operation, "auth_type": "basic", "auth_user": "guest:gu:est", "http_body": body})
		if seen.Method != method || seen.User != "guest:gu:est" || seen.Body != body {
			t.Errorf("%s: the server saw %+v", operation, seen)
		}
	}
	for _, c := range []struct {
		path       string
		parameters map[string]any
		status     int
		redirects  int
		last       string
	}{
		{"/redirect/3", map[string]any{"allow_redirects": true, "max_redirects": 5}, 200, 3, "/redirect/0"},
		{"/redirect/3", map[string]any{"allow_redirects": false, "max_redirects": 5}, 302, 0, "/redirect/3"},
		{"/redirect/5", map[string]any{"allow_redirects": "True", "max_redirects": "5"}, 200, 5, "/redirect/0"},
		{"/status/404", nil, 404, 0, "/status/404"},
		{"/status/500", nil, 500, 0, "/status/500"},
	} {
		var d fetched
		s.get("http://www.site.test"+c.path, c.parameters).into(t, &d)
		if d.Status != c.status || d.Redirects != c.redirects || d.LastURL != "http://www.site.test"+c.last {
			t.Errorf("%s with %v: got %+v", c.path, c.parameters, d)
		}
	}
	s.get("http://www.site.test/redirect/6", map[string]any{"allow_redirects": true, "max_redirects": 5}).failsWith(t, 47)
}

// Failures have libcurl's numbers.
func (l *lab) check16(t *testing.T) {
	s := l.running(t)
	s.get("http://www.site.test:81/", nil).failsWith(t, 7)
	s.get("http://www.site.test/slow", map[string]any{"timeout": 1}).failsWith(t, 28)
	s.get("http://missing.site.test/", nil).failsWith(t, 6)
	s.get("https://www.site.test:8443/", nil).failsWith(t, 60)
	s.get("https://www.site.test:80/", nil).failsWith(t, 35)
}

package probe

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// The server sets a cookie at /login, which leads to /shop/, which leads to
// another host, by name, on the same port.
func TestHTTPCookies(t *testing.T) {
	var sent []string
	var away string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.URL.Path+" "+r.Header.Get("Cookie"))
		switch r.URL.Path {
		case "/login":
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/shop"})
			http.Redirect(w, r, "/shop/", 302)
		case "/shop/":
			http.Redirect(w, r, away, 302)
		}
	}))
	defer s.Close()
	away = fmt.Sprintf("http://away.example.com:%s/end", port(s))
	pin := fmt.Sprintf("away.example.com:%s:127.0.0.1", port(s))
	for _, test := range []struct {
		params map[string]string
		want   []string
	}{
		{nil, []string{"/login ", "/shop/ ", "/end "}},
		{map[string]string{"use_cookies": "true"}, []string{"/login ", "/shop/ session=1", "/end "}},
		{map[string]string{"cookies": `{"a": "b", "n": 7, "none": null}`}, []string{"/login a=b; n=7", "/shop/ a=b; n=7", "/end "}},
		{map[string]string{"cookies": "a=b; c=d", "use_cookies": "1"}, []string{"/login a=b; c=d", "/shop/ session=1; a=b; c=d", "/end "}},
		{map[string]string{"cookies": "a=b", "http_header": "Cookie: x=y"}, []string{"/login x=y; a=b", "/shop/ x=y; a=b", "/end "}},
	} {
		sent = nil
		params := map[string]string{"resolve": pin}
		for name, value := range test.params {
			params[name] = value
		}
		if r, _ := run(t, New(), "http", s.URL+"/login", params); r.Err != nil {
			t.Fatal(r.Err)
		}
		if !slices.Equal(sent, test.want) {
			t.Errorf("%v: sent %q, want %q", test.params, sent, test.want)
		}
	}
}

func TestCookies(t *testing.T) {
	for _, bad := range []string{`{"a": ["b"]}`, `{"a b": "c"}`, `{"a": "b\u0000"}`, `{"a": "b"`, "no-value", ""} {
		var c Cookies
		if err := c.Set(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, c)
		}
	}
}

func FuzzCookies(f *testing.F) {
	f.Add("a=b; c=d")
	f.Add(`{"a": "b", "n": 7}`)
	f.Fuzz(func(t *testing.T, s string) {
		var c Cookies
		if c.Set(s) != nil {
			return
		}
		request := &http.Request{Header: make(http.Header)}
		for _, cookie := range c {
			request.AddCookie(cookie)
		}
		if err := validField("Cookie", request.Header.Get("Cookie")); err != nil {
			t.Errorf("%q: sent %q: %v", s, request.Header.Get("Cookie"), err)
		}
	})
}

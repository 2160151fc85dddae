package probe

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// digestServer lets "guest" with the password "se:cret" in (RFC 7616, section
// 3.4), counts the requests that it gets, and takes each nonce so many times.
func digestServer(t *testing.T, algorithm string, of func() hash.Hash, uses int) (s *httptest.Server, requests *int) {
	sum := func(parts ...string) string {
		h := of()
		io.WriteString(h, strings.Join(parts, ":"))
		return hex.EncodeToString(h.Sum(nil))
	}
	field := regexp.MustCompile(`(\w+)="?([^",]*)"?`)
	requests = new(int)
	nonce, used := "", 0
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		given := make(map[string]string)
		for _, f := range field.FindAllStringSubmatch(strings.TrimPrefix(r.Header.Get("Authorization"), "Digest "), -1) {
			given[f[1]] = f[2]
		}
		want := sum(sum("guest", "the realm", "se:cret"), given["nonce"], given["nc"], given["cnonce"], "auth", sum(r.Method, r.URL.RequestURI()))
		good := given["response"] == want && given["uri"] == r.URL.RequestURI()
		if good && given["nonce"] == nonce && used < uses && given["nc"] == fmt.Sprintf("%08x", used+1) {
			used++
			if r.URL.Path == "/moved" {
				http.Redirect(w, r, "/x?a=b", 302)
			}
			return
		}
		nonce, used = fmt.Sprint("nonce", *requests), 0
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest realm="the realm", qop="auth, auth-int", algorithm=%s, nonce="%s", stale=%v`, algorithm, nonce, good))
		w.WriteHeader(401)
	}))
	t.Cleanup(s.Close)
	return s, requests
}

func TestHTTPDigest(t *testing.T) {
	for _, test := range []struct {
		name, path, user string
		uses             int
		status, requests int
	}{
		{"asked once", "/x?a=b", "guest:se:cret", 9, 200, 2},
		{"redirect on the same nonce", "/moved", "guest:se:cret", 9, 200, 3},
		{"nonce too old", "/moved", "guest:se:cret", 1, 200, 4},
		{"wrong password", "/x", "guest:guess", 9, 401, 2},
		{"server that always asks", "/x", "guest:se:cret", 0, 401, 1 + maxChallenges},
		{"nobody to be", "/x", "", 9, 401, 1},
	} {
		for algorithm, of := range map[string]func() hash.Hash{"MD5": md5.New, "SHA-256": sha256.New} {
			t.Run(test.name+" "+algorithm, func(t *testing.T) {
				s, requests := digestServer(t, algorithm, of, test.uses)
				params := DefaultHTTP()
				params.AuthType, params.AuthUser, params.Operation, params.Body = "digest", test.user, "put", "body"
				r, err := New().HTTP(t.Context(), s.URL+test.path, params)
				if err != nil {
					t.Fatal(err)
				}
				if r.Status != test.status || *requests != test.requests {
					t.Errorf("got %d after %d requests, want %d after %d", r.Status, *requests, test.status, test.requests)
				}
				if moved := test.path == "/moved"; (r.Redirects == 1) != moved || (r.RedirectTime > 0) != moved {
					t.Errorf("got %d redirects in %v: a challenge is none", r.Redirects, r.RedirectTime)
				}
			})
		}
	}
}

// The three requests of RFC 5849, section 1.2, with the parameters that are not
// of a signed request in the query.
func TestOAuthSignsAsTheRFC(t *testing.T) {
	const client, secret = "dpf43f3p2l4k3l03", "kd94hf93k423kf44"
	for _, test := range []struct {
		method, url string
		o           oauth
		nonce       string
		at          int64
		want        string
	}{
		{"POST", "https://photos.example.net/initiate?oauth_callback=http%3A%2F%2Fprinter.example.com%2Fready",
			oauth{client, secret, "", ""}, "wIjqoS", 137131200, "74KNZJeDHnMBp0EMJ9ZHt%2FXKycU%3D"},
		{"POST", "https://photos.example.net:443/token?oauth_verifier=hfdp7dh39dks9884",
			oauth{client, secret, "hh5s93j4hdidpola", "hdhd0244k9j7ao03"}, "walatlh", 137131201, "gKgrFCywp7rO0OXSjdot%2FIHF7IU%3D"},
		{"GET", "http://PHOTOS.example.net:80/photos?file=vacation.jpg&size=original",
			oauth{client, secret, "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00"}, "chapoH", 137131202, "MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D"},
	} {
		request, err := http.NewRequest(test.method, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := test.o.header(request, "HMAC-SHA1", "", stamp{test.nonce, time.Unix(test.at, 0)})
		if !strings.HasPrefix(got, "OAuth ") || !strings.Contains(got, `oauth_signature="`+test.want+`"`) {
			t.Errorf("%s\n got %s\nwant %s", test.url, got, test.want)
		}
	}
}

// Section 3.4.1.1: repeated, empty and blank parameters in query and form.
func TestOAuthBaseString(t *testing.T) {
	request, err := http.NewRequest("POST", "http://example.com/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	pairs := append(formPairs(request, "c2&a3=2+q"), pair{"oauth_consumer_key", "9djdj82h48djs9d2"}, pair{"oauth_token", "kkk9d7dh3k39sjv7"},
		pair{"oauth_signature_method", "HMAC-SHA1"}, pair{"oauth_timestamp", "137131201"}, pair{"oauth_nonce", "7d8f3e4a"})
	want := "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26" +
		"oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
	if got := signatureBase("POST", request.URL, pairs); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestHTTPShowsTokens(t *testing.T) {
	s, requests := webServer(t)
	s.Start()
	for _, test := range []struct {
		params map[string]string
		want   string // pattern of Authorization
	}{
		{map[string]string{"auth_type": "oauth2.0", "auth_user": "mF_9.B5f-4.1JqM"}, `^Bearer mF_9\.B5f-4\.1JqM$`},
		{map[string]string{"authentication_type": "basic_auth", "authentication_content": "guest:guest"}, `^Basic Z3Vlc3Q6Z3Vlc3Q=$`},
		{map[string]string{"auth_type": "oauth1.0", "auth_user": "key:s cret:token:t&", "oauth_signature": "plaintext"},
			`^OAuth oauth_consumer_key="key", oauth_token="token", oauth_signature_method="PLAINTEXT", .*oauth_signature="s%2520cret%26t%2526"$`},
		{map[string]string{"auth_type": "oauth1.0", "auth_user": "key:secret", "oauth_signature": "HMAC-SHA256"},
			`^OAuth oauth_consumer_key="key", oauth_signature_method="HMAC-SHA256", .*oauth_signature="[\w%]{40,60}"$`},
	} {
		if r, _ := run(t, New(), "http", s.URL+"/x", test.params); r.Err != nil {
			t.Fatal(r.Err)
		}
		if got := (<-requests).header.Get("Authorization"); !regexp.MustCompile(test.want).MatchString(got) {
			t.Errorf("%v: sent %q, want %s", test.params, got, test.want)
		}
	}
	for _, params := range []map[string]string{
		{"auth_type": "oauth1.0", "auth_user": "my-only-one"},
		{"auth_type": "oauth2.0", "auth_user": "my-only-one\r\nX: y"},
		{"auth_type": "kerberos", "auth_user": "my-only-one"},
	} {
		if r, _ := run(t, New(), "http", s.URL+"/x", params); r.Err == nil || strings.Contains(r.Err.Error(), "my-only-one") {
			t.Errorf("%v: got %v, want an error without the secret", params, r.Err)
		}
	}
}

// A token is for the origin that it was given for, and what the URL of a
// redirect says is for the origin of that URL alone; it is never shown.
func TestHTTPRedirectWithCredentials(t *testing.T) {
	other, seenByOther := webServer(t)
	other.Start()
	there, err := url.Parse(other.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		params map[string]string
		user   *url.Userinfo
		want   string
	}{
		{map[string]string{"auth_user": "me:mine"}, nil, ""},
		{map[string]string{"auth_user": "me:mine"}, url.UserPassword("you", "yours"), "Basic eW91OnlvdXJz"},
		{nil, url.UserPassword("you", "yours"), "Basic eW91OnlvdXJz"},
		{map[string]string{"auth_type": "oauth2.0", "auth_user": "mine"}, nil, ""},
		{map[string]string{"auth_type": "oauth2.0", "auth_user": "mine"}, url.UserPassword("you", "yours"), "Basic eW91OnlvdXJz"},
		{map[string]string{"auth_type": "oauth1.0", "auth_user": "my:mine"}, nil, ""},
		{map[string]string{"auth_type": "digest", "auth_user": "me:mine"}, url.UserPassword("you", "yours"), ""}, // not unless it is asked for
	} {
		to := *there
		to.User = test.user
		s := httptest.NewServer(http.RedirectHandler(to.String(), 302))
		r, body := run(t, New(), "http", s.URL, test.params)
		s.Close()
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if got := (<-seenByOther).header.Get("Authorization"); got != test.want {
			t.Errorf("%v, %v: sent %q, want %q", test.params, test.user, got, test.want)
		}
		if strings.Contains(body+textOf(r.Data), "yours") || !strings.Contains(body, `"last_url":"`+there.String()+`"`) {
			t.Errorf("got %s\n%s", body, textOf(r.Data))
		}
	}
}

func FuzzOAuth(f *testing.F) {
	f.Add("http://example.com/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b", "c2&a3=2+q", "key:secret:token:secret")
	f.Add("https://[::1]:443?%", "%zz&=;", "a:")
	f.Fuzz(func(t *testing.T, at, body, user string) {
		u, err := url.Parse(at)
		o, bad := parseOAuth(user)
		if err != nil || bad != nil {
			return
		}
		request := &http.Request{Method: "POST", URL: u, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
		got := o.header(request, "PLAINTEXT", body, newStamp())
		if validField("Authorization", got) != nil || strings.Count(signatureBase("POST", u, formPairs(request, body)), "&") != 2 {
			t.Errorf("%s %s %s: got %s", at, body, user, got)
		}
	})
}

package probe

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// word is a parameter with a few values, each of which may have several spellings.
type word struct {
	p     *string
	kind  string
	known string            // as the error lists them
	of    map[string]string // value by spelling, in lower case
	bare  string            // what may stand before a spelling: "HTTP" in HTTP1.1
}

func (v word) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v word) Type() string { return v.kind }

func (v word) Set(s string) error {
	spelling := strings.ToLower(strings.TrimSpace(s))
	if v.bare != "" {
		spelling = strings.TrimLeft(strings.TrimPrefix(spelling, v.bare), "/ ")
	}
	value, found := v.of[spelling]
	if !found {
		return fmt.Errorf("%q is not %s", s, v.known)
	}
	*v.p = value
	return nil
}

func operations(p *string) pflag.Value {
	v := word{p: p, kind: "method", known: "get, post, put, delete, head, patch or options", of: map[string]string{}}
	for _, method := range []string{"get", "post", "put", "delete", "head", "patch", "options"} {
		v.of[method] = method
	}
	return v
}

// schemes takes the names of all schemes: which of them this terminal does
// not have is told like that of a URL.
func schemes(p *string) pflag.Value {
	v := word{p: p, kind: "scheme", known: "http or https", of: map[string]string{}}
	for _, scheme := range []string{"http", "https", "ftp", "rtsp", "rtspu"} {
		v.of[scheme] = scheme
	}
	return v
}

func authTypes(p *string) pflag.Value {
	return word{p: p, kind: "type", known: "basic, digest, oauth1.0 or oauth2.0", of: map[string]string{
		"basic": "basic", "basic_auth": "basic", "digest": "digest", "digest_auth": "digest",
		"oauth1.0": "oauth1", "oauth1": "oauth1", "oauth2.0": "oauth2", "oauth2": "oauth2", "bearer": "oauth2",
	}}
}

func signatures(p *string) pflag.Value {
	return word{p: p, kind: "method", known: "HMAC-SHA1, HMAC-SHA256 or PLAINTEXT", of: map[string]string{
		"hmac-sha1": "HMAC-SHA1", "hmac-sha256": "HMAC-SHA256", "plaintext": "PLAINTEXT",
	}}
}

func versions(p *string) pflag.Value {
	return word{p: p, kind: "version", known: "1.0, 1.1, 2 or 3", bare: "http", of: map[string]string{
		"1": "1.1", "1.0": "1.0", "1.1": "1.1", "2": "2", "2.0": "2", "3": "3", "3.0": "3",
	}}
}

// rawValue is a text that is taken as it is, blanks and all.
type rawValue string

func (v *rawValue) String() string     { return string(*v) }
func (v *rawValue) Type() string       { return "string" }
func (v *rawValue) Set(s string) error { *v = rawValue(s); return nil }

// cacheValue is a time in seconds that can be none at all.
type cacheValue time.Duration

func (v *cacheValue) String() string { return time.Duration(*v).String() }
func (v *cacheValue) Type() string   { return "seconds" }

func (v *cacheValue) Set(s string) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(n >= 0) {
		return fmt.Errorf("%q is not a number of seconds", s)
	}
	*v = cacheValue(min(n, 86400) * float64(time.Second))
	return nil
}

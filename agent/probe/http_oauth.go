package probe

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oauth signs requests with OAuth 1.0 (RFC 5849).
type oauth struct {
	key, secret        string // of the client
	token, tokenSecret string // of whom it acts for; "" for itself
}

// parseOAuth reads key:secret:token:secret, the second half of which may be missing.
func parseOAuth(s string) (oauth, error) {
	part := strings.Split(s, ":")
	switch len(part) {
	case 2:
		return oauth{key: part[0], secret: part[1]}, nil
	case 4:
		return oauth{part[0], part[1], part[2], part[3]}, nil
	}
	return oauth{}, errors.New("not of the form key:secret or key:secret:token:secret")
}

// stamp makes a request unlike every other (section 3.3).
type stamp struct {
	nonce string
	at    time.Time
}

func newStamp() stamp { return stamp{rand.Text(), time.Now()} }

// A pair is a name and its value.
type pair struct{ name, value string }

// header is the value of the field Authorization for a request (section 3.5.1).
func (o oauth) header(request *http.Request, method, body string, at stamp) string {
	pairs := []pair{{"oauth_consumer_key", o.key}}
	if o.token != "" {
		pairs = append(pairs, pair{"oauth_token", o.token})
	}
	pairs = append(pairs, pair{"oauth_signature_method", method}, pair{"oauth_timestamp", strconv.FormatInt(at.at.Unix(), 10)}, pair{"oauth_nonce", at.nonce})
	base := signatureBase(request.Method, request.URL, slices.Concat(pairs, formPairs(request, body)))
	pairs = append(pairs, pair{"oauth_signature", o.sign(method, base)})
	var fields []string
	for _, p := range pairs {
		fields = append(fields, fmt.Sprintf(`%s="%s"`, escape(p.name), escape(p.value)))
	}
	return "OAuth " + strings.Join(fields, ", ")
}

// sign is the signature of a base string (sections 3.4.2 and 3.4.4). HMAC-SHA256
// is HMAC-SHA1 with another hash, as servers that have it agree.
func (o oauth) sign(method, base string) string {
	key := escape(o.secret) + "&" + escape(o.tokenSecret)
	var of func() hash.Hash
	switch method {
	case "PLAINTEXT":
		return key
	case "HMAC-SHA256":
		of = sha256.New
	default:
		of = sha1.New
	}
	mac := hmac.New(of, []byte(key))
	mac.Write([]byte(base))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signatureBase is what is signed (section 3.4.1): the method, the URL without
// its query, and all parameters in order.
func signatureBase(method string, u *url.URL, pairs []pair) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	at := u.Scheme + "://" + host + cmp.Or(u.EscapedPath(), "/")
	var all []pair
	for _, p := range slices.Concat(pairs, queryPairs(u.RawQuery)) {
		all = append(all, pair{escape(p.name), escape(p.value)})
	}
	slices.SortFunc(all, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	var normal []string
	for _, p := range all {
		normal = append(normal, p.name+"="+p.value)
	}
	return escape(method) + "&" + escape(at) + "&" + escape(strings.Join(normal, "&"))
}

// formPairs are the parameters in a body, if that is a form (section 3.4.1.3.1).
func formPairs(request *http.Request, body string) []pair {
	kind, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		return nil
	}
	return queryPairs(body)
}

// queryPairs are the parameters of a query or form, repeated ones too.
func queryPairs(query string) []pair {
	values, _ := url.ParseQuery(query) // what is not a parameter cannot be signed
	var pairs []pair
	for name, all := range values {
		for _, value := range all {
			pairs = append(pairs, pair{name, value})
		}
	}
	return pairs
}

// escape writes all but the unreserved characters as %XX (section 3.6).
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

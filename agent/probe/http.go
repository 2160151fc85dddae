package probe

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
)

var httpInfo = command.Info{
	Wire:       httpWire{},
	Name:       "http",
	Summary:    "One HTTP request, phase by phase",
	Positional: "operation",
	Weight:     2,
	Example: "natrix http get https://www.example.com/\n" +
		"natrix http --http-version 3 -o text get https://www.example.com/\n" +
		`natrix http -u guest:guest -H "content-type: application/json" -D '{"a":1}' put http://192.0.2.1/api`,
}

// HTTPParams are the parameters of a request.
type HTTPParams struct {
	Interface      string // link to send from, by name or by one of its addresses; "" is by route
	Family         string // "ipv4" or "ipv6"; "" is both, IPv4 first
	Operation      string // method: get, post, put, delete, head, patch or options
	Protocol       string // scheme of a destination that has none: "http" or "https"
	Timeout        time.Duration
	ConnectTimeout time.Duration
	Redirects      bool // follow them
	MaxRedirects   int
	AuthType       string  // "basic", "digest", "oauth1" or "oauth2"
	AuthUser       string  // user:password; OAuth 1.0: key:secret:token:secret; OAuth 2.0: token; "" is what the URL says
	OAuthSignature string  // "HMAC-SHA1", "HMAC-SHA256" or "PLAINTEXT"
	Header         Header  // more header fields
	Cookies        Cookies // to send to the destination's host
	UseCookies     bool    // send back those that redirects set
	Body           string
	DNS            string        // name servers in the order in which to ask them, separated by commas; "" is the system's
	DNSCache       time.Duration // how long an address that one request looked up serves the next
	Resolve        Pins          // addresses of names that are not to be looked up
	FreshConnect   bool          // a connection for each request; otherwise redirects within an origin share one
	Version        string        // "1.0", "1.1", "2" (also without TLS), "3", or "" for what the server agrees to
	Insecure       bool          // take any certificate; the result says what is wrong with it
	CACert         string        // whom to believe instead of the system's authorities: PEM, or a file of it
	Cert, Key      string        // certificate to show to the server and its key: PEM, or files of it
	SaveHeader     bool          // keep the response's header in the result
	Capture        string        // file for the probe's packets; "" for none
	SaveBody       bool          // keep the first 256 KiB of the response's body in the result
}

// DefaultHTTP has the original's limits.
func DefaultHTTP() HTTPParams {
	return HTTPParams{
		Operation: "get", Protocol: "http", Timeout: 180 * time.Second, ConnectTimeout: 60 * time.Second, Redirects: true, MaxRedirects: 30,
		AuthType: "basic", OAuthSignature: "HMAC-SHA1", DNSCache: 10 * time.Minute, FreshConnect: true,
	}
}

// Flags declares the parameters for all doors.
func (p *HTTPParams) Flags(f *command.Flags) {
	f.Custom(operations(&p.Operation), "operation", "", "get, post, put, delete, head, patch or options")
	f.Custom(schemes(&p.Protocol), "protocol", "", "http or https, for a destination without; of others the result says that they are not supported")
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses")
	f.Choice(&p.Family, "ipv4", "4", "IPv4 only")
	f.Choice(&p.Family, "ipv6", "6", "IPv6 only")
	f.Seconds(&p.Timeout, "timeout", "t", "for everything together, in seconds")
	f.Seconds(&p.ConnectTimeout, "connect-timeout", "", "for name, connection and TLS, in seconds")
	f.Switch(&p.Redirects, "allow-redirects", "", "follow redirects")
	f.Switch(&p.Redirects, "redirects", "R", "the same, with true or false in a word of its own")
	f.Lookup("redirects").NoOptDefVal = ""
	f.Int(&p.MaxRedirects, "max-redirects", "r", "give up after so many", 0, 100)
	f.Custom(authTypes(&p.AuthType), "auth-type", "a", "basic, digest, oauth1.0 or oauth2.0")
	f.Custom(authTypes(&p.AuthType), "authentication-type", "", "the same")
	f.Text(&p.AuthUser, "auth-user", "u", "user:password; oauth1.0: key:secret:token:secret; oauth2.0: the token; default: what the URL says")
	f.Text(&p.AuthUser, "authentication-content", "c", "the same")
	f.Custom(signatures(&p.OAuthSignature), "oauth-signature", "", "HMAC-SHA1, HMAC-SHA256 or PLAINTEXT")
	f.Custom(&p.Header, "http-header", "H", `"Name: value", or a JSON object of several; may be repeated`)
	f.Custom((*rawValue)(&p.Body), "http-body", "D", "body to send")
	f.Custom((*rawValue)(&p.Body), "data", "d", "the same, as curl has it")
	f.Custom(&p.Cookies, "cookies", "", `cookies to send: "name=value; ...", or a JSON object`)
	f.Switch(&p.UseCookies, "use-cookies", "", "send back the cookies that redirects set")
	f.Text(&p.DNS, "dns-servers", "", "name servers to ask, one after the other, separated by commas")
	f.Custom((*cacheValue)(&p.DNSCache), "dns-cache-timeout", "", "how long redirects may use an address that was looked up, in seconds; 0 is not at all")
	f.Custom(&p.Resolve, "resolve", "", "host:port:address: do not look this name up; may be repeated")
	f.Switch(&p.FreshConnect, "fresh-connect", "", "a new connection for each request; false: redirects within a server share one")
	f.Custom(versions(&p.Version), "http-version", "", "1.0, 1.1, 2 or 3; default: what the server agrees to", "prototol")
	f.Switch(&p.Insecure, "insecure", "k", "take any certificate, and tell what is wrong with it")
	f.Text(&p.CACert, "cacert", "", "authorities to believe instead of the system's: a PEM file, or its text")
	f.Text(&p.Cert, "cert", "", "certificate to show: a PEM file, or its text")
	f.Text(&p.Key, "key", "", "its key, if that is not in the same file")
	f.Switch(&p.SaveHeader, "save-response-header", "", "keep the response's header")
	f.Switch(&p.SaveBody, "save-response-body", "", "keep the response's body, at most 256 KiB of it")
	captureFlag(f, &p.Capture)
	f.Hide("operation", "data", "authentication-type")
}

// HTTPResult is what a request, with its redirects, came to. Any status is a
// result.
type HTTPResult struct {
	Captured
	URL, LastURL   string
	Status         int
	Proto          string // of the response: HTTP/1.1, HTTP/2.0
	Redirects      int
	RedirectTime   time.Duration // from the beginning until the last redirect had been followed
	Remote, Local  netip.AddrPort
	RemoteLocation location.Location
	LocalLocation  location.Location
	Phases         Phases      // of all requests together
	HeaderSize     int         // bytes of all responses' headers
	Upload         int64       // bytes of body sent with the last request
	Download       int64       // bytes of body received with the last response
	CutOff         bool        // there was more of it than the 64 MiB that are read
	TLS            *TLSSession // of the last connection; nil without TLS
	Header         string      // of the last response; "" if it was not asked for
	Body           Body        // likewise
}

// HTTP makes a request and follows its redirects if it may.
func (p *Prober) HTTP(ctx context.Context, destination string, params HTTPParams) (*HTTPResult, error) {
	if params.Capture != "" {
		return captured(ctx, p, params.Capture, func(ctx context.Context, p *Prober) (*HTTPResult, error) {
			params.Capture = ""
			return p.HTTP(ctx, destination, params)
		})
	}
	if !strings.Contains(destination, "://") {
		destination = params.Protocol + "://" + destination
	}
	u, err := webURL(destination)
	if err != nil {
		return nil, err
	}
	e, err := newExchange(ctx, params)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, params.Timeout)
	defer cancel()
	r := &HTTPResult{URL: shown(u)}
	if err := e.follow(ctx, u, r); err != nil {
		return nil, fmt.Errorf("%s %s: %w", e.method, shown(u), err)
	}
	r.RemoteLocation, r.LocalLocation = p.Locations.Of(r.Remote.Addr()), p.Locations.Of(r.Local.Addr())
	return r, nil
}

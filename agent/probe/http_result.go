package probe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/natrix-os/natrix/agent/location"
)

// httpWire is the data of the wire document: times in milliseconds, sizes in
// bytes, speeds in bytes per second. A blank header or body makes the server
// refuse the whole message.
type httpWire struct {
	URL            string            `json:"url"`
	LastURL        string            `json:"last_url"`
	Status         int               `json:"status_code"`
	Redirects      int               `json:"redirect_count"`
	RedirectTime   float64           `json:"redirect_time"`
	RemoteIP       netip.Addr        `json:"remote_ip"`
	RemoteLocation location.Location `json:"remote_location"`
	RemotePort     uint16            `json:"remote_port"`
	LocalIP        netip.Addr        `json:"local_ip"`
	LocalLocation  location.Location `json:"local_location"`
	LocalPort      uint16            `json:"local_port"`
	Total          float64           `json:"total_time"`
	Lookup         float64           `json:"period_nslookup"`
	Connect        float64           `json:"period_tcp_connect"`
	TLS            float64           `json:"period_ssl_connect"`
	Request        float64           `json:"period_request"`
	Response       float64           `json:"period_response"`
	Transfer       float64           `json:"period_transfer"`
	HeaderSize     int               `json:"header_size"`
	Upload         int64             `json:"size_upload"`
	Download       int64             `json:"size_download"`
	UploadSpeed    float64           `json:"speed_upload"`
	DownloadSpeed  float64           `json:"speed_download"`
	Proto          string            `json:"http_version"`
	CutOff         bool              `json:"download_cut_off,omitempty"`
	TLSSession     *tlsWire          `json:"tls,omitempty"`
	Header         string            `json:"response_header,omitempty"`
	Body           string            `json:"response_body,omitempty"`
	Charset        string            `json:"response_charset,omitempty"`
	BodyCutOff     bool              `json:"response_body_cut_off,omitempty"`
	Captured
}

// tlsWire is what the document says of a handshake. Times are RFC 3339.
type tlsWire struct {
	Version     string            `json:"version"`
	Cipher      string            `json:"cipher"`
	KeyExchange string            `json:"key_exchange,omitempty"`
	ALPN        string            `json:"alpn,omitempty"`
	ServerName  string            `json:"server_name"`
	OCSPStapled bool              `json:"ocsp_stapled"`
	Verified    bool              `json:"verified"`
	Problem     string            `json:"problem,omitempty"`
	DaysLeft    int               `json:"days_left"`
	Chain       []certificateWire `json:"chain"`
}

type certificateWire struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"`
	Serial    string    `json:"serial"`
	Key       string    `json:"key"`
	Signature string    `json:"signature"`
	SHA256    string    `json:"sha256"`
}

// MarshalJSON writes the data of the wire document.
func (r *HTTPResult) MarshalJSON() ([]byte, error) {
	p := r.Phases
	text, set := r.Body.Text()
	w := httpWire{
		URL: r.URL, LastURL: r.LastURL, Status: r.Status, Redirects: r.Redirects, RedirectTime: ms(r.RedirectTime),
		RemoteIP: r.Remote.Addr().Unmap().WithZone(""), RemoteLocation: r.RemoteLocation, RemotePort: r.Remote.Port(),
		LocalIP: r.Local.Addr().Unmap().WithZone(""), LocalLocation: r.LocalLocation, LocalPort: r.Local.Port(),
		Total: ms(p.Total()), Lookup: ms(p.Lookup), Connect: ms(p.Connect), TLS: ms(p.TLS),
		Request: ms(p.Request), Response: ms(p.Response), Transfer: ms(p.Transfer),
		HeaderSize: r.HeaderSize, Upload: r.Upload, Download: r.Download,
		UploadSpeed: speed(r.Upload, p.Total()), DownloadSpeed: speed(r.Download, p.Total()),
		Captured: r.Captured, Proto: r.Proto, CutOff: r.CutOff, TLSSession: r.TLS.wire(),
		Header: wireText(headerUTF8(r.Header)), Body: wireText(text), Charset: set, BodyCutOff: r.Body.CutOff,
	}
	return json.Marshal(w)
}

func (s *TLSSession) wire() *tlsWire {
	if s == nil {
		return nil
	}
	w := &tlsWire{
		Version: s.Version, Cipher: s.Cipher, KeyExchange: s.KeyExchange, ALPN: s.ALPN, ServerName: s.ServerName,
		OCSPStapled: s.OCSPStapled, Verified: s.Problem == nil, DaysLeft: s.DaysLeft(),
	}
	if s.Problem != nil {
		w.Problem = s.Problem.Error()
	}
	for _, c := range s.Chain {
		w.Chain = append(w.Chain, certificateWire(c))
	}
	return w
}

func speed(bytes int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(int64(float64(bytes) / d.Seconds()))
}

// headerUTF8 reads a header as ISO 8859-1 unless it is UTF-8, as the original did.
func headerUTF8(header string) string {
	if utf8.ValidString(header) {
		return header
	}
	runes := make([]rune, len(header))
	for i, c := range []byte(header) {
		runes[i] = rune(c)
	}
	return string(runes)
}

// wireText is a text that the server stores: without NUL, and nothing rather
// than blanks.
func wireText(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if strings.TrimSpace(s) == "" {
		return ""
	}
	return s
}

// WriteText prints the outcome and how long each phase took.
func (r *HTTPResult) WriteText(w io.Writer) {
	defer r.Captured.writeText(w)
	p := r.Phases
	fmt.Fprintf(w, "%s %d  %s\n", r.Proto, r.Status, r.LastURL)
	if r.Redirects > 0 {
		fmt.Fprintf(w, "%d redirects in %.3f ms\n", r.Redirects, ms(r.RedirectTime))
	}
	fmt.Fprintf(w, "%v -> %v, %d bytes\n", r.Local, r.Remote, r.Download)
	fmt.Fprintf(w, "lookup %.3f  connect %.3f  tls %.3f  request %.3f  response %.3f  transfer %.3f  total %.3f ms\n",
		ms(p.Lookup), ms(p.Connect), ms(p.TLS), ms(p.Request), ms(p.Response), ms(p.Transfer), ms(p.Total()))
	r.TLS.writeText(w)
	if r.Header != "" {
		fmt.Fprint(w, r.Header)
	}
	if text, _ := r.Body.Text(); text != "" {
		fmt.Fprintln(w, text)
	}
}

func (s *TLSSession) writeText(w io.Writer) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "%s  %s  %s  ALPN %s\n", s.Version, s.Cipher, cmp.Or(s.KeyExchange, "RSA"), cmp.Or(s.ALPN, "none"))
	for i, c := range s.Chain {
		fmt.Fprintf(w, "certificate %d: %s, until %s (%d days), %s, by %s\n", i, c.Subject, c.NotAfter.UTC().Format(time.DateOnly), c.DaysLeft, c.Key, c.Issuer)
	}
	if s.Problem != nil {
		fmt.Fprintf(w, "not to be believed: %v\n", s.Problem)
	}
}

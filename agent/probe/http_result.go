package probe

import (
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
	Header         string            `json:"response_header,omitempty"`
	Body           string            `json:"response_body,omitempty"`
}

// MarshalJSON writes the data of the wire document.
func (r *HTTPResult) MarshalJSON() ([]byte, error) {
	p := r.Phases
	w := httpWire{
		URL: r.URL, LastURL: r.LastURL, Status: r.Status, Redirects: r.Redirects, RedirectTime: ms(r.RedirectTime),
		RemoteIP: r.Remote.Addr().Unmap().WithZone(""), RemoteLocation: r.RemoteLocation, RemotePort: r.Remote.Port(),
		LocalIP: r.Local.Addr().Unmap().WithZone(""), LocalLocation: r.LocalLocation, LocalPort: r.Local.Port(),
		Total: ms(p.Total()), Lookup: ms(p.Lookup), Connect: ms(p.Connect), TLS: ms(p.TLS),
		Request: ms(p.Request), Response: ms(p.Response), Transfer: ms(p.Transfer),
		HeaderSize: r.HeaderSize, Upload: r.Upload, Download: r.Download,
		UploadSpeed: speed(r.Upload, p.Total()), DownloadSpeed: speed(r.Download, p.Total()),
		Proto: r.Proto, Header: wireText([]byte(r.Header)), Body: wireText(r.Body),
	}
	return json.Marshal(w)
}

func speed(bytes int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(int64(float64(bytes) / d.Seconds()))
}

// wireText is text that the server stores: UTF-8, without NUL, and nothing
// rather than blanks. What is not UTF-8 is read as ISO 8859-1, as the original did.
func wireText(b []byte) string {
	s := string(b)
	if !utf8.ValidString(s) {
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		s = string(runes)
	}
	s = strings.ReplaceAll(s, "\x00", "")
	if strings.TrimSpace(s) == "" {
		return ""
	}
	return s
}

// WriteText prints the outcome and how long each phase took.
func (r *HTTPResult) WriteText(w io.Writer) {
	p := r.Phases
	fmt.Fprintf(w, "%s %d  %s\n", r.Proto, r.Status, r.LastURL)
	if r.Redirects > 0 {
		fmt.Fprintf(w, "%d redirects in %.3f ms\n", r.Redirects, ms(r.RedirectTime))
	}
	fmt.Fprintf(w, "%v -> %v, %d bytes\n", r.Local, r.Remote, r.Download)
	fmt.Fprintf(w, "lookup %.3f  connect %.3f  tls %.3f  request %.3f  response %.3f  transfer %.3f  total %.3f ms\n",
		ms(p.Lookup), ms(p.Connect), ms(p.TLS), ms(p.Request), ms(p.Response), ms(p.Transfer), ms(p.Total()))
	if r.Header != "" {
		fmt.Fprint(w, r.Header)
	}
	if len(r.Body) > 0 {
		fmt.Fprintln(w, wireText(r.Body))
	}
}

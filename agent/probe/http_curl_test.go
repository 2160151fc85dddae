package probe

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// needCurl skips the test without curl, unless NATRIX_MUST demands it.
func needCurl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv(nettest.Must), ","), "curl") {
		t.Fatal("curl is required by " + nettest.Must)
	}
	t.Skip("no curl")
}

// phaseNames are those of libcurl's timers that end a phase, and the whole.
var phaseNames = []string{"lookup", "connect", "tls", "request", "response", "transfer", "redirect", "total"}

// curlPhases runs curl in a host and returns its timers in milliseconds, each
// from the end of the one before.
func curlPhases(t *testing.T, h *nettest.Host, server netip.Addr, args ...string) []float64 {
	t.Helper()
	out := runIn(t, h, server, nil, append([]string{"curl", "-sS", "-o", "/dev/null", "-w", "%{json}"}, args...)...)
	var w struct {
		Lookup   float64 `json:"time_namelookup"`
		Connect  float64 `json:"time_connect"`
		TLS      float64 `json:"time_appconnect"`
		Request  float64 `json:"time_pretransfer"`
		Response float64 `json:"time_starttransfer"`
		Total    float64 `json:"time_total"`
		Redirect float64 `json:"time_redirect"`
		Status   int     `json:"response_code"`
	}
	if err := json.Unmarshal(out, &w); err != nil || w.Status != 200 {
		t.Fatalf("curl %v: %v, %s", args, err, out)
	}
	secured := max(w.TLS, w.Connect)
	seconds := []float64{w.Lookup, w.Connect - w.Lookup, secured - w.Connect, w.Request - secured, w.Response - w.Request, w.Total - w.Response, w.Redirect, w.Total}
	for i := range seconds {
		seconds[i] *= 1000
	}
	return seconds
}

// natrixPhases does the same with natrix.
func natrixPhases(t *testing.T, h *nettest.Host, server netip.Addr, url string, params map[string]string) []float64 {
	t.Helper()
	_, w := httpIn(t, h, server, url, params)
	return []float64{w.Lookup, w.Connect, w.TLS, w.Request, w.Response, w.Transfer, w.RedirectTime, w.Total}
}

// typical is the median of each phase over the quicker half of some runs. Other
// load of the machine lengthens a run; a byte that is seen late moves time from
// one phase to the next, and that either way.
func typical(runs [][]float64) []float64 {
	whole := len(phaseNames) - 1
	quick := slices.Clone(runs)
	slices.SortFunc(quick, func(a, b []float64) int { return cmp.Compare(a[whole], b[whole]) })
	quick = quick[:(len(quick)+1)/2]
	var m []float64
	for i := range phaseNames {
		var all []float64
		for _, r := range quick {
			all = append(all, r[i])
		}
		slices.Sort(all)
		m = append(m, all[len(all)/2])
	}
	return m
}

// apart is the phases in which two measurements are more than 5 ms and more than
// 5 % apart.
func apart(a, b []float64) []string {
	var names []string
	for i, name := range phaseNames {
		if d := max(a[i]-b[i], b[i]-a[i]); d > max(5, a[i]/20) {
			names = append(names, fmt.Sprintf("%s: curl %.1f ms, natrix %.1f ms", name, a[i], b[i]))
		}
	}
	return names
}

// curl and natrix measure the same server in turns, over a path of 100 ms, with
// a delay in each phase. Other load of the machine falls on both, but not
// evenly: there are more runs as long as the quicker ones are apart.
func TestNetnsHTTPAgreesWithCurl(t *testing.T) {
	needCurl(t)
	const fewest, most = 3, 21
	root := newIssuer(t, "the root", nil)
	ca := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(ca, []byte(root.pem()), 0o644); err != nil {
		t.Fatal(err)
	}
	slow := http.NewServeMux()
	slow.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(120 * time.Millisecond)
		http.Redirect(w, r, "/", 302)
	})
	slow.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(150 * time.Millisecond)
		fmt.Fprint(w, "first")
		w.(http.Flusher).Flush()
		time.Sleep(130 * time.Millisecond)
		fmt.Fprint(w, "last")
	})
	hesitant := func() *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{root.leaf(day)},
			NextProtos:   []string{"h2", "http/1.1"},
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				time.Sleep(110 * time.Millisecond)
				return nil, nil
			},
		}
	}
	for _, test := range []struct {
		name, scheme, path string
		curl               []string
		natrix             map[string]string
		least              []float64 // of each phase, which says that the delays are there
	}{
		{"HTTP/1.1", "http", "/", []string{"--http1.1"}, map[string]string{"http_version": "1.1"}, []float64{190, 100, 0, 0, 250, 130, 0, 670}},
		{"HTTP/1.1 with TLS", "https", "/", []string{"--http1.1"}, map[string]string{"http_version": "1.1"}, []float64{190, 100, 210, 0, 250, 130, 0, 880}},
		{"HTTP/2", "https", "/", []string{"--http2"}, map[string]string{"http_version": "2"}, []float64{190, 100, 210, 0, 250, 130, 0, 880}},
		{"HTTP/1.0", "http", "/", []string{"--http1.0"}, map[string]string{"http_version": "1.0"}, []float64{190, 100, 0, 0, 250, 130, 0, 670}},
		{"redirect on one connection", "http", "/moved", []string{"--http1.1", "-L"}, map[string]string{"http_version": "1.1", "fresh_connect": "false"}, []float64{190, 100, 0, 0, 470, 130, 510, 890}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h, far := nettest.Line(t, nettest.Router{Delay: 50 * time.Millisecond})
			s := &site{host: far}
			s.serveDNS(t, 90*time.Millisecond)
			var config *tls.Config
			if test.scheme == "https" {
				config = hesitant()
			}
			url := fmt.Sprintf("%s://www.example.com:%s%s", test.scheme, s.serveWeb(t, config, slow), test.path)
			params := map[string]string{"cacert": root.pem()}
			for name, value := range test.natrix {
				params[name] = value
			}
			var theirs, ours [][]float64
			for {
				theirs = append(theirs, curlPhases(t, h, far.Addr4, append(test.curl, "--cacert", ca, url)...))
				ours = append(ours, natrixPhases(t, h, far.Addr4, url, params))
				if len(ours) < fewest {
					continue
				}
				curl, natrix := typical(theirs), typical(ours)
				bad := apart(curl, natrix)
				if len(bad) == 0 {
					t.Logf("after %d runs: curl %.1f, natrix %.1f ms", len(ours), curl, natrix)
					for i, least := range test.least {
						if natrix[i] < least-5 {
							t.Errorf("%s took %.1f ms, want %v at least", phaseNames[i], natrix[i], least)
						}
					}
					return
				}
				if len(ours) == most {
					t.Fatalf("the quicker of %d runs are apart: %s", most, strings.Join(bad, "; "))
				}
			}
		})
	}
}

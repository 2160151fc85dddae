package probe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// pageServer has a page of a sheet and an image, and a font that is missing.
func pageServer(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			http.Redirect(w, r, "/home", http.StatusMovedPermanently)
		case "/home":
			time.Sleep(50 * time.Millisecond)
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<link rel=stylesheet href=a.css><link rel=stylesheet href=gone.css><img src=a.png>`)
		case "/a.css":
			fmt.Fprint(w, `p { color: red }`)
		case "/a.png":
			time.Sleep(100 * time.Millisecond)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// load runs the command; the server itself has no rules for its result.
func load(t *testing.T, destination string, params map[string]string) (command.Result, string) {
	t.Helper()
	r := command.NewSet(New().Commands()...).Execute(t.Context(), command.Command{Name: "performance", Destination: destination, Params: params, Received: time.Now()})
	return r, string(command.Encode(r))
}

func TestPerformance(t *testing.T) {
	s := pageServer(t)
	r, body := load(t, s.URL, map[string]string{"browser": "curl", "snapshot": "true", "har": "1"})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	var doc struct {
		Data struct {
			Timing    map[string]any
			Resources map[string]map[string]any
			LastURL   string `json:"last_url"`
			Snapshot  struct {
				Type string
				Data []byte
			}
			HAR struct{ Log struct{ Entries []any } }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	// The names and their order are those of the document.
	timing := strings.Fields(`statusCode resourceSize navigationStart redirectStart redirectEnd fetchStart domainLookupStart domainLookupEnd
		connectStart secureConnectionStart connectEnd requestStart responseStart responseEnd domLoading domInteractive
		domContentLoadedEventStart domContentLoadedEventEnd domComplete loadEventStart loadEventEnd`)
	last := 0.0
	for _, name := range timing {
		v, ok := doc.Data.Timing[name].(float64)
		if !ok {
			t.Errorf("timing.%s is missing: %s", name, body)
		}
		if v > 1e12 && name != "domLoading" { // a time; the document is read while it comes
			if v < last {
				t.Errorf("timing.%s is %.3f, before %.3f", name, v, last)
			}
			last = v
		}
	}
	number := func(name string) float64 { return doc.Data.Timing[name].(float64) }
	if total := number("loadEventEnd") - number("navigationStart"); total < 150 || total > 20e3 {
		t.Errorf("total %v ms, want 150 and a little", total)
	}
	if number("statusCode") != 200 || number("redirectEnd") == 0 || number("secureConnectionStart") != 0 {
		t.Errorf("timing: %v", doc.Data.Timing)
	}
	for file, want := range map[string]string{"a.css": "link 200", "gone.css": "link 404", "a.png": "img 200"} {
		one := doc.Data.Resources[s.URL+"/"+file]
		if got := fmt.Sprint(one["initiatorType"], " ", one["statusCode"]); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
		for _, name := range strings.Fields(`startTime fetchStart redirectStart redirectEnd domainLookupStart domainLookupEnd connectStart
			secureConnectionStart requestStart responseStart responseEnd transferSize encodedBodySize decodedBodySize`) {
			if _, ok := one[name].(float64); !ok {
				t.Errorf("resource has no %s: %v", name, one)
			}
		}
	}
	if doc.Data.LastURL != s.URL+"/home" || doc.Data.Snapshot.Type != "text/html" || !strings.Contains(string(doc.Data.Snapshot.Data), "a.css") || len(doc.Data.HAR.Log.Entries) != 4 {
		t.Errorf("got %s", body)
	}
	text := textOf(r.Data)
	for _, want := range []string{"HTTP/1.1 200  " + s.URL + "/home", "gone.css", "4 requests", "█", "loaded "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestPerformanceFiles(t *testing.T) {
	s := pageServer(t)
	params := DefaultPerformance()
	dir := t.TempDir()
	params.SnapshotFile, params.HARFile = filepath.Join(dir, "page.html"), filepath.Join(dir, "page.har")
	r, err := New().Performance(t.Context(), s.URL, params)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{params.SnapshotFile: "a.css", params.HARFile: `"version": "1.2"`} {
		if got, err := os.ReadFile(file); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %v, %q is missing in %s", file, err, want, got)
		}
	}
	if body, _ := json.Marshal(r); strings.Contains(string(body), `"snapshot"`) || strings.Contains(string(body), `"har"`) {
		t.Errorf("files are in the document too: %s", body)
	}
	// Over a wire nobody names a file.
	forbidden := filepath.Join(dir, "forbidden")
	for _, name := range []string{"snapshot", "har"} {
		if r, _ := load(t, s.URL, map[string]string{name: forbidden}); r.Err == nil {
			t.Errorf("%s over a wire: got no error", name)
		}
	}
	if _, err := os.Stat(forbidden); err == nil {
		t.Error("a wire wrote a file")
	}
}

func TestPerformanceFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		destination string
		params      map[string]string
		want        string
	}{
		{"ftp://www.example.com/", nil, `"errorcode":120,`},
		{"http://a b/", nil, `"errorcode":120,`},
		{"http://127.0.0.1:1/", nil, `"errorcode":122,`},
		{"http://127.0.0.1:1/", map[string]string{"browser": "lynx"}, `is not curl, chrome or firefox`},
		{"http://127.0.0.1:1/", map[string]string{"cache": "true"}, `chrome and firefox do`},
		{"http://127.0.0.1:1/", map[string]string{"interface": "absent0"}, `no such link`},
		{"http://127.0.0.1:1/", map[string]string{"dns_server": "example"}, `is not an address`},
	} {
		r, body := load(t, test.destination, test.params)
		if r.Err == nil || !strings.Contains(body, test.want) {
			t.Errorf("%s %v: got %s, want %s", test.destination, test.params, body, test.want)
		}
	}
}

package page

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// heavySite is a page of some weight: a document of a megabyte, sheets of half
// a megabyte, images of two, all in all about 32 MB by 130 requests.
func heavySite(w http.ResponseWriter, r *http.Request) {
	file := r.URL.Path
	switch {
	case file == "/":
		w.Header().Set("Content-Type", "text/html")
		for i := range 8 {
			fmt.Fprintf(w, `<link rel=stylesheet href="/s%d.css"><script src="/s%d.js"></script>`, i, i)
		}
		for i := range 10000 {
			fmt.Fprintf(w, `<div class="c%d" id="i%d"><p>some text that a page is made of, and a little more</p></div>`, i, i)
		}
		for i := range 100 {
			fmt.Fprintf(w, `<img src="/i%d.png">`, i)
		}
	case strings.HasSuffix(file, ".css"):
		w.Header().Set("Content-Type", "text/css")
		for i := range 5000 {
			fmt.Fprintf(w, ".c%d > p { color: #fff; margin: 0 auto; background: url(/b%d.png) }\n", i*1000, i%5)
		}
	case strings.HasSuffix(file, ".png"):
		w.Write(bytes.Repeat([]byte("pixel..."), 32<<10))
	}
}

// loadAlone is the address that a copy of this test is to load, so that the
// server's memory is not counted.
const loadAlone = "NATRIX_TEST_LOAD"

// A page load without a browser stays within 25 MB of memory beyond what the
// process has before.
func TestFetchMemory(t *testing.T) {
	if address := os.Getenv(loadAlone); address != "" {
		loadAndMeasure(t, address)
		return
	}
	u, _ := serve(t, heavySite, false)
	for _, secure := range []bool{false, true} {
		if secure {
			u, _ = serve(t, heavySite, true)
		}
		alone := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFetchMemory$", "-test.v")
		alone.Env = append(os.Environ(), loadAlone+"="+u.String())
		out, err := alone.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		found := regexp.MustCompile(`grew by (\d+) KiB: (\d+) resources, (\d+) bytes`).FindSubmatch(out)
		if found == nil {
			t.Fatalf("no measurement in\n%s", out)
		}
		t.Logf("secure %v: %s", secure, found[0])
		grown, _ := strconv.Atoi(string(found[1]))
		total, _ := strconv.Atoi(string(found[3]))
		if grown > 25<<10 || total < 25e6 {
			t.Errorf("secure %v: %s, want no more than 25 MiB for at least 25 MB", secure, found[0])
		}
	}
}

func loadAndMeasure(t *testing.T, address string) {
	small, o := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "warm") }, false)
	if _, err := Fetch(t.Context(), small, o); err != nil {
		t.Fatal(err)
	}
	before := peak(t)
	o.Insecure = true
	l, err := Fetch(t.Context(), fetchable(small, address), o)
	if err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, r := range l.Resources {
		bytes += r.TransferSize
		if r.Err != "" {
			t.Errorf("%s: %s", r.URL, r.Err)
		}
	}
	fmt.Printf("grew by %d KiB: %d resources, %d bytes in %v\n", peak(t)-before, len(l.Resources), bytes, l.Total().Round(time.Millisecond))
}

// peak is the most memory that the process has had in KiB.
func peak(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	kib, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

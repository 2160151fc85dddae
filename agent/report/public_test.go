package report

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestFindAddr(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`{"origin": "1.2.3.4, 5.6.7.8"}`, "1.2.3.4"},
		{"1.2.3.4\n", "1.2.3.4"},
		{"<html><body>Current IP Address: 1.2.3.4</body></html>", "1.2.3.4"},
		{"2001:db8::1", "2001:db8::1"},
		{"::ffff:1.2.3.4", "1.2.3.4"},
		{"version 1.2.3 of 0.0.0.0 at 127.0.0.1", ""},
		{"", ""},
	} {
		got, ok := findAddr(tt.text)
		if ok != (tt.want != "") || ok && got != netip.MustParseAddr(tt.want) {
			t.Errorf("findAddr(%q) = %v, %v, want %q", tt.text, got, ok, tt.want)
		}
	}
}

func TestHost(t *testing.T) {
	for target, want := range map[string]string{
		"www.example.com":              "www.example.com",
		"www.example.com:8080":         "www.example.com",
		"https://www.example.com/path": "www.example.com",
		"http://u:p@[2001:db8::1]:8/x": "2001:db8::1",
		"192.0.2.1":                    "192.0.2.1",
		"2001:db8::1":                  "2001:db8::1",
		"[2001:db8::1]":                "2001:db8::1",
		"":                             "",
		"http://%zz":                   "",
	} {
		if got := host(target); got != want {
			t.Errorf("host(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestPublicAddressBelongsToALocalOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		home, away, public := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("1.2.3.4")
		r.public["eth0"] = publicTry{local: home, public: public, when: time.Now()}
		if got := r.publicOf("eth0", home); got != public || !r.known("eth0", home) {
			t.Errorf("got %v, want %v", got, public)
		}
		if got := r.publicOf("eth0", away); got.IsValid() || r.known("eth0", away) {
			t.Errorf("got %v with another local address, want none", got)
		}
		time.Sleep(publicAge)
		if got := r.publicOf("eth0", home); got != public || r.known("eth0", home) {
			t.Errorf("got %v, known %v when old, want %v, to be looked up again", got, r.known("eth0", home), public)
		}
	})
}

func TestRunWithoutServicesEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := New(Config{}).Run(ctx); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestSTUN(t *testing.T) {
	id := stunID{1, 2, 3, 12}
	request := stunRequest(id)
	for _, from := range []string{"192.0.2.1:5", "[2001:db8::1]:5"} {
		want := netip.MustParseAddrPort(from)
		answer := stunAnswer(request, want)
		if got, ok := parseSTUN(answer, id); !ok || got != want.Addr() {
			t.Errorf("got %v, %v, want %v", got, ok, want.Addr())
		}
		if got, ok := parseSTUN(answer, stunID{9}); ok {
			t.Errorf("got %v of an answer to another request, want none", got)
		}
		for n := range answer {
			if got, ok := parseSTUN(answer[:n], id); ok {
				t.Errorf("got %v of %d bytes of %d, want none", got, n, len(answer))
			}
		}
	}
	// The example of RFC 5769, 2.2: cookie, id and address as printed there.
	rfc := stunID{0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae}
	sample := append([]byte{1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42}, rfc[:]...)
	sample = append(sample, 0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43)
	if got, ok := parseSTUN(sample, rfc); !ok || got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("got %v, %v of the RFC's sample, want 192.0.2.1", got, ok)
	}
}

func FuzzSTUN(f *testing.F) {
	id := stunID{1}
	f.Add(stunAnswer(stunRequest(id), netip.MustParseAddrPort("192.0.2.1:5")))
	f.Add(stunAnswer(stunRequest(id), netip.MustParseAddrPort("[2001:db8::1]:5")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := parseSTUN(b, id); ok && !a.IsValid() {
			t.Errorf("found an address that is none in %x", b)
		}
	})
}

func FuzzFindAddr(f *testing.F) {
	f.Add(`{"origin": "1.2.3.4, 5.6.7.8"}`)
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := findAddr(s); ok && (!a.IsValid() || a.Zone() != "") {
			t.Errorf("found %v in %q", a, s)
		}
		host(s)
	})
}

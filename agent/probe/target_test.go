package probe

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/natrix-os/natrix/agent/command"
)

func TestHostOf(t *testing.T) {
	for _, test := range []struct{ destination, want string }{
		{"www.example.com", "www.example.com"},
		{"www.example.com.", "www.example.com."},
		{"localhost", "localhost"},
		{"192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:80", "192.0.2.1"},
		{"www.example.com:8080", "www.example.com"},
		{"http://www.example.com/index.html", "www.example.com"},
		{"https://www.example.com:8443?q=a:b", "www.example.com"},
		{"ftp://user:p@ss@ftp.example.com/x", "ftp.example.com"},
		{"http://[::1]/", "::1"},
		{"http://[2001:db8::1]:8080/", "2001:db8::1"},
		{"[2001:db8::1]:80", "2001:db8::1"},
		{"2001:db8::1", "2001:db8::1"},
		{"fe80::1%eth0", "fe80::1%eth0"},
		{"http://[fe80::1%25eth0]/", "fe80::1%eth0"},
		{"http://[fe80::1%25eth0]:80/", "fe80::1%eth0"},
		{"[fe80::1%eth0]:80", "fe80::1%eth0"},
		{"_sip._tcp.example.com", "_sip._tcp.example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"http://例え.jp/", "xn--r8jz45g.jp"},
		{"WWW.Example.COM", "www.example.com"},
	} {
		got, err := hostOf(test.destination)
		if got != test.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", test.destination, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "http://", "a b", "a\x00b", "http://:80/", "%zz"} {
		if got, err := hostOf(bad); !errors.Is(err, command.ErrResolve) {
			t.Errorf("%q: got %q, %v", bad, got, err)
		}
	}
}

func TestWebURL(t *testing.T) {
	for _, test := range []struct{ destination, want string }{
		{"www.example.com", "http://www.example.com"},
		{"http://www.example.com/a?b=c", "http://www.example.com/a?b=c"},
		{"HTTPS://www.example.com:8443/", "https://www.example.com:8443/"},
		{"localhost:15672/api", "http://localhost:15672/api"},
		{"http://[::1]:80/", "http://[::1]:80/"},
		{"bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"},
	} {
		got, err := webURL(test.destination)
		if err != nil || got.String() != test.want {
			t.Errorf("%s: got %v, %v, want %s", test.destination, got, err, test.want)
		}
	}
	for bad, want := range map[string]error{
		"http://": command.ErrURL, "http://a b/": command.ErrURL, "http://a:port/": command.ErrURL, "ftp://example.com/": command.ErrScheme,
	} {
		if got, err := webURL(bad); !errors.Is(err, want) {
			t.Errorf("%q: got %v, %v, want %v", bad, got, err, want)
		}
	}
}

func TestURLIsShownWithoutPasswordAndZone(t *testing.T) {
	for _, test := range []struct{ destination, host, want string }{
		{"http://[fe80::1%25eth0]/x", "fe80::1%eth0", "http://[fe80::1]/x"},
		{"https://guest:secret@[fe80::1%25eth0]:8443/", "fe80::1%eth0", "https://[fe80::1]:8443/"},
		{"http://[2001:db8::1]:80/", "2001:db8::1", "http://[2001:db8::1]:80/"},
		{"http://guest:secret@www.example.com/%25eth0", "www.example.com", "http://www.example.com/%25eth0"},
	} {
		u, err := webURL(test.destination)
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(u); got != test.want || u.Hostname() != test.host {
			t.Errorf("%s: got %s, host %s, want %s, %s", test.destination, got, u.Hostname(), test.want, test.host)
		}
	}
}

func FuzzDestination(f *testing.F) {
	for _, s := range []string{"www.example.com", "http://[::1%25eth0]:80/x", "[::]:", "@:/", "xn--0", "\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if host, err := hostOf(s); err == nil && host == "" {
			t.Errorf("%q: no host and no error", s)
		}
		if u, err := webURL(s); err == nil && u.Host == "" {
			t.Errorf("%q: no host and no error", s)
		}
		serverList(s)
	})
}

func TestPathByLink(t *testing.T) {
	six := path{spec: "2001:db8::1", src: netip.MustParseAddr("2001:db8::1"), link: "eth1"}
	for _, test := range []struct {
		path     path
		to, want string
	}{
		{path{}, "192.0.2.1", ""},
		{path{spec: "eth0"}, "192.0.2.1", "eth0"},
		{path{spec: "eth0"}, "127.0.0.1", "eth0"},
		{path{spec: "eth0", implied: true}, "192.0.2.1", "eth0"},
		{path{spec: "eth0", implied: true}, "127.0.0.1", ""},
		{path{spec: "eth0", implied: true}, "::1", ""},
		{six, "192.0.2.53", "2001:db8::1"},
		{six.forNames(), "192.0.2.53", "eth1"},
		{six.forNames(), "2001:db8::53", "2001:db8::1"},
		{path{spec: "eth0"}.forNames(), "192.0.2.53", "eth0"},
	} {
		if got := test.path.by(netip.MustParseAddr(test.to)); got != test.want {
			t.Errorf("%+v to %s: got %q, want %q", test.path, test.to, got, test.want)
		}
	}
}

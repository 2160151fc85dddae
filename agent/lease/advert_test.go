package lease

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// userOption is what the kernel sends for an RDNSS option of the link 5.
func userOption(lifetime uint32, servers ...string) []byte {
	b := make([]byte, 16, 64)
	b[0] = 10 // AF_INET6
	binary.NativeEndian.PutUint16(b[2:], uint16(8+16*len(servers)))
	binary.NativeEndian.PutUint32(b[4:], 5)
	b[8] = 134
	b = append(b, 25, byte(1+2*len(servers)), 0, 0)
	b = binary.BigEndian.AppendUint32(b, lifetime)
	for _, s := range servers {
		b = append(b, netip.MustParseAddr(s).AsSlice()...)
	}
	return b
}

func TestParseAdvert(t *testing.T) {
	got, ok := parseAdvert(userOption(600, "2001:db8::1", "fe80::1"))
	want := advert{5, []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1")}, 10 * time.Minute}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	dnssl := userOption(600, "2001:db8::1")
	dnssl[16] = 31
	if got, ok := parseAdvert(dnssl); ok {
		t.Errorf("search list: got %+v, want it passed over", got)
	}
	short := userOption(600, "2001:db8::1")
	if got, ok := parseAdvert(short[:len(short)-1]); ok {
		t.Errorf("short option: got %+v, want it passed over", got)
	}
}

func FuzzParseAdvert(f *testing.F) {
	f.Add(userOption(600, "2001:db8::1", "fe80::1"))
	f.Add(userOption(0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := parseAdvert(b); ok && len(a.servers) == 0 {
			t.Errorf("accepted %+v without a server", a)
		}
	})
}

func TestAdvertsEnd(t *testing.T) {
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	servers := learn(nil, advert{5, []netip.Addr{a, b}, time.Minute}, asked)
	servers = learn(servers, advert{5, []netip.Addr{b}, time.Hour}, asked)
	if got, want := addresses(servers), []netip.Addr{a, b}; !reflect.DeepEqual(got, want) {
		t.Errorf("at first: got %v, want %v", got, want)
	}
	if got, want := untilNextEnd(map[int][]server{5: servers}, asked), time.Minute; got != want {
		t.Errorf("next end: got in %v, want in %v", got, want)
	}
	if got, want := addresses(expire(servers, asked.Add(time.Minute))), []netip.Addr{b}; !reflect.DeepEqual(got, want) {
		t.Errorf("after a minute: got %v, want %v", got, want)
	}
	if got := addresses(learn(servers, advert{5, []netip.Addr{a, b}, 0}, asked)); len(got) != 0 {
		t.Errorf("withdrawn by the router: got %v, want none", got)
	}
}

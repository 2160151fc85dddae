package location

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// wry is ipv6wry.db, the IPv6 data that comes with ip2region:
//
//	0     "IPDB", version (2 bytes), bytes of an offset, bytes of an address
//	8     number of index entries, and where they begin (8 bytes each)
//	      texts, each ending with NUL: country and area, either of which can
//	      be told by where it is: 2 and an offset; 1 and an offset is both
//	      index: first half of an address (8 bytes), and where its texts are
//
// All numbers are little-endian. The country goes on with province, city and
// district, separated by tabs.
type wry struct {
	body   []byte
	index  []byte
	offset int // bytes of an offset
}

func openWry(body []byte) (*wry, error) {
	const header = 24
	if len(body) < header || body[6] < 1 || body[6] > 8 || body[7] != 8 {
		return nil, errors.New("ipv6wry: header is not of the known form")
	}
	w := &wry{body: body, offset: int(body[6])}
	entries, begin := binary.LittleEndian.Uint64(body[8:]), binary.LittleEndian.Uint64(body[16:])
	if entries == 0 || entries > uint64(len(body)) {
		return nil, errors.New("ipv6wry: no index")
	}
	if w.index = slice(body, begin, entries*uint64(8+w.offset)); w.index == nil {
		return nil, errors.New("ipv6wry: ends early")
	}
	return w, nil
}

func (w *wry) find(addr netip.Addr) (Location, bool) {
	if !addr.Is6() {
		return Location{}, false
	}
	ip := addr.As16()
	want := binary.BigEndian.Uint64(ip[:8])
	size := 8 + w.offset
	i := sort.Search(len(w.index)/size, func(i int) bool { return binary.LittleEndian.Uint64(w.index[i*size:]) > want }) - 1
	if i < 0 {
		return Location{}, false
	}
	country, area := w.texts(w.number(w.index[i*size+8:]))
	return wryLocation(country, area)
}

// number is the offset that b begins with; 0, where no text is, if b is too short.
func (w *wry) number(b []byte) uint64 {
	if len(b) < w.offset {
		return 0
	}
	var n [8]byte
	copy(n[:], b[:w.offset])
	return binary.LittleEndian.Uint64(n[:])
}

// at is the file from an offset on.
func (w *wry) at(offset uint64) []byte { return w.body[min(offset, uint64(len(w.body))):] }

// texts are country and area at an offset. What leads further than one step
// is not of this format, and "".
func (w *wry) texts(offset uint64) (country, area string) {
	b := w.at(offset)
	if len(b) > 0 && b[0] == 1 {
		b = w.at(w.number(b[1:]))
	}
	country, size := w.text(b)
	area, _ = w.text(b[size:])
	return country, area
}

// text is the text that b begins with, or leads to, and how many bytes of b that takes.
func (w *wry) text(b []byte) (string, int) {
	size := 0
	if len(b) > 0 && (b[0] == 1 || b[0] == 2) {
		size = min(1+w.offset, len(b))
		b = w.at(w.number(b[1:]))
	}
	end := bytes.IndexByte(b, 0)
	if end < 0 || end > 1000 {
		return "", size
	}
	if size == 0 {
		size = end + 1
	}
	return string(b[:end]), size
}

// wryLocation says it in the words of ip2region, so that both families have
// one name on a server's map.
func wryLocation(country, area string) (Location, bool) {
	part := strings.Split(country, "\t")
	if country == "" || strings.HasPrefix(country, "IANA") {
		return Location{}, false
	}
	l := Location{Country: strings.TrimSpace(part[0]), ISP: provider(area)}
	if len(part) > 1 {
		l.Province = strings.TrimSpace(part[1])
	}
	if len(part) > 2 {
		l.City = strings.TrimSpace(part[2])
	}
	if l.Country == "中国" {
		chinese(&l)
	}
	return l, true
}

// chinese names provinces without their kind, except 省, as ip2region does.
// The city of a municipality is itself.
func chinese(l *Location) {
	if city, is := strings.CutSuffix(l.Province, "市"); is {
		l.Province, l.City = city, l.Province
		return
	}
	l.Province = strings.TrimSuffix(l.Province, "区")
}

// provider is the name by which ip2region knows a provider. What follows the
// name of one is the kind of access.
func provider(area string) string {
	names := []string{"电信", "移动", "联通", "铁通"}
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(area, "中国"+n) })
	switch {
	case i >= 0:
		return names[i]
	case area == "未知地区":
		return ""
	}
	return strings.TrimSpace(area)
}

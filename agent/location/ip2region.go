package location

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"sort"
	"strings"
)

// record reads a record of ip2region: five parts, or four without a region.
func record(text []byte) Location {
	part := strings.Split(string(text), "|")
	switch {
	case len(part) == 4:
		return Location{Country: part[0], Province: part[1], City: part[2], ISP: part[3]}
	case len(part) >= 5:
		return Location{part[0], part[1], part[2], part[3], part[4]}
	}
	return Location{Country: part[0]}
}

// recordWithoutRegion reads a record of the data of later years: country,
// province, city, provider and perhaps the country's code (ISO 3166-1).
func recordWithoutRegion(text []byte) Location {
	if i := bytes.LastIndexByte(text, '|'); bytes.Count(text, []byte("|")) == 4 && isCode(string(text[i+1:])) {
		text = text[:i]
	}
	return record(text)
}

func isCode(s string) bool {
	return len(s) == 2 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// slice is body[from:from+n], nil if the file does not hold that.
func slice(body []byte, from, n uint64) []byte {
	if from > uint64(len(body)) || n > uint64(len(body))-from {
		return nil
	}
	return body[from : from+n]
}

// btree is version 1 of ip2region (.db), by its binary search:
//
//	0     start of the first and of the last index entry, 4 bytes each
//	8     index of the index, which is not needed here
//	      records: 4 bytes number of the city, then text
//	      index: first address, last address, and where the record is
//	      (3 bytes) with its length (1 byte); without gaps
//
// All numbers are little-endian.
type btree struct {
	body  []byte
	index []byte
}

const btreeEntry = 12

func openBTree(body []byte) (*btree, bool) {
	if len(body) < 8+btreeEntry {
		return nil, false
	}
	first, last := uint64(binary.LittleEndian.Uint32(body)), uint64(binary.LittleEndian.Uint32(body[4:]))
	if first < 8 || last < first || (last-first)%btreeEntry != 0 {
		return nil, false
	}
	index := slice(body, first, last-first+btreeEntry)
	if index == nil || binary.LittleEndian.Uint32(index) != 0 || binary.LittleEndian.Uint32(index[last-first+4:]) != math.MaxUint32 {
		return nil, false // it begins with 0.0.0.0 and ends with 255.255.255.255
	}
	return &btree{body, index}, true
}

func (b *btree) find(addr netip.Addr) (Location, bool) {
	if !addr.Is4() {
		return Location{}, false
	}
	ip := addr.As4()
	want := binary.BigEndian.Uint32(ip[:])
	n := len(b.index) / btreeEntry
	i := sort.Search(n, func(i int) bool { return binary.LittleEndian.Uint32(b.index[i*btreeEntry+4:]) >= want })
	if i == n || binary.LittleEndian.Uint32(b.index[i*btreeEntry:]) > want {
		return Location{}, false
	}
	where := binary.LittleEndian.Uint32(b.index[i*btreeEntry+8:])
	text := slice(b.body, uint64(where&0xffffff), uint64(where>>24))
	if len(text) < 4 {
		return Location{}, false
	}
	return record(text[4:]), true
}

// xdb is versions 2 and 3 of ip2region (.xdb):
//
//	0     header: version, index policy (2 bytes each), time, first and last
//	      index entry (4 bytes each), and in version 3 the IP version (2 bytes)
//	256   for each of the first two bytes of an address, where its index
//	      entries begin and end (4 bytes each)
//	      records, and index entries: first and last address, length of the
//	      record (2 bytes) and where it is (4 bytes)
//
// Numbers are little-endian, and so are IPv4 addresses, but not IPv6 ones.
type xdb struct {
	body   []byte
	size   int // bytes of an address
	record func(text []byte) Location
}

const (
	xdbHeader = 256
	xdbVector = 256 * 256 * 8
)

func openXDB(body []byte) (*xdb, bool) {
	if len(body) < xdbHeader+xdbVector {
		return nil, false
	}
	version, policy, family := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:]), binary.LittleEndian.Uint16(body[16:])
	first, last := binary.LittleEndian.Uint32(body[8:]), binary.LittleEndian.Uint32(body[12:])
	x := &xdb{body, 4, recordWithoutRegion}
	switch {
	case version == 3 && family == 6:
		x.size = 16
	case version == 3 && family == 4:
	case version == 2:
		x.record = record
	default:
		return nil, false
	}
	fits := first >= xdbHeader+xdbVector && first <= last && uint64(last)+uint64(x.entry()) <= uint64(len(body))
	return x, policy == 1 && fits
}

func (x *xdb) entry() int { return 2*x.size + 6 }

func (x *xdb) find(addr netip.Addr) (Location, bool) {
	if addr.BitLen() != 8*x.size {
		return Location{}, false
	}
	want := addr.AsSlice()
	vector := x.body[xdbHeader+8*(256*int(want[0])+int(want[1])):]
	begin, end := binary.LittleEndian.Uint32(vector), binary.LittleEndian.Uint32(vector[4:])
	if end < begin {
		return Location{}, false
	}
	index := slice(x.body, uint64(begin), min(uint64(end-begin)+uint64(x.entry()), uint64(len(x.body))))
	if index == nil {
		index = x.body[min(uint64(begin), uint64(len(x.body))):] // the end can be that of the last entry
	}
	n := len(index) / x.entry()
	i := sort.Search(n, func(i int) bool { return x.compare(index[i*x.entry()+x.size:], want) >= 0 })
	if i == n || x.compare(index[i*x.entry():], want) > 0 {
		return Location{}, false
	}
	tail := index[i*x.entry()+2*x.size:]
	text := slice(x.body, uint64(binary.LittleEndian.Uint32(tail[2:])), uint64(binary.LittleEndian.Uint16(tail)))
	if len(text) == 0 {
		return Location{}, false
	}
	return x.record(text), true
}

// compare compares an address of the file with one in network byte order.
func (x *xdb) compare(stored, want []byte) int {
	if x.size == 16 {
		return bytes.Compare(stored[:16], want)
	}
	a, b := binary.LittleEndian.Uint32(stored), binary.BigEndian.Uint32(want)
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

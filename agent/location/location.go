// Package location says where an address is, in the five parts and the words
// that a Natrix server stores and draws on its maps. What it knows comes from
// data sets on disk (see [Open]), which are mapped, not read: a lookup touches a
// few pages of the file and allocates one string.
package location

import (
	"net/netip"
	"slices"
	"strings"
)

// Location is a place in the form of an ip2region record. Every part is a
// non-blank string, "0" where nothing is known: a server refuses the whole
// message over a null or blank one. In JSON the keys are the field names in
// lower case.
type Location struct {
	Country  string `json:"country"`
	Region   string `json:"region"`
	Province string `json:"province"`
	City     string `json:"city"`
	ISP      string `json:"isp"`
}

// Unknown is the location of an address that nothing is known of.
var Unknown = Location{"0", "0", "0", "0", "0"}

// intranet ("address in a private network") is what ip2region holds for
// private, loopback and link-local networks; servers show it as it is.
var intranet = Location{"0", "0", "0", "内网IP", "内网IP"}

// Finder looks addresses up in a data set. Its zero value has none and knows
// private networks only. It is safe for concurrent use.
type Finder struct {
	find func(netip.Addr) (Location, bool)
}

// NewFinder returns a Finder that asks find, which must be safe for concurrent
// use, about every address that is not private. Blank parts of its answer
// become "0".
func NewFinder(find func(netip.Addr) (Location, bool)) Finder {
	return Finder{find: find}
}

// Of returns the location of addr, [Unknown] at worst.
func (f Finder) Of(addr netip.Addr) Location {
	addr = addr.Unmap()
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return intranet
	}
	if f.find == nil || !addr.IsValid() {
		return Unknown
	}
	l, ok := f.find(addr.WithZone(""))
	if !ok {
		return Unknown
	}
	return l.filled()
}

// Of returns the location of addr as known without a data set.
func Of(addr netip.Addr) Location {
	return Finder{}.Of(addr)
}

// filled returns l with every blank part replaced by "0".
func (l Location) filled() Location {
	for _, part := range []*string{&l.Country, &l.Region, &l.Province, &l.City, &l.ISP} {
		if strings.TrimSpace(*part) == "" {
			*part = "0"
		}
	}
	return l
}

// Known is what is known of the place, for people; "" if nothing is.
func (l Location) Known() string {
	parts := []string{l.Country, l.Region, l.Province, l.City, l.ISP}
	return strings.Join(slices.DeleteFunc(slices.Compact(parts), func(p string) bool { return p == "0" || p == "" }), " ")
}

// String returns the record as ip2region writes it: five parts with | between.
func (l Location) String() string {
	return l.Country + "|" + l.Region + "|" + l.Province + "|" + l.City + "|" + l.ISP
}

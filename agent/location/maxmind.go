package location

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// What a MaxMind file ends with, and how long that can be (MaxMind DB File
// Format Specification 2.0, "Database Metadata").
const (
	metadataMark = "\xab\xcd\xefMaxMind.com"
	maxMetadata  = 128 << 10
)

// maxMind is a file of MaxMind's format.
type maxMind struct{ reader *maxminddb.Reader }

func openMaxMind(body []byte) (*maxMind, error) {
	reader, err := maxminddb.OpenBytes(body)
	if err != nil {
		return nil, fmt.Errorf("MaxMind: %w", err)
	}
	return &maxMind{reader}, nil
}

// mmNames are the names of a place by language.
type mmNames struct {
	Names struct {
		Chinese string `maxminddb:"zh-CN"`
		English string `maxminddb:"en"`
	} `maxminddb:"names"`
}

// text is the name that the charts of a server know.
func (n mmNames) text() string { return cmp.Or(n.Names.Chinese, n.Names.English) }

// mmRecord is the members that the editions have between them: City and
// Country, ISP and ASN, Enterprise.
type mmRecord struct {
	Country      mmNames   `maxminddb:"country"`
	Subdivisions []mmNames `maxminddb:"subdivisions"`
	City         mmNames   `maxminddb:"city"`
	ISP          string    `maxminddb:"isp"`
	Organization string    `maxminddb:"autonomous_system_organization"`
	Traits       struct {
		ISP string `maxminddb:"isp"`
	} `maxminddb:"traits"`
}

func (m *maxMind) find(addr netip.Addr) (Location, bool) {
	found := m.reader.Lookup(addr)
	var r mmRecord
	if !found.Found() || found.Decode(&r) != nil {
		return Location{}, false
	}
	l := Location{Country: r.Country.text(), City: r.City.text(), ISP: cmp.Or(r.ISP, r.Traits.ISP, r.Organization)}
	if len(r.Subdivisions) > 0 {
		l.Province = r.Subdivisions[0].text()
	}
	return l, true
}

package location

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// span is a run of addresses that a test's data set knows.
type span struct{ first, last, text string }

var spans4 = []span{
	{"0.0.0.0", "0.255.255.255", "0|0|0|内网IP|内网IP"},
	{"1.0.0.0", "1.0.0.255", "澳大利亚|0|0|0|0"},
	{"1.0.1.0", "126.255.255.255", "中国|0|福建省|福州市|电信"},
	{"127.0.0.0", "254.255.255.255", "美国|0|加利福尼亚|0|T-Mobile"},
	{"255.0.0.0", "255.255.255.255", "印度尼西亚|0|万丹|0|XL"},
}

func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

func reversed(b []byte) []byte { b = slices.Clone(b); slices.Reverse(b); return b }

// makeBTree writes version 1 of ip2region.
func makeBTree(spans []span) []byte {
	var records, index []byte
	for _, s := range spans {
		text := append(le32(7), s.text...)
		index = slices.Concat(index, reversed(netip.MustParseAddr(s.first).AsSlice()), reversed(netip.MustParseAddr(s.last).AsSlice()), le32(8+len(records)|len(text)<<24))
		records = append(records, text...)
	}
	first := 8 + len(records)
	return slices.Concat(le32(first), le32(first+len(index)-btreeEntry), records, index)
}

// makeXDB writes version 2, or 3 for IPv6. Each span lies within the addresses
// of one vector.
func makeXDB(spans []span) []byte {
	six := strings.Contains(spans[0].first, ":")
	body := make([]byte, xdbHeader+xdbVector)
	binary.LittleEndian.PutUint16(body, 2)
	binary.LittleEndian.PutUint16(body[2:], 1)
	if six {
		binary.LittleEndian.PutUint16(body, 3)
		binary.LittleEndian.PutUint16(body[16:], 6)
	}
	at := make(map[string]int)
	for _, s := range spans {
		at[s.text] = len(body)
		body = append(body, s.text...)
	}
	begin := len(body)
	for _, s := range spans {
		first, last := netip.MustParseAddr(s.first).AsSlice(), netip.MustParseAddr(s.last).AsSlice()
		vector := body[xdbHeader+8*(256*int(first[0])+int(first[1])):]
		if binary.LittleEndian.Uint32(vector) == 0 {
			copy(vector, le32(len(body)))
		}
		if !six {
			first, last = reversed(first), reversed(last)
		}
		tail := append(binary.LittleEndian.AppendUint16(nil, uint16(len(s.text))), le32(at[s.text])...)
		copy(vector[4:], le32(len(body)+len(first)*2+len(tail)))
		body = slices.Concat(body, first, last, tail)
	}
	copy(body[8:], le32(begin))
	copy(body[12:], le32(len(body)-6-8))
	if six {
		copy(body[12:], le32(len(body)-6-32))
	}
	return body
}

// makeWry writes an ipv6wry.db of the kinds of entry that there are: texts in
// place, one of them elsewhere, both elsewhere.
func makeWry() []byte {
	offset := func(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16)} }
	body := append([]byte("IPDB\x01\x00\x03\x08"), make([]byte, 32)...)
	iana := len(body)
	body = append(body, "IANA保留地址\x00\x00"...)
	inPlace := len(body)
	body = append(body, "中国\t北京市\t海淀区\x00中国电信公众宽带\x00"...)
	partly := len(body)
	body = slices.Concat(body, []byte{2}, offset(inPlace), []byte("北京交通大学\x00"))
	elsewhere := len(body)
	body = slices.Concat(body, []byte{1}, offset(partly))
	guangxi := len(body)
	body = append(body, "中国\t广西区\t南宁市\t西乡塘区\x00中国移动IDC\x00"...)
	japan := len(body)
	body = append(body, "日本\t东京都\x00未知地区\x00"...)
	binary.LittleEndian.PutUint64(body[8:], 6)
	binary.LittleEndian.PutUint64(body[16:], uint64(len(body)))
	for i, e := range []int{iana, inPlace, partly, elsewhere, guangxi, japan} {
		first := uint64(0)
		if i > 0 {
			first = 0x2400_0000_0000_0000 + uint64(i)<<32
		}
		body = slices.Concat(binary.LittleEndian.AppendUint64(body, first), offset(e))
	}
	return body
}

// makeMaxMind writes a file of MaxMind's format that knows 203.0.113.0/24.
func makeMaxMind() []byte {
	text := func(s string) []byte { return append([]byte{2<<5 | byte(len(s))}, s...) }
	object := func(members ...[]byte) []byte {
		return append([]byte{7<<5 | byte(len(members)/2)}, slices.Concat(members...)...)
	}
	number := func(n byte) []byte { return []byte{5<<5 | 1, n} } // uint16
	names := func(n ...[]byte) []byte { return object(text("names"), object(n...)) }
	const bits, target = 24, 203<<16 | 0<<8 | 113
	var tree []byte
	for i := range bits {
		next, other := i+1, bits // as many as there are nodes: nothing known
		if i == bits-1 {
			next = bits + 16 // the first byte of the data, behind 16 zeros
		}
		left, right := next, other
		if target>>(bits-1-i)&1 == 1 {
			left, right = other, next
		}
		tree = append(tree, byte(left>>16), byte(left>>8), byte(left), byte(right>>16), byte(right>>8), byte(right))
	}
	data := object(
		text("country"), names(text("en"), text("Australia"), text("zh-CN"), text("澳大利亚")),
		text("subdivisions"), append([]byte{1, 4}, names(text("en"), text("Victoria"))...), // an array of one
		text("city"), names(text("en"), text("Melbourne")),
		text("traits"), object(text("isp"), text("Telstra")))
	metadata := object(
		text("binary_format_major_version"), number(2), text("binary_format_minor_version"), number(0),
		text("ip_version"), number(4), text("record_size"), number(24), text("node_count"), []byte{6<<5 | 1, bits},
		text("database_type"), text("Test"), text("build_epoch"), []byte{1, 2, 9})
	return slices.Concat(tree, make([]byte, 16), data, []byte(metadataMark), metadata)
}

func dataFile(t *testing.T, name string, body []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDataSets(t *testing.T) {
	six := []span{
		{"240e::", "240e:0:0:ffff:ffff:ffff:ffff:ffff", "中国|上海市|上海市|电信"},
		{"240e:1::", "240e:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "中国|广东省|深圳市|家庭宽带|CN"},
	}
	four := []span{{"1.0.0.0", "1.0.0.255", "澳大利亚|0|0|0|0"}, {"1.0.1.0", "1.0.3.255", "中国|0|福建省|福州市|电信"}, {"126.255.0.0", "126.255.255.255", "印度尼西亚|0|万丹|0|XL"}}
	for _, tt := range []struct {
		name string
		body []byte
		want map[string]string
	}{
		{"ip2region.db", makeBTree(spans4), map[string]string{
			"1.0.0.0": "澳大利亚|0|0|0|0", "1.0.0.255": "澳大利亚|0|0|0|0", "1.0.1.0": "中国|0|福建省|福州市|电信", "::ffff:126.255.255.255": "中国|0|福建省|福州市|电信",
			"172.32.0.1": "美国|0|加利福尼亚|0|T-Mobile", "255.255.255.255": "印度尼西亚|0|万丹|0|XL", "0.0.0.0": "0|0|0|内网IP|内网IP",
			"10.0.0.1": "0|0|0|内网IP|内网IP", "240e::1": "0|0|0|0|0"}},
		{"ip2region.xdb", makeXDB(four), map[string]string{
			"1.0.0.1": "澳大利亚|0|0|0|0", "1.0.3.255": "中国|0|福建省|福州市|电信", "1.0.4.0": "0|0|0|0|0", "126.255.7.7": "印度尼西亚|0|万丹|0|XL",
			"2.0.0.0": "0|0|0|0|0", "192.168.1.1": "0|0|0|内网IP|内网IP", "240e::1": "0|0|0|0|0"}},
		{"ip2region_v6.xdb", makeXDB(six), map[string]string{
			"240e::1": "中国|0|上海市|上海市|电信", "240e:1::": "中国|0|广东省|深圳市|家庭宽带", "2001:db8::1": "0|0|0|0|0", "1.0.0.1": "0|0|0|0|0"}},
		{"ipv6wry.db", makeWry(), map[string]string{
			"2400:1::": "中国|0|北京|北京市|电信", "2400:2::1": "中国|0|北京|北京市|北京交通大学", "2400:3::1": "中国|0|北京|北京市|北京交通大学",
			"2400:4:ffff::": "中国|0|广西|南宁市|移动", "ffff::": "日本|0|东京都|0|0", "64:ff9b::1": "0|0|0|0|0", "fd00::1": "0|0|0|内网IP|内网IP", "1.0.0.1": "0|0|0|0|0"}},
		{"city.mmdb", makeMaxMind(), map[string]string{
			"203.0.113.9": "澳大利亚|0|Victoria|Melbourne|Telstra", "203.0.112.9": "0|0|0|0|0", "2001:db8::1": "0|0|0|0|0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := Open(dataFile(t, tt.name, tt.body))
			if err != nil {
				t.Fatal(err)
			}
			defer data.Close()
			for addr, want := range tt.want {
				if got := data.Finder().Of(netip.MustParseAddr(addr)).String(); got != want {
					t.Errorf("%s: got %s, want %s", addr, got, want)
				}
			}
		})
	}
}

func TestOneSetFillsTheGapsOfAnother(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string][]byte{
		"1.db":   makeBTree([]span{{"0.0.0.0", "202.255.255.255", "中国|0|0|0|0"}, {"203.0.0.0", "255.255.255.255", "0|0|0|0|电信"}}),
		"2.mmdb": makeMaxMind(), "3.db": makeWry(), "4.txt": []byte("notes")} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := Open(dir)
	if err == nil || !strings.Contains(err.Error(), "4.txt: not a data set") {
		t.Errorf("got %v, want that 4.txt is of no use", err)
	}
	defer data.Close()
	for addr, want := range map[string]string{"203.0.113.1": "澳大利亚|0|Victoria|Melbourne|电信", "1.1.1.1": "中国|0|0|0|0", "2400:1::": "中国|0|北京|北京市|电信"} {
		if got := data.Finder().Of(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

func TestOpenNothing(t *testing.T) {
	data, err := Open(filepath.Join(t.TempDir(), "none"))
	if !os.IsNotExist(err) && err == nil {
		t.Errorf("got %v, want that the file is missing", err)
	}
	if got := data.Finder().Of(netip.MustParseAddr("10.0.0.1")); got != intranet {
		t.Errorf("got %v, want %v", got, intranet)
	}
}

func TestFileThatShrinks(t *testing.T) {
	path := dataFile(t, "ip2region.db", makeBTree(spans4))
	data, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if got := data.Finder().Of(netip.MustParseAddr("1.0.0.1")); got != Unknown {
		t.Errorf("got %v, want %v", got, Unknown)
	}
}

// realData is the files of make location.
func realData(t testing.TB) *Data {
	t.Helper()
	const dir = "../../build/location/data"
	if _, err := os.Stat(dir); err != nil {
		if strings.Contains(os.Getenv("NATRIX_MUST"), "location") {
			t.Fatal("NATRIX_MUST: ", err, " (make location)")
		}
		t.Skip(err, " (make location)")
	}
	data, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	return data
}

func TestRealData(t *testing.T) {
	f := realData(t).Finder()
	for addr, want := range map[string]string{
		"10.0.0.1": "0|0|0|内网IP|内网IP", "127.0.0.1": "0|0|0|内网IP|内网IP", "192.168.31.20": "0|0|0|内网IP|内网IP", "192.0.2.1": "0|0|0|内网IP|内网IP",
		"220.181.38.148": "中国|0|北京|北京市|电信", "114.114.114.114": "中国|0|江苏省|南京市|0", "8.8.8.8": "美国|0|0|0|Level3", "1.1.1.1": "澳大利亚|0|0|0|0",
		"240e:3b7:3272:d8d0:3b7b:3ee0:1d39:848": "中国|0|广东省|深圳市|电信", "2400:cb00:301::1": "柬埔寨|0|ភ្នំពេញ|0|Cloudflare Inc", "fd00::1": "0|0|0|内网IP|内网IP",
	} {
		if got := f.Of(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	f := realData(b).Finder()
	for _, addr := range []string{"220.181.38.148", "240e:3b7:3272:d8d0:3b7b:3ee0:1d39:848"} {
		b.Run(addr, func(b *testing.B) {
			b.ReportAllocs()
			for a := netip.MustParseAddr(addr); b.Loop(); {
				f.Of(a)
			}
		})
	}
}

func FuzzRecognise(f *testing.F) {
	for _, body := range [][]byte{makeBTree(spans4), makeWry(), makeMaxMind()} {
		f.Add(body, netip.MustParseAddr("1.0.0.1").AsSlice())
		f.Add(body, netip.MustParseAddr("2400:1::").AsSlice())
	}
	f.Fuzz(func(t *testing.T, body, ip []byte) {
		addr, valid := netip.AddrFromSlice(ip)
		s, err := recognise(body)
		if err != nil || !valid {
			return
		}
		s.find(addr)
	})
}

// FuzzXDB has its bytes put behind a header, which is most of a file.
func FuzzXDB(f *testing.F) {
	f.Add([]byte{2, 0, 1, 0}, uint16(1), []byte("|||"), []byte{1, 0, 0, 1})
	f.Add([]byte{3, 0, 1, 0, 0, 0, 0, 0, 0, 1, 8, 0, 1, 1, 8, 0, 6}, uint16(0x240e), make([]byte, 100), netip.MustParseAddr("240e::1").AsSlice())
	f.Fuzz(func(t *testing.T, head []byte, vector uint16, rest, ip []byte) {
		body := make([]byte, xdbHeader+xdbVector)
		copy(body[:xdbHeader], head)
		copy(body[xdbHeader+8*int(vector):], head)
		x, ok := openXDB(append(body, rest...))
		addr, valid := netip.AddrFromSlice(ip)
		if ok && valid {
			x.find(addr)
		}
	})
}

package probe

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

func packed(to func(io.Writer) io.WriteCloser, text string) string {
	var b bytes.Buffer
	w := to(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

func zipped(w io.Writer) io.WriteCloser   { return gzip.NewWriter(w) }
func deflated(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }

func TestBodyText(t *testing.T) {
	for _, test := range []struct {
		name, media, coding, bytes string
		text, set                  string
	}{
		{"nothing", "", "", "", "", ""},
		{"UTF-8 without a word", "", "", "北京", "北京", "utf-8"},
		{"UTF-8 after much ASCII", "text/html", "", strings.Repeat(" ", 2000) + "é", strings.Repeat(" ", 2000) + "é", "utf-8"},
		{"Latin without a word", "text/plain", "", "caf\xe9", "café", "windows-1252"},
		{"GBK by header", "text/html; charset=GBK", "", "\xb1\xb1\xbe\xa9", "北京", "gbk"},
		{"GB2312 by document", "text/html", "", `<meta http-equiv="Content-Type" content="text/html; charset=gb2312">` + "\xb1\xb1\xbe\xa9",
			`<meta http-equiv="Content-Type" content="text/html; charset=gb2312">北京`, "gbk"},
		{"header before document", "text/html; charset=utf-8", "", `<meta charset="gbk">北京`, `<meta charset="gbk">北京`, "utf-8"},
		{"Shift_JIS by XML", "text/xml", "", "<?xml version='1.0' encoding='Shift_JIS'?>\x93\x8c", "<?xml version='1.0' encoding='Shift_JIS'?>東", "shift_jis"},
		{"Big5", "text/plain; charset=\"big5\"", "", "\xa5\x5f", "北", "big5"},
		{"EUC-KR", "text/plain;charset=euc-kr", "", "\xc7\xd1", "한", "euc-kr"},
		{"UTF-16 by its first bytes", "text/plain", "", "\xff\xfe\x17\x53", "北", "utf-16le"},
		{"what cannot be", "text/plain; charset=utf-8", "", "a\xffb", "a\ufffdb", "utf-8"},
		{"a name that nobody knows", "text/plain; charset=x-secret", "", "a", "a", "utf-8"},
		{"gzip", "text/plain; charset=gbk", "gzip", packed(zipped, "\xb1\xb1"), "北", "gbk"},
		{"gzip cut off", "text/plain", "gzip", packed(zipped, "beginning")[:20], "beginning", "utf-8"},
		{"not gzip", "text/plain", "gzip", "plain", "plain", "utf-8"},
		{"deflate", "text/plain", "deflate", packed(deflated, "plain"), "plain", "utf-8"},
		{"deflate without frame", "text/plain", "deflate", packed(deflated, "plain")[2:], "plain", "utf-8"},
	} {
		text, set := Body{Bytes: []byte(test.bytes), MediaType: test.media, Coding: test.coding}.Text()
		if !strings.HasPrefix(test.text, text) || text == "" && test.text != "" || set != test.set {
			t.Errorf("%s: got %q, %s, want %q, %s", test.name, text, set, test.text, test.set)
		}
	}
}

// A character that the limit cuts in two is left out, and does not make a text Latin.
func TestHTTPBodyCutInACharacter(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("京", maxKept/3+2))
	}))
	defer s.Close()
	params := DefaultHTTP()
	params.SaveBody = true
	r, err := New().HTTP(t.Context(), s.URL, params)
	if err != nil {
		t.Fatal(err)
	}
	text, set := r.Body.Text()
	if text != strings.Repeat("京", maxKept/3) || set != "utf-8" || !r.Body.CutOff {
		t.Errorf("got %d bytes, the last of them %q, %s, cut off: %v", len(text), text[len(text)-3:], set, r.Body.CutOff)
	}
	if body := judge(t, "http", r); !strings.Contains(body, `"response_charset":"utf-8","response_body_cut_off":true`) {
		t.Errorf("got %s", body[max(0, len(body)-300):])
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte("caf\xe9"), "text/plain; charset=gbk", "")
	f.Add([]byte("<meta charset=shift_jis>\x93\x8c"), "", "gzip")
	f.Add([]byte("\xfe\xff\xd8\x00"), "a/b;charset=\"", "deflate")
	f.Fuzz(func(t *testing.T, body []byte, media, coding string) {
		text, set := Body{Bytes: body, MediaType: media, Coding: coding, CutOff: true}.Text()
		if !utf8.ValidString(text) || (set == "") != (len(body) == 0) {
			t.Errorf("got %q, %s", text, set)
		}
	})
}

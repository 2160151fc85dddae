package zabbix

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// captured are frames of real servers and proxies.
func captured(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadFrameOfServer(t *testing.T) {
	for name, want := range map[string]string{
		"v60-active-config.c2s.bin":          `{"request":"proxy config"`,
		"v60-active-config.s2c.bin":          `{"globalmacro":{"fields":`,
		"v70-active-config-full.s2c.bin":     `{"full_sync":1,"data":{`,
		"v60-active-upload-disabled.s2c.bin": `{"upload":"disabled"`,
	} {
		body, compressed, err := readFrame(bytes.NewReader(captured(t, name)), configLimit)
		if err != nil || !compressed || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s: got %.60s, compressed %v, %v, want %s", name, body, compressed, err, want)
		}
	}
}

func TestFrameRoundTrip(t *testing.T) {
	payload := []byte(`{"response":"success"}`)
	for _, compress := range []bool{false, true} {
		var b bytes.Buffer
		if err := writeFrame(&b, payload, compress); err != nil {
			t.Fatal(err)
		}
		got, compressed, err := readFrame(&b, replyLimit)
		if err != nil || compressed != compress || !bytes.Equal(got, payload) {
			t.Errorf("got %s, %v, %v", got, compressed, err)
		}
	}
}

// deflated is a frame with a zlib payload whose header says what it likes.
func deflated(payload []byte, length, inflated uint32) []byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(payload)
	w.Close()
	if length == 0 {
		length = uint32(z.Len())
	}
	b := append([]byte("ZBXD\x03"), binary.LittleEndian.AppendUint32(nil, length)...)
	b = binary.LittleEndian.AppendUint32(b, inflated)
	return append(b, z.Bytes()...)
}

func TestReadFrameRefuses(t *testing.T) {
	text := []byte(`{"response":"success"}`)
	n := uint32(len(text))
	for name, frame := range map[string][]byte{
		"magic":        []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"flags":        []byte("ZBXD\x09\x02\x00\x00\x00\x00\x00\x00\x00{}"),
		"no flag":      []byte("ZBXD\x00\x02\x00\x00\x00\x00\x00\x00\x00{}"),
		"header":       []byte("ZBXD\x01\x02"),
		"truncated":    []byte("ZBXD\x01\x09\x00\x00\x00\x00\x00\x00\x00{}"),
		"oversized":    []byte("ZBXD\x01\xff\xff\xff\xff\x00\x00\x00\x00{}"),
		"large flag":   []byte("ZBXD\x05\x00\x00\x00\x00\x00\x00\x00\x7f\x00\x00\x00\x00\x00\x00\x00\x00{}"),
		"no zlib":      []byte("ZBXD\x03\x04\x00\x00\x00\x04\x00\x00\x00spam"),
		"one too few":  deflated(text, 0, n-1),
		"one too many": deflated(text, 0, n+1),
		"bomb":         deflated(make([]byte, 64<<20), 0, 1000),
		"honest bomb":  deflated(make([]byte, 64<<20), 0, 64<<20),
		"cut stream":   deflated(text, 10, n),
	} {
		if body, _, err := readFrame(bytes.NewReader(frame), replyLimit); err == nil {
			t.Errorf("%s: got %.40q, want an error", name, body)
		}
	}
}

func TestCheckDepth(t *testing.T) {
	deep := strings.Repeat(`[`, depthMost) + strings.Repeat(`]`, depthMost)
	if err := checkDepth([]byte(deep)); err != nil {
		t.Error(err)
	}
	if err := checkDepth([]byte("[" + deep + "]")); err == nil {
		t.Error("65 levels were taken")
	}
	if err := checkDepth([]byte(`"` + strings.Repeat(`[{\"`, 100) + `"`)); err != nil {
		t.Errorf("braces in a string: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("ZBXD\x01\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Add(deflated([]byte("{}"), 0, 2))
	f.Add(captured(f, "v60-active-upload-disabled.s2c.bin"))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, _, err := readFrame(bytes.NewReader(b), limit{1 << 16, 1 << 16})
		if err == nil && len(body) > 1<<16 {
			t.Errorf("%d bytes came out", len(body))
		}
	})
}

package update

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func testKey() (ed25519.PrivateKey, []ed25519.PublicKey) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return key, []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}
}

func TestHeaderRoundTrip(t *testing.T) {
	key, public := testKey()
	want := Header{Board: "rpi3", Version: "0.2.0", Built: time.Unix(1763683200, 0), Size: 31457280, Packed: 29102233, SHA256: [32]byte{1, 2, 3}}
	file := bytes.NewReader(append(want.Sign(key), "the rest"...))
	got, err := ReadHeader(file, public)
	if err != nil || got != want {
		t.Errorf("ReadHeader = %+v, %v, want %+v", got, err, want)
	}
	if rest, _ := io.ReadAll(file); string(rest) != "the rest" {
		t.Errorf("%q is left, want the rest", rest)
	}
}

// TestSignedNonsense: a signature alone makes no update.
func TestSignedNonsense(t *testing.T) {
	key, public := testKey()
	good := string(Header{Board: "rpi3", Version: "0.2.0", Built: time.Unix(1, 0), Size: 5000, Packed: 1}.text())
	for _, text := range []string{
		"", mark + "\n", strings.Replace(good, "size 5000", "size 05000", 1), strings.Replace(good, "size 5000", "size -1", 1),
		strings.Replace(good, "size 5000", "size 99999999999", 1), strings.Replace(good, "packed 1", "packed 0", 1),
		strings.Replace(good, "board rpi3", "board rpi 3", 1), strings.Replace(good, "board rpi3\n", "", 1), good + "more 1\n",
		strings.Replace(good, "sha256 00", "sha256 ", 1), strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		file := text + "signature " + FormatPublic(ed25519.PublicKey(ed25519.Sign(key, []byte(text)))) + "\n"
		if h, err := ReadHeader(strings.NewReader(file), public); !errors.Is(err, ErrHeader) {
			t.Errorf("%q is read as %+v, %v, want %v", text, h, err, ErrHeader)
		}
	}
}

func TestKeys(t *testing.T) {
	pem, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	private, err := ParseKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	public := private.Public().(ed25519.PublicKey)
	keys, err := ParsePublic("# ours\n\n" + FormatPublic(public) + " # of the office\n")
	if err != nil || len(keys) != 1 || !keys[0].Equal(public) {
		t.Errorf("ParsePublic = %v, %v, want the one key", keys, err)
	}
	for _, text := range []string{"AAAA", "no key"} {
		if keys, err := ParsePublic(text); err == nil {
			t.Errorf("ParsePublic(%q) = %v, want an error", text, keys)
		}
	}
	if key, err := ParseKey([]byte("no key")); err == nil {
		t.Errorf("ParseKey = %v, want an error", key)
	}
}

// FuzzHeader parses what anybody could send, and what only the owner of a key
// could sign.
func FuzzHeader(f *testing.F) {
	key, public := testKey()
	f.Add(Header{Board: "rpi3", Version: "0.2.0", Built: time.Unix(1, 0), Size: 5000, Packed: 1}.Sign(key))
	f.Add([]byte(mark + "\nboard x\nsignature AA==\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ReadHeader(bytes.NewReader(b), public); err == nil && !bytes.HasPrefix(b, h.Sign(key)) {
			t.Errorf("%q is read as %+v, which is written as %q", b, h, h.Sign(key))
		}
		if h, err := parseHeader(b); err == nil && !bytes.Equal(h.text(), b) {
			t.Errorf("%q is read as %+v, which is written as %q", b, h, h.text())
		}
	})
}

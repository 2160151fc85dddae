package update

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Pack makes the file of an update of a slot's file system. It fills in what
// the header says of it, and gives the same bytes for the same input.
func Pack(h Header, slot []byte, key ed25519.PrivateKey) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(Window))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	packed := z.EncodeAll(slot, nil)
	h.Size, h.Packed, h.SHA256 = int64(len(slot)), int64(len(packed)), sha256.Sum256(slot)
	file := append(h.Sign(key), packed...)
	_, err = ReadHeader(bytes.NewReader(file), []ed25519.PublicKey{key.Public().(ed25519.PublicKey)})
	return file, err
}

// NewKey returns a new private key as PEM, which openssl reads too.
func NewKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a private key as NewKey writes it.
func ParseKey(file []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(file)
	if block == nil {
		return nil, errors.New("no private key: want PEM, as of make update-key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, want one of ed25519", key)
	}
	return private, nil
}

// FormatPublic is a public key as files and settings have it: its 32 bytes in
// base64.
func FormatPublic(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// ParsePublic reads public keys, one a line. What follows a # is a comment.
func ParsePublic(text string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return keys, fmt.Errorf("%.60q is no public key: want %d bytes in base64", line, ed25519.PublicKeySize)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

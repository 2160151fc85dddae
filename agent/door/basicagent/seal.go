package basicagent

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
)

// sealed is the table of periodic tasks as it is kept: signed with the key of
// the terminal, so that one that somebody else wrote is not run.
type sealed struct {
	Entries   json.RawMessage `json:"entries"`
	Signature []byte          `json:"signature"`

	entries []*periodic
}

func seal(f files, list []*periodic) ([]byte, error) {
	key, err := f.key()
	if err != nil {
		return nil, err
	}
	entries, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(entries)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealed{Entries: entries, Signature: signature})
}

// verify reads the entries, if the signature is the terminal's own.
func (s *sealed) verify(f files) error {
	key, err := f.key()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(s.Entries)
	if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], s.Signature) {
		return errors.New("periodic.json is not signed by this terminal's key")
	}
	return json.Unmarshal(s.Entries, &s.entries)
}

// key is the terminal's own.
func (f files) key() (*ecdsa.PrivateKey, error) {
	pair, err := tls.LoadX509KeyPair(f.path("cert.pem"), f.path("key.pem"))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the terminal's key is not an ECDSA one")
	}
	return key, nil
}

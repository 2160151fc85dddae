package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/natrix-os/natrix/agent/update"
	"github.com/natrix-os/natrix/image"
)

// makeKey writes a new private key to file, which must not be there, and its
// public key to file.pub.
func makeKey(file string) error {
	private, err := update.NewKey()
	if err != nil {
		return err
	}
	key, err := update.ParseKey(private)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(private)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	public := update.FormatPublic(key.Public().(ed25519.PublicKey))
	fmt.Printf("%s signs updates: keep it secret, and keep it\n%s.pub goes into images: %s\n", file, file, public)
	return os.WriteFile(file+".pub", []byte(public+"\n"), 0o644)
}

// makeUpdate signs the slot in a board's output directory.
func makeUpdate(b image.Board, o image.Options, keyFile, out string) error {
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := update.ParseKey(pem)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	slot, err := os.ReadFile(filepath.Join(out, b.SlotFile()))
	if err != nil {
		return err
	}
	file, err := update.Pack(update.Header{Board: b.Name, Version: o.Version, Built: o.Date}, slot, key)
	if err != nil {
		return fmt.Errorf("make the update: %w", err)
	}
	name := filepath.Join(out, b.UpdateFile())
	if err := os.WriteFile(name, file, 0o644); err != nil {
		return err
	}
	fmt.Printf("  update    %10d bytes, %s\n", len(file), b.UpdateFile())
	return nil
}

package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// A journal is a file of records, each of them checked:
//
//	0        4        8        12
//	| "NxJ1" | length | CRC32C | payload ... |
//
// Numbers are little-endian; the checksum covers length and payload. A record
// that was torn by a power cut, or spoilt later, is skipped: reading goes on at
// the next one that is whole.
type journal struct {
	file *os.File
	size int64
}

const (
	recordHeader = 12
	longest      = 64 << 20 // of a payload; a longer length is a spoilt one
)

var (
	recordMark = []byte("NxJ1")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// openJournal opens or creates the file and hands its records to replay, oldest
// first. A payload is only valid during the call.
func openJournal(path string, replay func(payload []byte)) (*journal, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	end := readRecords(old, replay)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := file.Truncate(int64(end)); err != nil { // a torn tail would hide behind the next record
		file.Close()
		return nil, fmt.Errorf("mend spool: %w", err)
	}
	return &journal{file: file, size: int64(end)}, nil
}

// readRecords calls replay for every whole record of data and returns where the
// last of them ends.
func readRecords(data []byte, replay func(payload []byte)) (end int) {
	for at := 0; ; {
		next := bytes.Index(data[at:], recordMark)
		if next < 0 {
			return end
		}
		at += next
		if payload, ok := record(data[at:]); ok {
			replay(payload)
			at += recordHeader + len(payload)
			end = at
		} else {
			at++
		}
	}
}

// record is the payload of the record that data begins with, if it is whole.
func record(data []byte) (payload []byte, ok bool) {
	if len(data) < recordHeader {
		return nil, false
	}
	length := binary.LittleEndian.Uint32(data[4:])
	if length > longest || int(length) > len(data)-recordHeader {
		return nil, false
	}
	payload = data[recordHeader : recordHeader+int(length)]
	return payload, checksum(data[4:8], payload) == binary.LittleEndian.Uint32(data[8:])
}

func checksum(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

// appendRecord appends the record of a payload to b.
func appendRecord(b, payload []byte) []byte {
	begin := len(b)
	b = append(b, recordMark...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, checksum(b[begin+4:begin+8], payload))
	return append(b, payload...)
}

// append writes records, made by appendRecord, after the others. What could not
// be written as a whole is taken back.
func (j *journal) append(records []byte) error {
	n, err := j.file.WriteAt(records, j.size)
	if err != nil {
		if n > 0 {
			j.file.Truncate(j.size)
		}
		return fmt.Errorf("write spool: %w", err)
	}
	j.size += int64(n)
	return nil
}

// sync returns once the records are safe from a power cut.
func (j *journal) sync() error {
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	return nil
}

// replace has the file hold the given records and nothing else. A power cut
// leaves the old ones or the new ones; once it returns, the new ones.
func (j *journal) replace(records []byte) error {
	path := j.file.Name()
	if err := renameio.WriteFile(path, records, 0o600); err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	j.file.Close()
	j.file, j.size = file, int64(len(records))
	return nil
}

// syncDirectory returns once the names in a directory are safe from a power cut
// (fsync(2)).
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (j *journal) close() error { return j.file.Close() }

package update

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

// State is what became of the last update.
type State string

// The states of an update. Untried is the zero value: there was none.
const (
	Untried    State = ""
	Trial      State = "on trial"
	Kept       State = "kept"
	RolledBack State = "rolled back"
	Refused    State = "failed" // nothing was started
)

// Record is the last update and what became of it. It survives a power cut.
type Record struct {
	State    State       `json:"state"`
	Slot     medium.Slot `json:"slot,omitempty"`
	From     string      `json:"from,omitempty"` // version that was running
	To       string      `json:"to,omitempty"`   // version in the slot; "" if the file was not read so far
	At       int64       `json:"at,omitempty"`   // when it came to this, in Unix seconds
	Needs    []string    `json:"needs,omitempty"`
	Reason   string      `json:"reason,omitempty"`   // of a roll-back or a failure
	Straight bool        `json:"straight,omitempty"` // the loader took the slot for an ordinary boot: it cannot try
}

// String is the record in one line, for people.
func (r Record) String() string {
	if r.State == Untried {
		return "none"
	}
	s := string(r.State)
	if r.To != "" {
		s = r.To + " " + s
	}
	if r.Slot != "" {
		s += " in slot " + string(r.Slot)
	}
	if r.From != "" {
		s += ", from " + r.From
	}
	if r.At > 0 {
		s += ", " + time.Unix(r.At, 0).UTC().Format("2006-01-02 15:04 UTC")
	}
	if r.Reason != "" {
		s += ": " + r.Reason
	}
	return s
}

// The sector of a record: a mark, the length of the text, its CRC32, the text.
const (
	recordMark = "NTRXUPDT"
	recordHead = len(recordMark) + 2 + 4
	maxReason  = 160
)

// encode fills a sector. A reason that is too long loses its end.
func (r Record) encode() []byte {
	if len(r.Reason) > maxReason {
		r.Reason = r.Reason[:maxReason] + "..."
	}
	text, err := json.Marshal(r)
	if err != nil || len(text) > medium.SectorSize-recordHead {
		r.Reason, r.Needs = "", nil
		text, _ = json.Marshal(r) // words of at most 40 bytes are left
	}
	b := append(make([]byte, 0, medium.SectorSize), recordMark...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(text))
	return append(b, text...)[:medium.SectorSize]
}

// decodeRecord reads a sector; one that holds no record is of a terminal that
// was never updated.
func decodeRecord(b []byte) (r Record, err error) {
	text, ok := bytes.CutPrefix(b, []byte(recordMark))
	if !ok {
		return Record{}, nil
	}
	if len(text) < 6 {
		return Record{}, errors.New("record of the update: too short")
	}
	length, sum, text := int(binary.LittleEndian.Uint16(text)), binary.LittleEndian.Uint32(text[2:]), text[6:]
	if length > len(text) || crc32.ChecksumIEEE(text[:length]) != sum {
		return Record{}, errors.New("record of the update: its checksum is wrong")
	}
	if err := json.Unmarshal(text[:length], &r); err != nil {
		return Record{}, fmt.Errorf("record of the update: %w", err)
	}
	return r, nil
}

// Last reads the record.
func (m Medium) Last() (Record, error) {
	d, err := m.Record()
	if err != nil {
		return Record{}, err
	}
	defer d.Close()
	sector := make([]byte, medium.SectorSize)
	if _, err := d.ReadAt(sector, 0); err != nil {
		return Record{}, fmt.Errorf("record of the update: %w", err)
	}
	return decodeRecord(sector)
}

// note writes the record.
func (m Medium) note(r Record) error {
	r.At = time.Now().Unix()
	d, err := m.Record()
	if err != nil {
		return err
	}
	_, err = d.WriteAt(r.encode(), 0)
	if err := errors.Join(err, d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("record the update: %w", err)
	}
	return nil
}

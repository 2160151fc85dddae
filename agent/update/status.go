package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"
)

// StatusFile is where an update that is under way says how far it is, and where
// the record of the last one is for those who may not read the medium.
const StatusFile = "/run/natrix/update.json"

// Status is an update that is under way, or else the last one.
type Status struct {
	Source string `json:"source,omitempty"` // of one that is under way; "" if none is
	To     string `json:"to,omitempty"`     // its version, once the header was read
	Done   int64  `json:"done,omitempty"`   // of its bytes
	Total  int64  `json:"total,omitempty"`
	Last   Record `json:"last"`
}

// String is the status in one line, for people.
func (s Status) String() string {
	switch {
	case s.Source == "":
		return s.Last.String()
	case s.Total == 0:
		return "asks " + s.Source
	}
	return fmt.Sprintf("%s: %.1f of %.1f MB, %d %%", s.To, float64(s.Done)/1e6, float64(s.Total)/1e6, 100*s.Done/s.Total)
}

// Write replaces the file.
func (s Status) Write(file string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return renameio.WriteFile(file, b, 0o644)
}

// ReadStatus reads the file. A terminal that has none was never updated.
func ReadStatus(file string) (s Status, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

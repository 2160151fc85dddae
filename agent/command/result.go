package command

import (
	"fmt"
	"io"
	"time"
)

// Data is what a successful command measured: it marshals itself to the data
// of the wire document and prints itself for people.
type Data interface {
	// WriteText prints the result as lines of text for a person.
	WriteText(w io.Writer)
}

// Result is the outcome of a Command. Exactly one of Data and Err is set: a
// failure travels in the result because every door has to answer.
type Result struct {
	Command  Command
	Data     Data
	Err      error     // why there is nothing measured; wraps one of the kinds of this package
	Sent     time.Time // just before the measurement began
	Answered time.Time // when the measurement ended
	Returned time.Time // when the result was handed to the door
	Clock    *Clock    // how far these times can be trusted; nil if nobody looked
}

// Clock says how far the wall clock could be trusted when a result was made.
type Clock struct {
	Synchronised bool          // somebody keeps it right
	Age          time.Duration // since it was known to be right, at most; 0 unless Synchronised
	Offset       time.Duration // that was still to be corrected
	MaxError     time.Duration // how wrong it could be
}

// Fail is the result of a command that could not be measured at all.
func Fail(c Command, err error) Result {
	now := time.Now()
	return Result{Command: c, Err: err, Sent: now, Answered: now, Returned: now}
}

// WriteText prints the result for a person: the measurement, or why there is none.
func (r Result) WriteText(w io.Writer) {
	if r.Err != nil {
		fmt.Fprintf(w, "%s %s: %v\n", r.Command.Name, r.Command.Destination, r.Err)
		return
	}
	r.Data.WriteText(w)
}

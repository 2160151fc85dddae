package update

import (
	"context"
	"fmt"
	"io"

	"github.com/natrix-os/natrix/agent/command"
)

// Params are the parameters of the command.
type Params struct {
	Link string // to download through; "" as the routes say
}

// Flags declares the parameters for all doors.
func (p *Params) Flags(f *command.Flags) {
	f.Text(&p.Link, "link", "", "link to download through", "interface")
}

// Outcome is what the command answers.
type Outcome struct {
	Started bool   `json:"started"`
	Status  Status `json:"update"`
}

// WriteText prints the outcome in one line.
func (o *Outcome) WriteText(w io.Writer) {
	if o.Started {
		fmt.Fprintln(w, "started; the machine restarts when it is done")
		return
	}
	fmt.Fprintln(w, o.Status)
}

// StatusWord is the destination that asks what became of the last update.
const StatusWord = "status"

// Command is the command by which a server orders an update: its destination is
// the URL, or [StatusWord]. It is answered as soon as the update has begun, by
// start.
func Command(start func(ctx context.Context, url, link string) error) command.Definition {
	info := command.Info{
		Wire:    Outcome{},
		Name:    "update",
		Summary: "Install another version, or tell what became of the last one",
	}
	return command.Define(info, func() Params { return Params{} }, func(ctx context.Context, destination string, p Params) (*Outcome, error) {
		if destination == StatusWord {
			s, err := ReadStatus(StatusFile)
			return &Outcome{Status: s}, err
		}
		return &Outcome{Started: true, Status: Status{Source: destination}}, start(ctx, destination, p.Link)
	})
}

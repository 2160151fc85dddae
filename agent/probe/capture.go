package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/capture"
	"github.com/natrix-os/natrix/agent/command"
	"golang.org/x/sys/unix"
)

// captureEnding is that of the files; what has it in the directory for
// captures of remote parties is deleted when there is too much of it.
const captureEnding = ".pcapng"

// Captured is the part of a result that tells of its probe's packets.
type Captured struct {
	Capture *Recording `json:"capture,omitempty"` // nil if they were not captured
}

// Recording is packets in a file.
type Recording struct {
	File    string `json:"file"`
	Packets int    `json:"packets"`
	Bytes   int    `json:"bytes"`   // of the packets
	Left    int    `json:"left"`    // packets left out because the file had reached its limit
	Dropped int    `json:"dropped"` // packets of the same peers that the kernel dropped because they came too fast
}

func (c *Captured) record(r *Recording) { c.Capture = r }

func (c *Captured) writeText(w io.Writer) {
	if c.Capture != nil {
		fmt.Fprintln(w, c.Capture)
	}
}

// String tells of the recording in a line.
func (r *Recording) String() string {
	s := fmt.Sprintf("%d packets captured in %s", r.Packets, r.File)
	if r.Left > 0 {
		s += fmt.Sprintf(", %d more did not fit", r.Left)
	}
	if r.Dropped > 0 {
		s += fmt.Sprintf(", %d dropped", r.Dropped)
	}
	return s
}

// captureFlag declares the parameter.
func captureFlag(f *command.Flags, file *string) {
	f.Custom((*captureValue)(file), "capture-packets", "C", "write the packets of this probe to `FILE` (pcapng)", "capture")
}

// captureValue is a file, or a boolean as the original's documents have it.
type captureValue string

func (v *captureValue) String() string { return string(*v) }
func (v *captureValue) Type() string   { return "file" }

func (v *captureValue) Set(s string) error {
	switch s = strings.TrimSpace(s); strings.ToLower(s) {
	case "false", "0", "no", "off", "none":
		s = ""
	case "1", "yes", "on":
		s = someFile
	}
	*v = captureValue(s)
	return nil
}

// someFile asks for a file without a name for it.
const someFile = "true"

type captureKey struct{}

// captureOf is the capture under way; nil if there is none.
func captureOf(ctx context.Context) *capture.Capture {
	c, _ := ctx.Value(captureKey{}).(*capture.Capture)
	return c
}

// captureEngine has the packets to and from a destination captured. The engine
// is the probe's alone, so its numbers are too.
func captureEngine(ctx context.Context, s sender, dst netip.Addr) error {
	c := captureOf(ctx)
	numbered, ok := s.(interface{ Owns(uint16) bool })
	if c == nil || !ok {
		return nil
	}
	return c.Add(capture.Flow{Peer: dst, Owns: numbered.Owns})
}

// captured runs a probe with sockets of its own and writes their packets to a
// file, which is there too if the probe fails.
func captured[R interface{ record(*Recording) }](ctx context.Context, p *Prober, name string, run func(context.Context, *Prober) (R, error)) (none R, err error) {
	file, err := p.captureFile(ctx, name)
	if err != nil {
		return none, err
	}
	c, err := capture.Start(file, capture.DefaultLimit)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: %w (needs root or CAP_NET_RAW)", command.ErrPermission, err)
		}
		return none, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	alone := &Prober{Locations: p.Locations, Captures: p.Captures, open: p.open, roots: p.roots}
	r, err := run(context.WithValue(ctx, captureKey{}, c), alone)
	sum, written := c.Stop() // before the engine that knows its packets
	if written = errors.Join(written, alone.Close(), file.Close()); written != nil {
		return none, errors.Join(err, fmt.Errorf("capture to %s: %w", file.Name(), written))
	}
	recording := &Recording{File: file.Name(), Packets: sum.Packets, Bytes: sum.Bytes, Left: sum.Left, Dropped: sum.Lost}
	if err != nil {
		return none, fmt.Errorf("%w (%v)", err, recording)
	}
	r.record(recording)
	return r, nil
}

// captureFile makes the file: the one that a local user names, or one in the
// directory for remote parties, who are refused without that.
func (p *Prober) captureFile(ctx context.Context, name string) (*os.File, error) {
	if name == someFile {
		name = "natrix-" + strconv.FormatInt(time.Now().UnixNano(), 10) + captureEnding
	}
	if command.Remote(ctx) {
		return remoteFile(p.Captures, name)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: capture: %w", command.ErrParameter, err)
	}
	return file, nil
}

// remoteFile makes a file in a directory, and room for it by deleting older ones.
func remoteFile(dir, name string) (*os.File, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: packets are captured for local users only, unless [CAPTURE] directory says where to", command.ErrPermission)
	}
	name = strings.TrimSuffix(name, captureEnding) + captureEnding
	if len(name) > 128 || name[0] == '.' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return nil, fmt.Errorf("%w: capture %q: want true, or a name of letters, digits, hyphens, underscores and dots", command.ErrParameter, name)
	}
	root, err := os.OpenRoot(dir) // no name and no symbolic link leads out of it
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	defer root.Close()
	if err := makeRoom(root); err != nil {
		return nil, fmt.Errorf("capture: make room: %w", err)
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return file, nil
}

// capturesKept is how many bytes of older captures stay when a new one begins.
const capturesKept = 3 * capture.DefaultLimit

// makeRoom deletes the oldest captures.
func makeRoom(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	var captures []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasSuffix(e.Name(), captureEnding) {
			captures = append(captures, info)
		}
	}
	slices.SortFunc(captures, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), strings.Compare(b.Name(), a.Name()))
	})
	kept := int64(0)
	for _, info := range captures {
		if kept += info.Size(); kept > capturesKept {
			if err := root.Remove(info.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

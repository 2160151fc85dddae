package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

// TestRefused: what is refused leaves the loader's choice and the running slot
// alone, and the reason on record.
func TestRefused(t *testing.T) {
	old, _, file, o := sample(t, 100_000)
	header := bytes.Index(file, []byte("\nsignature "))
	end := header + 1 + bytes.IndexByte(file[header+1:], '\n') + 1
	for _, test := range []struct {
		name string
		file []byte
		edit func(*Order)
		want string
	}{
		{"nothing", nil, nil, "EOF"},
		{"another file", []byte("<!doctype html>"), nil, "not an update"},
		{"another key", file, func(o *Order) { o.Keys = []ed25519.PublicKey{make([]byte, 32)} }, "no key"},
		{"no key", file, func(o *Order) { o.Keys = nil }, "no key"},
		{"a changed header", bytes.Replace(file, []byte("board rpi3"), []byte("board rpi2"), 1), nil, "no key"},
		{"another board", file, func(o *Order) { o.Running.Board = "amd64" }, "for the board rpi3"},
		{"an older version", file, func(o *Order) { o.Running.Version = "0.10.0" }, "not later"},
		{"older sources", file, func(o *Order) { o.Running.Built = time.Unix(3000, 0) }, "not later"},
		{"the same", file, func(o *Order) { o.Running.Version, o.Running.Built = "0.3.0", time.Unix(2000, 0) }, "not later"},
		{"a short file", file[:len(file)-1000], nil, "unpack"},
		{"a changed content", append(slices.Clone(file[:end]), bytes.Replace(file[end:], file[end+5000:end+5010], []byte("0123456789"), 1)...), nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := o
			if test.edit != nil {
				test.edit(&o)
			}
			l := GRUB()
			d := newDisk(l, old)
			err := install(d, l, test.file, o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("install = %v, want %q", err, test.want)
			}
			if booted, version, err := d.boot(l, true, old); err != nil || booted != medium.A || version != 0 {
				t.Errorf("slot %s boots, version %d, %v, want a, 0", booted, version, err)
			}
			if r, err := d.medium(l, medium.A).Last(); err != nil || r.State != Refused || !strings.Contains(r.Reason, test.want) {
				t.Errorf("the record is %+v, %v, want the reason %q", r, err, test.want)
			}
		})
	}
}

func TestForceTakesAnOlderVersion(t *testing.T) {
	old, fresh, file, o := sample(t, 100_000)
	o.Running.Version, o.Force = "9.9.9", true
	d := newDisk(GRUB(), old)
	if err := install(d, GRUB(), file, o); err != nil {
		t.Fatal(err)
	}
	if _, version, err := d.boot(GRUB(), false, old, fresh); err != nil || version != 1 {
		t.Errorf("version %d boots, %v, want 1", version, err)
	}
}

// spoiling is a medium that does not keep what is written at one place.
type spoiling struct{ Device }

func (s spoiling) WriteAt(b []byte, at int64) (int, error) {
	if at <= 50_000 && at+int64(len(b)) > 50_000 {
		b = slices.Clone(b)
		b[50_000-at] ^= 1
	}
	return s.Device.WriteAt(b, at)
}

func TestWornOutMedium(t *testing.T) {
	old, _, file, o := sample(t, 100_000)
	d := newDisk(GRUB(), old)
	m := d.medium(GRUB(), medium.A)
	whole := m.Slot
	m.Slot = func(s medium.Slot) (Device, error) {
		d, err := whole(s)
		return spoiling{d}, err
	}
	if _, err := Install(t.Context(), m, bytes.NewReader(file), o); !errors.Is(err, errSpoilt) {
		t.Errorf("Install = %v, want %v", err, errSpoilt)
	}
	if got := d.parts[slotB][:headSize]; !bytes.Equal(got, make([]byte, headSize)) {
		t.Error("the slot begins like one that can be started")
	}
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		after := func(d time.Duration) func(context.Context) error {
			return func(context.Context) error {
				if time.Since(begin) < d {
					return errors.New("not yet")
				}
				return nil
			}
		}
		needs := []Need{{"lease", after(3 * time.Second)}, {"clock", after(time.Hour)}, {"broker", after(20 * time.Second)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Gate(ctx, needs, []string{"lease", "broker"}, time.Second); err != nil || time.Since(begin) != 20*time.Second {
			t.Errorf("Gate = %v after %v, want nil after 20s", err, time.Since(begin))
		}
		if got := Working(ctx, needs); !slices.Equal(got, []string{"lease", "broker"}) {
			t.Errorf("%q work, want lease and broker", got)
		}
		err := Gate(ctx, needs, []string{"lease", "clock"}, time.Second)
		if err == nil || !strings.Contains(err.Error(), "clock: not yet") || time.Since(begin) != time.Minute {
			t.Errorf("Gate = %v after %v, want that the clock is not right, after 1m", err, time.Since(begin))
		}
	})
}

func TestRecordFitsItsSector(t *testing.T) {
	long := strings.Repeat("v", 40)
	want := Record{State: RolledBack, Slot: medium.B, From: long, To: long, At: 1 << 40, Needs: []string{"lease", "clock", "broker"}, Reason: strings.Repeat("\x00", 400), Straight: true}
	b := want.encode()
	got, err := decodeRecord(b)
	if len(b) != medium.SectorSize || err != nil || got.State != want.State || got.From != long || got.To != long {
		t.Errorf("%d bytes say %+v, %v, want %+v", len(b), got, err, want)
	}
	b[100] ^= 1
	if got, err := decodeRecord(b); err == nil {
		t.Errorf("a spoilt record says %+v, want an error", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(Record{State: Trial, Slot: medium.B, To: "0.3.0"}.encode())
	f.Add([]byte(recordMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err == nil && len(r.encode()) != medium.SectorSize {
			t.Errorf("%+v does not fit a sector", r)
		}
	})
}

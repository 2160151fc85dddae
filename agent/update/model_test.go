package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

// disk is a medium in memory that loses its power. Writes wait until they are
// synchronised; those that have arrived by the cut are there, and of those that
// wait a random part is, in whole sectors, as disks leave them.
type disk struct {
	parts   map[string][]byte
	waiting []write
	left    int // bytes that may still be written; less than 0: no cut
	dead    bool
	rand    *rand.Rand
}

type write struct {
	part string
	at   int64
	b    []byte
}

var errCut = errors.New("the power is cut")

const (
	slotA  = "slot a"
	slotB  = "slot b"
	record = "record"
	choice = "choice"
)

func newDisk(l Loader, old []byte) *disk {
	return &disk{left: -1, rand: rand.New(rand.NewPCG(1, 2)), parts: map[string][]byte{
		slotA:  append(slices.Clone(old), make([]byte, 64<<10)...),
		slotB:  make([]byte, len(old)+64<<10),
		record: make([]byte, medium.SectorSize),
		choice: l.format(medium.Choice{Slot: medium.A}),
	}}
}

// medium is the disk as the updater of the running slot sees it.
func (d *disk) medium(l Loader, booted medium.Slot) Medium {
	open := func(part string) (Device, error) { return &view{d, part}, nil }
	return Medium{
		Booted: booted,
		Loader: l,
		Slot:   func(s medium.Slot) (Device, error) { return open("slot " + string(s)) },
		Record: func() (Device, error) { return open(record) },
		Choice: func(bool) (Device, error) { return open(choice) },
	}
}

type view struct {
	d    *disk
	name string
}

func (p *view) ReadAt(b []byte, at int64) (int, error) {
	if p.d.dead {
		return 0, errCut
	}
	return bytes.NewReader(p.d.seen(p.name)).ReadAt(b, at)
}

// seen is a part as the kernel has it: with what waits.
func (d *disk) seen(part string) []byte {
	b := slices.Clone(d.parts[part])
	for _, w := range d.waiting {
		if w.part == part {
			copy(b[w.at:], w.b)
		}
	}
	return b
}

func (p *view) WriteAt(b []byte, at int64) (int, error) {
	d := p.d
	if d.dead {
		return 0, errCut
	}
	if at+int64(len(b)) > int64(len(d.parts[p.name])) {
		return 0, io.ErrShortWrite
	}
	d.waiting = append(d.waiting, write{p.name, at, slices.Clone(b)})
	if d.left >= 0 {
		if d.left -= len(b); d.left < 0 {
			d.cut()
			return 0, errCut
		}
	}
	return len(b), nil
}

func (p *view) Sync() error {
	if p.d.dead {
		return errCut
	}
	for _, w := range p.d.waiting {
		copy(p.d.parts[w.part][w.at:], w.b)
	}
	p.d.waiting = nil
	return nil
}

func (p *view) Close() error { return nil }

// cut drops the power: any of the sectors that wait may have been written.
func (d *disk) cut() {
	d.dead = true
	for _, w := range d.waiting {
		for at := 0; at < len(w.b); at += medium.SectorSize {
			if d.rand.IntN(2) == 0 {
				copy(d.parts[w.part][w.at+int64(at):], w.b[at:min(at+medium.SectorSize, len(w.b))])
			}
		}
	}
	d.waiting = nil
}

// boot switches the power on. It is the model of the loaders, by what their
// documentation and agent/medium say:
//
//   - The firmware of the Raspberry Pi reads boot_partition from autoboot.txt,
//     in its section [tryboot] if the flag is set. The flag is in a register
//     that a restart keeps and that starting the firmware or losing the power
//     clears.
//   - GRUB reads slot and trial from grubenv, and writes trial back as empty
//     before it starts what trial says.
//
// What the chosen slot has must be the whole of a version; boot fails if it is
// anything else.
func (d *disk) boot(l Loader, tryboot bool, versions ...[]byte) (booted medium.Slot, version int, err error) {
	d.dead, d.left, d.waiting = false, -1, nil
	if l.InFile {
		c, err := medium.ParseEnvironment(d.parts[choice])
		if err != nil {
			return "", 0, err
		}
		if booted = c.Slot; c.Trial != "" {
			booted = c.Trial
			d.parts[choice] = medium.Choice{Slot: c.Slot}.Environment()
		}
	} else if booted, err = medium.ParseAutoboot(d.parts[choice], tryboot); err != nil {
		return "", 0, err
	}
	for i, v := range versions {
		if bytes.HasPrefix(d.parts["slot "+string(booted)], v) {
			return booted, i, nil
		}
	}
	return booted, 0, fmt.Errorf("slot %s has no version in it", booted)
}

// sample is an old version, a new one, and the update to that.
func sample(t testing.TB, size int) (old, fresh, file []byte, o Order) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	old, fresh = make([]byte, size), make([]byte, size)
	random.Read(old)
	random.Read(fresh)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	file, err := Pack(Header{Board: "rpi3", Version: "0.3.0", Built: time.Unix(2000, 0)}, fresh, key)
	if err != nil {
		t.Fatal(err)
	}
	return old, fresh, file, Order{
		Running: Running{Board: "rpi3", Version: "0.2.0", Built: time.Unix(1000, 0)},
		Keys:    []ed25519.PublicKey{key.Public().(ed25519.PublicKey)},
		Tries:   true,
		Needs:   []string{"lease"},
	}
}

var loaders = map[string]Loader{"GRUB": GRUB(), "firmware": Firmware()}

func install(d *disk, l Loader, file []byte, o Order) error {
	_, err := Install(context.Background(), d.medium(l, medium.A), bytes.NewReader(file), o)
	return err
}

func TestUpdateIsTriedAndKept(t *testing.T) {
	old, fresh, file, o := sample(t, 300_000)
	for name, l := range loaders {
		d := newDisk(l, old)
		if err := install(d, l, file, o); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		booted, version, err := d.boot(l, true, old, fresh)
		if err != nil || booted != medium.B || version != 1 {
			t.Fatalf("%s: the trial boots slot %s, version %d, %v, want b, 1", name, booted, version, err)
		}
		m := d.medium(l, booted)
		r, err := Settle(m)
		if err != nil || r.State != Trial || r.To != "0.3.0" || !slices.Equal(r.Needs, []string{"lease"}) {
			t.Fatalf("%s: Settle = %+v, %v, want a trial", name, r, err)
		}
		if err := Keep(m, r); err != nil {
			t.Fatal(err)
		}
		if booted, version, err = d.boot(l, false, old, fresh); err != nil || booted != medium.B || version != 1 {
			t.Errorf("%s: once kept, slot %s boots, version %d, %v, want b, 1", name, booted, version, err)
		}
		if r, err = Settle(d.medium(l, booted)); err != nil || r.State != Kept {
			t.Errorf("%s: Settle = %+v, %v, want kept", name, r, err)
		}
	}
}

// TestTrialThatFails restarts on trial without a word, as a panic does, and
// with a reason.
func TestTrialThatFails(t *testing.T) {
	old, fresh, file, o := sample(t, 300_000)
	for name, l := range loaders {
		for _, reason := range []string{"", "lease: no link has an address"} {
			d := newDisk(l, old)
			if err := install(d, l, file, o); err != nil {
				t.Fatal(err)
			}
			booted, _, err := d.boot(l, true, old, fresh)
			if err != nil {
				t.Fatal(err)
			}
			if reason != "" {
				r, err := Settle(d.medium(l, booted))
				if err = errors.Join(err, Reject(d.medium(l, booted), r, errors.New(reason))); err != nil {
					t.Fatal(err)
				}
			}
			booted, version, err := d.boot(l, false, old, fresh)
			if err != nil || booted != medium.A || version != 0 {
				t.Errorf("%s: slot %s boots, version %d, %v, want a, 0", name, booted, version, err)
			}
			r, err := Settle(d.medium(l, booted))
			if err != nil || r.State != RolledBack || r.Reason == "" || reason != "" && r.Reason != reason {
				t.Errorf("%s: Settle = %+v, %v, want rolled back for %q", name, r, err, reason)
			}
		}
	}
}

// TestStraight is a machine that cannot try. As soon as the new version runs,
// it is on trial all the same.
func TestStraight(t *testing.T) {
	old, fresh, file, o := sample(t, 300_000)
	o.Tries = false
	l := Firmware()
	d := newDisk(l, old)
	if err := install(d, l, file, o); err == nil {
		t.Fatal("an update without trial was not refused")
	}
	o.Force = true
	if err := install(d, l, file, o); err != nil {
		t.Fatal(err)
	}
	booted, version, err := d.boot(l, false, old, fresh)
	if err != nil || version != 1 {
		t.Fatalf("version %d of slot %s boots, %v, want 1", version, booted, err)
	}
	if r, err := Settle(d.medium(l, booted)); err != nil || r.State != Trial {
		t.Fatalf("Settle = %+v, %v, want a trial", r, err)
	}
	if booted, version, err = d.boot(l, false, old, fresh); err != nil || version != 0 {
		t.Errorf("after a trial that failed, version %d of slot %s boots, %v, want 0", version, booted, err)
	}
}

// TestPowerCut cuts the power at every 64 KiB of an update's writes, around
// each of its steps byte by byte, and while the trial is kept. Each time the
// machine boots the old version or the new one, and can be updated again.
func TestPowerCut(t *testing.T) {
	old, fresh, file, o := sample(t, 1<<20)
	for name, l := range loaders {
		t.Run(name, func(t *testing.T) {
			total := written(t, l, old, file, o)
			cuts := 0
			for left := 0; left <= total; left += step(left, total, len(fresh)) {
				cuts++
				d := newDisk(l, old)
				d.left = left
				err := install(d, l, file, o)
				if cut := errors.Is(err, errCut); cut != (left < total) {
					t.Fatalf("cut after %d of %d bytes: install = %v", left, total, err)
				}
				recovers(t, d, l, err == nil, left, old, fresh, file, o)
			}
			t.Logf("%d cuts in %d bytes of writes", cuts, total)
		})
	}
}

// step is 64 KiB where nothing but the bulk is written, else a few bytes.
func step(left, total, size int) int {
	if left >= 2*headSize && left < size-2*headSize && left+64<<10 < total {
		return 64 << 10
	}
	return 256
}

// written is how much an update that is not cut short writes.
func written(t *testing.T, l Loader, old, file []byte, o Order) int {
	t.Helper()
	const plenty = 1 << 30
	d := newDisk(l, old)
	d.left = plenty
	if err := install(d, l, file, o); err != nil {
		t.Fatal(err)
	}
	return plenty - d.left
}

// recovers boots what a cut has left, keeps a trial with a cut in that as well,
// and updates once more.
func recovers(t *testing.T, d *disk, l Loader, tryboot bool, left int, old, fresh, file []byte, o Order) {
	t.Helper()
	booted, version, err := d.boot(l, tryboot, old, fresh)
	if err != nil {
		t.Fatalf("cut after %d bytes: %v", left, err)
	}
	r, err := Settle(d.medium(l, booted))
	if err != nil {
		t.Fatalf("cut after %d bytes: Settle: %v", left, err)
	}
	if r.State == Trial {
		for at := 0; ; at += 256 {
			again := d.clone(at)
			kept := Keep(again.medium(l, booted), r)
			if b, v, err := again.boot(l, false, old, fresh); err != nil || kept == nil && v != 1 {
				t.Fatalf("cut after %d bytes of keeping it: slot %s, version %d, %v", at, b, v, err)
			}
			if kept == nil {
				break
			}
		}
	}
	if version != 0 {
		return
	}
	if err := install(d, l, file, o); err != nil {
		t.Fatalf("cut after %d bytes: the next update: %v", left, err)
	}
	if b, v, err := d.boot(l, true, old, fresh); err != nil || v != 1 {
		t.Fatalf("cut after %d bytes: after the next update slot %s, version %d, %v", left, b, v, err)
	}
}

// clone is the same disk, whose power is cut after left bytes.
func (d *disk) clone(left int) *disk {
	c := &disk{left: left, rand: d.rand, parts: make(map[string][]byte)}
	for name, b := range d.parts {
		c.parts[name] = slices.Clone(b)
	}
	return c
}

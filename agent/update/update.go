// Package update replaces the version of an appliance by another one in a way
// that a power cut, a bad version or a wrong file cannot harm.
//
// An update is one file: a [Header], which is signed, and a slot's file system,
// compressed. [Install] streams it to the slot that does not run:
//
//  1. The first 4 KiB of the slot are wiped: no loader starts what follows.
//  2. The rest is written, then read back from the medium and compared with the
//     header's hash. Only then come the first 4 KiB, and are read back as well.
//  3. The [Record], one sector outside of all partitions, says which slot is on
//     trial and what worked before.
//  4. The loader is told to take the slot once (package medium says how), and
//     the machine restarts.
//
// [Settle], at the next boot, says what came of it. If the slot on trial runs,
// [Gate] waits for what worked before to work again, and [Keep] makes the slot
// the ordinary one, with one write of one sector. A slot that does not get as
// far, because its kernel panics, it hangs or the gate stays shut, is left by a
// restart: the loader's ordinary slot, which was not touched, comes back.
//
// So there is no moment at which the loader is told to start something that was
// not verified, and none at which the version that ran last is gone. Who cuts
// the power finds one of both versions afterwards.
package update

import (
	"errors"
	"fmt"
	"io"

	"github.com/natrix-os/natrix/agent/medium"
)

// Device is a part of the medium. What was written is on it once Sync returns,
// and is read from there after that.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// Medium is what the machine was booted from.
type Medium struct {
	Booted medium.Slot
	Loader Loader

	Slot   func(medium.Slot) (Device, error)
	Record func() (Device, error)              // the sector [medium.RecordSector]
	Choice func(writable bool) (Device, error) // the loader's file
}

// Loader is how the loader of the medium is told which slot to start.
type Loader struct {
	format func(medium.Choice) []byte
	parse  func([]byte) (medium.Choice, error)

	// InFile is set if the flag for one boot is in the file too. Otherwise it is
	// an argument of the restart, [TrialArgument].
	InFile bool
}

// TrialArgument is what the kernel of the Raspberry Pi is told when it is to
// restart for a trial (LINUX_REBOOT_CMD_RESTART2 in reboot(2)): the partition,
// 0 for that of autoboot.txt, and the flag, which the firmware forgets at the
// next reset.
const TrialArgument = "0 tryboot"

// GRUB is the loader of a PC.
func GRUB() Loader {
	return Loader{format: medium.Choice.Environment, parse: medium.ParseEnvironment, InFile: true}
}

// Firmware is the loader of a Raspberry Pi.
func Firmware() Loader {
	return Loader{format: medium.Choice.Autoboot, parse: func(file []byte) (medium.Choice, error) {
		slot, err := medium.ParseAutoboot(file, false)
		return medium.Choice{Slot: slot}, err
	}}
}

// choice reads what the loader does at an ordinary boot.
func (m Medium) choice() (medium.Choice, error) {
	d, err := m.Choice(false)
	if err != nil {
		return medium.Choice{}, err
	}
	defer d.Close()
	file := make([]byte, 4096)
	n, err := d.ReadAt(file, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return medium.Choice{}, err
	}
	c, err := m.Loader.parse(file[:n])
	if err != nil {
		return c, fmt.Errorf("what chooses the slot: %w", err)
	}
	if n != len(m.Loader.format(c)) {
		return c, fmt.Errorf("what chooses the slot was edited: it has %d bytes, want %d", n, len(m.Loader.format(c)))
	}
	return c, nil
}

// choose tells the loader. What differs is in one sector, which is replaced as
// a whole or not at all; nothing else of the file system changes.
func (m Medium) choose(c medium.Choice) error {
	d, err := m.Choice(true)
	if err != nil {
		return err
	}
	_, err = d.WriteAt(m.Loader.format(c), 0)
	if err := errors.Join(err, d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("choose slot %s: %w", c.Slot, err)
	}
	return nil
}

package medium

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Choice is what the loader is told: the slot of an ordinary boot, and the slot
// to try once, or "".
type Choice struct {
	Slot, Trial Slot
}

// environmentSize is fixed: GRUB writes into the file's sectors and cannot make
// it longer.
const environmentSize = 1024

const environmentHead = "# GRUB Environment Block\n"

// Environment is grub/grubenv with the choice in it. It must be written over
// the file that is there, in one write of its whole length, because GRUB
// writes to the sectors that it finds the file in.
func (c Choice) Environment() []byte {
	text := environmentHead + "slot=" + string(c.Slot) + "\ntrial=" + string(c.Trial) + "\n"
	return append([]byte(text), bytes.Repeat([]byte("#"), environmentSize-len(text))...)
}

// ParseEnvironment reads grub/grubenv, as we or GRUB wrote it.
func ParseEnvironment(file []byte) (Choice, error) {
	text, ok := strings.CutPrefix(string(file), environmentHead)
	if !ok || len(file) != environmentSize {
		return Choice{}, fmt.Errorf("not a GRUB environment block of %d bytes", environmentSize)
	}
	var c Choice
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case "slot":
			c.Slot = Slot(value)
		case "trial":
			c.Trial = Slot(value)
		}
	}
	return c, c.check()
}

// Autoboot is autoboot.txt with the slot in it, which must stay under 512 bytes
// (www.raspberrypi.com/documentation/computers/config_txt.html). The firmware
// tries the other slot when it is started with the tryboot flag; c.Trial is not
// in the file.
func (c Choice) Autoboot() []byte {
	return fmt.Appendf(nil, "[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n",
		c.Slot.Partition(), c.Slot.Other().Partition())
}

// ParseAutoboot reads autoboot.txt as the firmware does: a later line wins, and
// a section counts if its filter holds.
func ParseAutoboot(file []byte, tryboot bool) (Slot, error) {
	applies, partition := true, 0
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSpace(line)
		if filter, ok := strings.CutPrefix(line, "["); ok {
			filter = strings.TrimSuffix(filter, "]")
			applies = filter == "all" || filter == "tryboot" && tryboot
			continue
		}
		value, ok := strings.CutPrefix(line, "boot_partition=")
		if !ok || !applies {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return "", fmt.Errorf("boot_partition=%s: %w", value, err)
		}
		partition = n
	}
	slot, ok := slotOf(partition)
	if !ok {
		return "", fmt.Errorf("boot_partition is %d, want %d or %d", partition, SlotA, SlotB)
	}
	return slot, nil
}

func (c Choice) check() error {
	if c.Slot != A && c.Slot != B {
		return fmt.Errorf("slot is %q, want a or b", c.Slot)
	}
	if c.Trial != "" && c.Trial != A && c.Trial != B {
		return errors.New("trial is neither a nor b nor empty")
	}
	return nil
}

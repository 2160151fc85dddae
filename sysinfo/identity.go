package sysinfo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jaypipes/ghw"
)

// Identity says which machine this is. It does not change while it runs, nor
// by installing another system on it.
type Identity struct {
	Serial  string // what Source says; empty if the machine has none that means anything
	Source  Source
	Product string // "Raspberry Pi 3 Model B Rev 1.2", "Standard PC (Q35 + ICH9, 2009)"
	Vendor  string
	Board   string // main board, by its maker's name for it
}

// Source says where a serial number comes from.
type Source string

// The sources of a serial number, best first.
const (
	CPUInfo     Source = "cpuinfo"      // Serial in /proc/cpuinfo, as the boot firmware of a Raspberry Pi sets it
	FirmwareSN  Source = "firmware"     // DMI product serial or serial-number of the device tree
	ProductUUID Source = "product uuid" // DMI system UUID
)

// maxSerial is the longest serial number a Natrix server takes.
const maxSerial = 64

// Identity reads serial number and names. Strings that makers leave in place
// of a real one ("To Be Filled By O.E.M.", zeros) count as none.
func (m Machine) Identity() (Identity, error) {
	var gaps []error
	// Told to use neither tools nor warnings, it only reads files: DMI below
	// /sys/class/dmi/id or else the device tree.
	opts := []any{ghw.WithChroot(m.path()), ghw.WithDisableTools(), ghw.WithDisableWarnings()}
	product, err := ghw.Product(opts...)
	if err != nil {
		gaps = append(gaps, fmt.Errorf("read product: %w", err))
		product = &ghw.ProductInfo{}
	}
	board, err := ghw.Baseboard(opts...)
	if err != nil {
		gaps = append(gaps, fmt.Errorf("read board: %w", err))
		board = &ghw.BaseboardInfo{}
	}
	cpu, _ := m.cpuinfo() // no gap: only some machines have a name or number there

	id := Identity{
		Product: genuine(product.Name, board.Product, cpu.machine),
		Vendor:  genuine(product.Vendor, board.Vendor),
		Board:   genuine(board.Product, product.Name, cpu.machine),
	}
	for _, s := range []struct {
		source Source
		serial string
	}{{CPUInfo, cpu.serial}, {FirmwareSN, product.SerialNumber}, {ProductUUID, product.UUID}} {
		if serial := genuine(s.serial); serial != "" && id.Serial == "" {
			id.Serial, id.Source = clean(serial[:min(len(serial), maxSerial)]), s.source
		}
	}
	if id.Serial == "" {
		gaps = append(gaps, errors.New("no serial number or UUID in cpuinfo, DMI or device tree"))
	}
	if id.Product == "" {
		gaps = append(gaps, errors.New("no product name in cpuinfo, DMI or device tree"))
	}
	return id, errors.Join(gaps...)
}

// genuine returns the first of values that is not a placeholder, cleaned.
func genuine(values ...string) string {
	for _, v := range values {
		if v = clean(v); !placeholder(v) {
			return v
		}
	}
	return ""
}

// placeholders are what makers of boards ship instead of a value, lower case
// and without punctuation. "unknown" is ghw's word for a file it cannot read.
var placeholders = []string{
	"unknown", "none", "null", "na", "default", "default string", "empty", "undefined", "invalid",
	"not specified", "not applicable", "not available", "not present", "not settable", "no enclosure",
	"to be filled by oem", "filled by oem", "oem", "oem default string", "tbd", "test",
	"serial number", "system serial number", "base board serial number", "chassis serial number", "sn",
	"system product name", "system manufacturer", "system version", "system sku", "product name",
	"base board product name", "base board manufacturer", "type1productconfigid", "type2 board product name",
	"03000200 0400 0500 0006 000700080009", // the UUID of boards whose maker set none
	"00020003 0004 0005 0006 000700080009", // the same, by firmware that keeps the other byte order
}

// placeholder tells whether v, cleaned, stands for no value.
func placeholder(v string) bool {
	v = strings.ToLower(v)
	v = strings.NewReplacer(".", "", "/", "", "-", " ", "_", " ").Replace(v)
	v = strings.Join(strings.Fields(v), " ")
	for _, p := range placeholders {
		if v == p {
			return true
		}
	}
	v = strings.ReplaceAll(v, " ", "")
	return repeated(v) || counting(v)
}

// repeated tells whether v is one character over and over: "0000", "xxxx", "".
func repeated(v string) bool {
	return strings.Trim(v, v[:min(1, len(v))]) == ""
}

// counting tells whether v is the digits in order: "123456789", "0123456789".
func counting(v string) bool {
	const digits = "01234567890123456789"
	return len(v) >= 4 && (strings.HasPrefix(digits, v) || strings.HasPrefix(digits[1:], v))
}

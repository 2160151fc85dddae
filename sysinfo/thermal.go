package sysinfo

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
)

// Temperature is what one sensor says.
type Temperature struct {
	Sensor  string  // "cpu-thermal", "coretemp Package id 0"
	Celsius float64 // to a thousandth at most
}

// Temperatures reads the thermal zones, or the hardware monitor's sensors on
// a machine without zones.
func (m Machine) Temperatures() ([]Temperature, error) {
	var all []Temperature
	for _, file := range m.glob("sys/class/thermal/thermal_zone*/temp") {
		name, _ := m.line(filepath.Dir(file), "type")
		all = m.sensor(all, name, file)
	}
	if len(all) > 0 {
		return all, nil
	}
	for _, file := range m.glob("sys/class/hwmon/hwmon*/temp*_input") {
		name, _ := m.line(filepath.Dir(file), "name")
		label, _ := m.line(strings.TrimSuffix(file, "_input") + "_label")
		all = m.sensor(all, strings.TrimSpace(name+" "+label), file)
	}
	if len(all) == 0 {
		return nil, errors.New("no temperature sensor in " + m.path("sys/class"))
	}
	return all, nil
}

// sensor appends what a file with thousandths of a degree says, unless it is
// nothing: a sensor that is asleep fails to be read.
func (m Machine) sensor(all []Temperature, name, file string) []Temperature {
	s, err := m.line(file)
	if err != nil {
		return all
	}
	milli, err := strconv.ParseInt(s, 10, 32)
	if err != nil || milli < -273_150 {
		return all
	}
	return append(all, Temperature{Sensor: name, Celsius: float64(milli) / 1000})
}

// Throttling is what the firmware of a Raspberry Pi has against the board's
// power or heat, now and at any time since it started. The bits are those of
// "vcgencmd get_throttled".
type Throttling uint32

// The conditions. Shifted left by 16 they mean "has occurred".
const (
	UnderVoltage    Throttling = 1 << iota // below 4.63 V
	FrequencyCapped                        // clock limited
	Throttled                              // clock lowered
	SoftLimit                              // soft temperature limit reached (Pi 3 A+ and B+)
)

// conditions are in the order of their bits.
var conditions = [...]string{"under-voltage", "frequency capped", "throttled", "soft temperature limit"}

// Now tells whether a condition holds.
func (t Throttling) Now(condition Throttling) bool { return t&condition != 0 }

// Since tells whether a condition held at any time since the board started.
func (t Throttling) Since(condition Throttling) bool { return t&(condition<<16) != 0 }

// String lists the conditions, "none" if there are none.
func (t Throttling) String() string {
	var all []string
	for i, name := range conditions {
		switch c := Throttling(1) << i; {
		case t.Now(c):
			all = append(all, name)
		case t.Since(c):
			all = append(all, name+" earlier")
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// Throttling reads the firmware's flags. Older kernels of the Raspberry Pi tree
// show all of them; upstream and later ones only the alarm for low voltage
// (raspberrypi-hwmon). Other machines have no such thing, which is an error.
func (m Machine) Throttling() (Throttling, error) {
	if s, err := m.line("sys/devices/platform/soc/soc:firmware/get_throttled"); err == nil {
		if bits, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32); err == nil {
			return Throttling(bits), nil
		}
	}
	for _, file := range m.glob("sys/class/hwmon/hwmon*/in0_lcrit_alarm") {
		if name, _ := m.line(filepath.Dir(file), "name"); name != "rpi_volt" {
			continue
		}
		if s, err := m.line(file); err == nil && s == "1" {
			return UnderVoltage, nil // within 2 s: the driver polls and clears the firmware's own "has occurred" bits
		} else if err == nil && s == "0" {
			return 0, nil
		}
	}
	return 0, errors.New("no throttling flags: not a Raspberry Pi, or its kernel does not show them")
}

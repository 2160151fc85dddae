package netif

import (
	"maps"
	"testing"
)

// The format of net/wireless/wext-proc.c, with a radio that is associated, one
// that is not, and one with a driver that does not count in dBm.
const wireless = `Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   57.  -53.  -256        0      0      0      0    285        0
 wlan1: 0000    0     0     0         0      0      0      0      0        0
 wlan2: 0000   70.   40.    0         0      0      0      0      0        0
`

func TestParseWireless(t *testing.T) {
	if got, want := parseWireless([]byte(wireless)), map[string]int{"wlan0": -53}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzWireless(f *testing.F) {
	f.Add([]byte(wireless))
	f.Add([]byte("wlan0: 0 0 -99999999999999999999."))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, dBm := range parseWireless(b) {
			if dBm >= 0 || dBm < -255 {
				t.Errorf("got %d dBm of %q", dBm, name)
			}
		}
	})
}

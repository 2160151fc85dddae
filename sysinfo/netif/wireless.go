package netif

import (
	"bytes"
	"os"
	"strconv"
)

// wirelessFile lists the radios of the calling thread's namespace, on kernels
// with CONFIG_CFG80211_WEXT, as those of Debian and the Raspberry Pi are.
const wirelessFile = "/proc/thread-self/net/wireless"

// addSignals fills in the signal of links that have a radio.
func addSignals(links []Link) {
	var signals map[string]int
	for i := range links {
		l := &links[i]
		if l.Kind != Wireless {
			continue
		}
		if signals == nil {
			b, _ := os.ReadFile(wirelessFile) // without it signals stay unknown
			signals = parseWireless(b)
		}
		l.SignalDBm = signals[l.Name]
	}
}

// parseWireless reads the signal level of each link in dBm. The numbers have a
// full stop behind them if they were updated since the last look. A level
// that is not negative is on a scale of the driver's own, as it is for a radio
// that is not associated.
func parseWireless(b []byte) map[string]int {
	signals := make(map[string]int)
	for l := range bytes.Lines(b) {
		name, rest, ok := bytes.Cut(l, []byte(":"))
		f := bytes.Fields(rest) // status, link quality, level, noise, ...
		if !ok || len(f) < 3 {
			continue
		}
		level, err := strconv.Atoi(string(bytes.TrimSuffix(f[2], []byte("."))))
		if err == nil && level < 0 && level > -256 {
			signals[string(bytes.TrimSpace(name))] = level
		}
	}
	return signals
}

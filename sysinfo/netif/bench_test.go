package netif

import (
	"net/netip"
	"testing"
)

// BenchmarkSelect is what each probe asks before it sends, of the loopback
// because every machine has one.
func BenchmarkSelect(b *testing.B) {
	dst := netip.MustParseAddr("127.0.0.1")
	for _, spec := range []string{"", "lo", "127.0.0.1"} {
		b.Run("by "+spec, func(b *testing.B) {
			for b.Loop() {
				if _, err := Select(spec, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

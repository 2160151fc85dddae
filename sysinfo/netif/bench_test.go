package netif

import "testing"

func BenchmarkLinks(b *testing.B) {
	for b.Loop() {
		if _, err := Links(); err != nil {
			b.Fatal(err)
		}
	}
}

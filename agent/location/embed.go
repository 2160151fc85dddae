//go:build location

package location

import (
	_ "embed"
	"unsafe"
)

// As strings, because the bytes of an embed.FS are copied to the heap by who
// reads them, and these stay in the file of the program until they are needed.
//
//go:embed data/ip2region.db
var ip2regionDB string

//go:embed data/ipv6wry.db
var ipv6wryDB string

// embedded is the data that is built into the program.
func embedded() [][]byte { return [][]byte{bytesOf(ip2regionDB), bytesOf(ipv6wryDB)} }

// bytesOf is the bytes of a string, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

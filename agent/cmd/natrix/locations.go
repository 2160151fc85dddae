package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"

	"github.com/natrix-os/natrix/agent/location"
)

// locations looks addresses up in the location data of this machine's terminal,
// which is opened for the first of them.
func locations() location.Finder {
	open := sync.OnceValue(func() location.Finder {
		data, err := location.Open(machineConfig().Location.Data...) // open until the program ends
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "natrix:", err)
		}
		return data.Finder()
	})
	return location.NewFinder(func(a netip.Addr) (location.Location, bool) {
		return open().Of(a), true
	})
}

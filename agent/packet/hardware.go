package packet

import (
	"net"

	"golang.org/x/sys/unix"
)

// hardware has network cards stamp packets (Documentation/networking/timestamping.rst,
// section 3) and puts them back as they were. Without CAP_NET_ADMIN, and on
// links that cannot, packets have the kernel's stamps instead, and replies say so.
type hardware struct {
	fd      int  // any socket of the namespace
	clock   bool // all cards stamp by the same clock
	changed map[string]unix.HwTstampConfig
}

// openHardware switches on the cards that the calling thread's namespace has
// now, if one clock is behind all of them: an answer may come in by another
// card than its request left by, and their stamps must compare.
func openHardware() hardware {
	h := hardware{fd: -1, changed: make(map[string]unix.HwTstampConfig)}
	links, err := net.Interfaces()
	if err != nil {
		return h
	}
	if h.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		h.fd = -1
		return h
	}
	able := make(map[string]*unix.EthtoolTsInfo)
	for _, l := range links {
		if can, err := unix.IoctlGetEthtoolTsInfo(h.fd, l.Name); err == nil && can.So_timestamping&unix.SOF_TIMESTAMPING_RAW_HARDWARE != 0 {
			able[l.Name] = can
		}
	}
	if h.clock = oneClock(able); !h.clock {
		return h
	}
	for link, can := range able {
		h.switchOn(link, can)
	}
	return h
}

// oneClock reports whether there is a hardware clock, and no other.
func oneClock(cards map[string]*unix.EthtoolTsInfo) bool {
	clocks := make(map[int32]bool)
	for _, c := range cards {
		clocks[c.Phc_index] = true
	}
	return len(clocks) == 1 && !clocks[-1] // -1 is a clock that cannot be told
}

// stamping is what sockets are to ask of the kernel.
func (h *hardware) stamping() int {
	if h.clock {
		return softwareStamps | hardwareStamps
	}
	return softwareStamps
}

func (h *hardware) switchOn(link string, can *unix.EthtoolTsInfo) {
	is, err := unix.IoctlGetHwTstamp(h.fd, link)
	if err != nil || !mayStamp(can, is) {
		return
	}
	want := unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON, Rx_filter: unix.HWTSTAMP_FILTER_ALL}
	if unix.IoctlSetHwTstamp(h.fd, link, &want) == nil {
		h.changed[link] = *is
	}
}

// mayStamp reports whether a card should be switched on: one that can stamp
// every packet both ways, and now stamps none. A card that already does so for
// somebody, such as a PTP daemon, is left to them.
func mayStamp(can *unix.EthtoolTsInfo, is *unix.HwTstampConfig) bool {
	const flags = unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	return can.So_timestamping&flags == flags &&
		can.Tx_types&(1<<unix.HWTSTAMP_TX_ON) != 0 && can.Rx_filters&(1<<unix.HWTSTAMP_FILTER_ALL) != 0 &&
		is.Tx_type == unix.HWTSTAMP_TX_OFF && is.Rx_filter == unix.HWTSTAMP_FILTER_NONE
}

// close puts the cards back that are still there.
func (h *hardware) close() {
	for link, was := range h.changed {
		_ = unix.IoctlSetHwTstamp(h.fd, link, &was)
	}
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
}

package packet

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestOneClock(t *testing.T) {
	card := func(clock int32) *unix.EthtoolTsInfo { return &unix.EthtoolTsInfo{Phc_index: clock} }
	for _, c := range []struct {
		name  string
		cards map[string]*unix.EthtoolTsInfo
		want  bool
	}{
		{"no card", nil, false},
		{"one card", map[string]*unix.EthtoolTsInfo{"eth0": card(0)}, true},
		{"two ports of a card", map[string]*unix.EthtoolTsInfo{"eth0": card(1), "eth1": card(1)}, true},
		{"two cards", map[string]*unix.EthtoolTsInfo{"eth0": card(0), "eth1": card(1)}, false},
		{"clocks that cannot be told apart", map[string]*unix.EthtoolTsInfo{"eth0": card(-1), "eth1": card(-1)}, false},
	} {
		if got := oneClock(c.cards); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func TestMayStamp(t *testing.T) {
	all := unix.EthtoolTsInfo{
		So_timestamping: unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE |
			unix.SOF_TIMESTAMPING_TX_SOFTWARE,
		Tx_types:   1<<unix.HWTSTAMP_TX_OFF | 1<<unix.HWTSTAMP_TX_ON,
		Rx_filters: 1<<unix.HWTSTAMP_FILTER_NONE | 1<<unix.HWTSTAMP_FILTER_ALL,
	}
	card := func(change func(*unix.EthtoolTsInfo)) unix.EthtoolTsInfo {
		c := all
		change(&c)
		return c
	}
	for _, c := range []struct {
		name string
		can  unix.EthtoolTsInfo
		is   unix.HwTstampConfig
		want bool
	}{
		{"a card that can and does not", all, unix.HwTstampConfig{}, true},
		{"a link without hardware", unix.EthtoolTsInfo{So_timestamping: unix.SOF_TIMESTAMPING_TX_SOFTWARE}, unix.HwTstampConfig{}, false},
		{"no raw stamps", card(func(c *unix.EthtoolTsInfo) { c.So_timestamping &^= unix.SOF_TIMESTAMPING_RAW_HARDWARE }), unix.HwTstampConfig{}, false},
		{"sent packets only", card(func(c *unix.EthtoolTsInfo) { c.So_timestamping &^= unix.SOF_TIMESTAMPING_RX_HARDWARE }), unix.HwTstampConfig{}, false},
		{"received packets only", card(func(c *unix.EthtoolTsInfo) { c.Tx_types = 1 << unix.HWTSTAMP_TX_OFF }), unix.HwTstampConfig{}, false},
		{"received PTP packets only", card(func(c *unix.EthtoolTsInfo) { c.Rx_filters = 1 << unix.HWTSTAMP_FILTER_PTP_V2_EVENT }), unix.HwTstampConfig{}, false},
		{"on already", all, unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON, Rx_filter: unix.HWTSTAMP_FILTER_ALL}, false},
		{"in use for PTP", all, unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON, Rx_filter: unix.HWTSTAMP_FILTER_PTP_V2_EVENT}, false},
		{"stamping what is sent for somebody", all, unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON}, false},
	} {
		if got := mayStamp(&c.can, &c.is); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// healthy is a terminal with nothing wrong below its broker.
func healthy() *patient {
	eth0 := netif.Link{
		Name: "eth0", Index: 2, Kind: netif.Wired, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Up: true, Carrier: true,
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}, Gateway4: netip.MustParseAddr("192.0.2.1"), Default4: true,
		SpeedMbit: 1000, Duplex: "full",
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	router := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	return &patient{
		Config: Config{
			Brokers: []string{"amqp://natrix:secret@broker.example:5672/"},
			NTP:     []string{"192.0.2.1"},
			Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
			Built:   now.Add(-time.Hour),
			Leases: func() ([]Lease, error) {
				return []Lease{{"eth0", eth0.Addrs[0], netip.MustParseAddr("192.0.2.1"), time.Now().Add(time.Hour)}}, nil
			},
		},
		machine: machine{
			links: func() ([]netif.Link, error) { return []netif.Link{eth0}, nil },
			offer: func(context.Context, netif.Link) (_, _ netip.Addr, err error) {
				return netip.Addr{}, netip.Addr{}, nclient4.ErrNoResponse
			},
			arp: func(_ context.Context, _ netif.Link, _ []string, sender, _ netip.Addr) (net.HardwareAddr, error) {
				if sender.IsUnspecified() {
					return nil, errSilent
				}
				return router, nil
			},
			ask: func(_ context.Context, _ netip.Addr, name string) (answer, error) {
				return answer{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.80")}, rcode: "NOERROR"}, nil
			},
			hosts: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
			time:  func(context.Context, string) (time.Duration, error) { return time.Millisecond, nil },
			now:   func() time.Time { return now },
		},
	}
}

// change lets a test spoil the one link of the terminal.
func (p *patient) change(f func(*netif.Link)) {
	links, _ := p.links()
	f(&links[0])
	p.links = func() ([]netif.Link, error) { return slices.Clone(links), nil }
}

// verdicts examines the terminal up to where the network is needed.
func verdicts(t *testing.T, p *patient) map[Step]Finding {
	t.Helper()
	p.Brokers = nil // which ends the examination before it dials
	r := examine(t.Context(), p, func(Finding) {})
	return byStep(t, r)
}

func byStep(t *testing.T, r Report) map[Step]Finding {
	t.Helper()
	all := make(map[Step]Finding)
	for i, f := range r.Findings {
		if f.Step != Step(i+1) {
			t.Fatalf("finding %d is about step %d", i, f.Step)
		}
		all[f.Step] = f
	}
	if len(all) != int(Queue) {
		t.Fatalf("got %d findings, want %d", len(all), Queue)
	}
	return all
}

func TestHealthy(t *testing.T) {
	got := verdicts(t, healthy())
	for step, want := range map[Step]Verdict{
		Link: LinkFine, Carrier: CarrierFine, Address: AddressLeased, Conflict: ConflictNone, Gateway: GatewayFine,
		Names: NamesUnneeded, Clock: ClockFine, Connect: ConnectNoBroker,
	} {
		if got[step].Verdict != want {
			t.Errorf("step %d: got %d, want %d", step, got[step].Verdict, want)
		}
	}
	if got[TLS].State != Skipped || got[Queue].After != Connect {
		t.Errorf("after the broker: got %+v, %+v", got[TLS], got[Queue])
	}
}

// TestFaults spoils one thing at a time.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*patient)
		step  Step
		want  Verdict
	}{
		"no link":      {func(p *patient) { p.links = func() ([]netif.Link, error) { return nil, nil } }, Link, LinkNone},
		"no such link": {func(p *patient) { p.Link = "eth7" }, Link, LinkUnknown},
		"link down":    {func(p *patient) { p.change(func(l *netif.Link) { l.Up = false }) }, Link, LinkDown},
		"kernel mute":  {func(p *patient) { p.links = func() ([]netif.Link, error) { return nil, errors.New("no") } }, Link, LinkHidden},
		"no carrier":   {func(p *patient) { p.change(func(l *netif.Link) { l.Carrier = false }) }, Carrier, CarrierNone},
		"radio":        {func(p *patient) { p.change(func(l *netif.Link) { l.Carrier, l.Kind = false, netif.Wireless }) }, Carrier, CarrierRadio},
		"modem":        {func(p *patient) { p.change(func(l *netif.Link) { l.Carrier, l.Kind = false, netif.Mobile }) }, Carrier, CarrierModem},
		"half duplex":  {func(p *patient) { p.change(func(l *netif.Link) { l.Duplex = "half" }) }, Carrier, CarrierDuplex},
		"no DHCP":      {func(p *patient) { p.change(func(l *netif.Link) { l.Addrs = nil }) }, Address, AddressNoServer},
		"link local": {func(p *patient) {
			p.change(func(l *netif.Link) { l.Addrs[0] = netip.MustParsePrefix("169.254.1.1/16") })
		}, Address, AddressLinkLocal},
		"by hand": {func(p *patient) { p.Leases = nil }, Address, AddressByHand},
		"IPv6 only": {func(p *patient) {
			p.change(func(l *netif.Link) { l.Addrs[0] = netip.MustParsePrefix("2001:db8::1/64") })
		}, Address, AddressOnly6},
		"offer not taken": {offered(nil), Address, AddressOffered},
		"may not ask":     {offered(errors.New("operation not permitted")), Address, AddressNone},
		"conflict":        {arp(net.HardwareAddr{2, 0, 0, 0, 0, 8}, nil), Conflict, ConflictFound},
		"may not ask ARP": {arp(nil, errors.New("operation not permitted")), Conflict, ConflictHidden},
		"no gateway":      {func(p *patient) { p.change(func(l *netif.Link) { l.Gateway4, l.Default4 = netip.Addr{}, false }) }, Gateway, GatewayNone},
		"dead gateway":    {arp(nil, errSilent), Gateway, GatewaySilent},
		"mute gateway":    {arp(nil, errors.New("operation not permitted")), Gateway, GatewayHidden},
		"clock of 1970":   {func(p *patient) { p.now = func() time.Time { return time.Unix(0, 0) } }, Clock, ClockUnset},
		"wrong clock": {func(p *patient) {
			p.time = func(context.Context, string) (time.Duration, error) { return -time.Hour, nil }
		}, Clock, ClockWrong},
		"no time server": {func(p *patient) {
			p.time = func(context.Context, string) (time.Duration, error) { return 0, errSilent }
		}, Clock, ClockUnchecked},
		"time not asked":   {func(p *patient) { p.NTP = nil }, Clock, ClockKept},
		"dead name server": {func(p *patient) { p.ask = says(answer{}, errSilent) }, Names, NamesIdle},
		"second link": {func(p *patient) {
			links, _ := p.links()
			eth1 := links[0]
			eth1.Name, eth1.Index, eth1.Default4, eth1.Gateway4, eth1.MAC = "eth1", 3, false, netip.Addr{}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
			p.links = func() ([]netif.Link, error) { return []netif.Link{eth1, links[0]}, nil }
			p.Link = "eth1"
		}, Gateway, GatewayElsewhere},
		"point to point": {func(p *patient) { p.change(func(l *netif.Link) { l.Gateway4 = netip.Addr{} }) }, Gateway, GatewayNoARP},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy()
			test.spoil(p)
			got := verdicts(t, p)[test.step]
			if got.Verdict != test.want {
				t.Errorf("got %d (%v), want %d", got.Verdict, got.Args, test.want)
			}
		})
	}
}

func offered(err error) func(*patient) {
	return func(p *patient) {
		p.change(func(l *netif.Link) { l.Addrs = nil })
		p.offer = func(context.Context, netif.Link) (netip.Addr, netip.Addr, error) {
			return netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9"), err
		}
	}
}

func arp(mac net.HardwareAddr, err error) func(*patient) {
	return func(p *patient) {
		p.arp = func(context.Context, netif.Link, []string, netip.Addr, netip.Addr) (net.HardwareAddr, error) {
			return mac, err
		}
	}
}

func says(a answer, err error) func(context.Context, netip.Addr, string) (answer, error) {
	return func(context.Context, netip.Addr, string) (answer, error) { return a, err }
}

// TestNames has a broker with a name, and no more steps than that.
func TestNames(t *testing.T) {
	first := netip.MustParseAddr("192.0.2.53")
	known := answer{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.80")}, rcode: "NOERROR"}
	for name, test := range map[string]struct {
		spoil func(*patient)
		want  Verdict
	}{
		"fine":       {func(*patient) {}, NamesFine},
		"no server":  {func(p *patient) { p.Servers = nil }, NamesNoServer},
		"silent":     {func(p *patient) { p.ask = says(answer{}, errSilent) }, NamesSilent},
		"unknown":    {func(p *patient) { p.ask = says(answer{rcode: "NXDOMAIN"}, nil) }, NamesUnknown},
		"no address": {func(p *patient) { p.ask = says(answer{rcode: "NOERROR"}, nil) }, NamesUnknown},
		"refused":    {func(p *patient) { p.ask = says(answer{rcode: "REFUSED"}, nil) }, NamesRefused},
		"in hosts file": {func(p *patient) {
			p.ask = says(answer{rcode: "NXDOMAIN"}, nil)
			p.hosts = func(context.Context, string) ([]netip.Addr, error) { return known.addrs, nil }
		}, NamesByFile},
		"one of two": {func(p *patient) {
			p.ask = func(_ context.Context, server netip.Addr, _ string) (answer, error) {
				if server == first {
					return answer{}, errSilent
				}
				return known, nil
			}
		}, NamesPartly},
		"search domain": {func(p *patient) {
			p.Search = []string{"corp.example"}
			p.Brokers = []string{"amqp://u:p@broker/"}
			p.ask = func(_ context.Context, _ netip.Addr, name string) (answer, error) {
				if name == "broker.corp.example." {
					return known, nil
				}
				return answer{rcode: "NXDOMAIN"}, nil
			}
		}, NamesFine},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy()
			test.spoil(p)
			if got := p.examineNames(t.Context()); got.Verdict != test.want {
				t.Errorf("got %d (%v), want %d", got.Verdict, got.Args, test.want)
			}
		})
	}
}

// TestEndsInTime has every step of a terminal hang for as long as it may.
func TestEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := healthy()
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		p.arp = func(ctx context.Context, _ netif.Link, _ []string, _, _ netip.Addr) (net.HardwareAddr, error) {
			return nil, hang(ctx)
		}
		p.ask = func(ctx context.Context, _ netip.Addr, _ string) (answer, error) { return answer{}, hang(ctx) }
		p.time = func(ctx context.Context, _ string) (time.Duration, error) { return 0, hang(ctx) }
		p.Brokers = nil
		begin := time.Now()
		examine(t.Context(), p, func(Finding) {})
		if took := time.Since(begin); took > Limit {
			t.Errorf("took %v, want at most %v", took, Limit)
		}
	})
}

func TestStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := healthy()
	r := examine(ctx, p, func(f Finding) {
		if f.Step == Carrier {
			cancel()
		}
	})
	for _, f := range byStep(t, r) {
		if skipped := f.State == Skipped && f.After == 0; skipped != (f.Step > Carrier) {
			t.Errorf("step %d: got %+v", f.Step, f)
		}
	}
}

func TestTheBestLinkIsExamined(t *testing.T) {
	link := func(name string, index int, f func(*netif.Link)) netif.Link {
		l := netif.Link{Name: name, Index: index, Kind: netif.Wired, MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)}}
		f(&l)
		return l
	}
	down := link("down", 1, func(*netif.Link) {})
	unplugged := link("unplugged", 2, func(l *netif.Link) { l.Up = true })
	plugged := link("plugged", 3, func(l *netif.Link) { l.Up, l.Carrier = true, true })
	route := link("route", 4, func(l *netif.Link) { l.Up, l.Carrier, l.Default4 = true, true, true })
	for want, links := range map[string][]netif.Link{
		"route": {down, unplugged, plugged, route}, "plugged": {down, unplugged, plugged}, "unplugged": {down, unplugged}, "down": {down},
	} {
		p := healthy()
		p.links = func() ([]netif.Link, error) { return links, nil }
		p.examineLink(t.Context())
		if p.link.Name != want {
			t.Errorf("got %s, want %s", p.link.Name, want)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	p := healthy()
	p.Brokers = nil
	body, err := json.Marshal(examine(t.Context(), p, func(Finding) {}))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Offline bool
		Code    string
		Steps   []struct{ Step, State, Said, Advice string }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if !got.Offline || got.Code != "0811-0000" || len(got.Steps) != 12 || got.Steps[7].State != "fail" || got.Steps[7].Advice == "" || got.Steps[8].State != "skipped" {
		t.Errorf("got %s", body)
	}
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

// A request is sent up to tries times, first after about patience, then after
// twice as long each time: 15 s in all. RFC 2131 section 4.1 starts with 4 s;
// networks are quicker now, and a terminal that boots is waited for.
const (
	patience = time.Second
	tries    = 4
)

var (
	errNoAnswer = errors.New("no server answered")
	errRefused  = errors.New("refused by the server")
)

// exchange is the DHCP client of one link. It holds a socket only while it
// waits for an answer: a packet socket is handed every packet of the link, and
// this machine measures.
type exchange struct {
	link string
	mac  net.HardwareAddr
	host string // our name for the server; may be empty
}

// discover takes the first offer (DISCOVER to ACK). It asks for the address
// want if that is valid.
func (e exchange) discover(ctx context.Context, want netip.Addr) (Lease, error) {
	c, err := e.broadcast()
	if err != nil {
		return Lease{}, err
	}
	defer c.Close()
	about := e.about()
	if want.IsValid() {
		about = append(about, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(want.AsSlice())))
	}
	offer, err := c.DiscoverOffer(ctx, about...)
	if err != nil {
		return Lease{}, silence(err)
	}
	asked := time.Now()
	granted, err := c.RequestFromOffer(ctx, offer, e.about()...)
	if nak := (*nclient4.ErrNak)(nil); errors.As(err, &nak) {
		return Lease{}, fmt.Errorf("%w %v: %s", errRefused, offer.ServerIdentifier(), nak.Nak.Message())
	}
	if err != nil {
		return Lease{}, silence(err)
	}
	return parse(e.link, granted.ACK, asked)
}

// confirm asks whoever is there whether l is still ours (INIT-REBOOT), as after
// the cable was out.
func (e exchange) confirm(ctx context.Context, l Lease) (Lease, error) {
	c, err := e.broadcast()
	if err != nil {
		return Lease{}, err
	}
	defer c.Close()
	return e.request(ctx, c, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.Addr.Addr().AsSlice())))
}

// rebind asks any server to extend l.
func (e exchange) rebind(ctx context.Context, l Lease) (Lease, error) {
	c, err := e.broadcast()
	if err != nil {
		return Lease{}, err
	}
	defer c.Close()
	return e.request(ctx, c, dhcpv4.WithClientIP(l.Addr.Addr().AsSlice()))
}

// renew asks the server of l to extend it.
func (e exchange) renew(ctx context.Context, l Lease) (Lease, error) {
	c, err := e.unicast(ctx, l)
	if err != nil {
		return Lease{}, err
	}
	defer c.Close()
	return e.request(ctx, c, dhcpv4.WithClientIP(l.Addr.Addr().AsSlice()))
}

// request sends a REQUEST without a server identifier and waits for the answer
// of any server (RFC 2131 section 4.3.2, table 4). nclient4's own Renew takes
// an answer from the first server only.
func (e exchange) request(ctx context.Context, c *nclient4.Client, about ...dhcpv4.Modifier) (Lease, error) {
	req, err := dhcpv4.NewWithContext(ctx, append(e.about(),
		dhcpv4.WithHwAddr(e.mac),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithGeneric(dhcpv4.OptionMaximumDHCPMessageSize, []byte{nclient4.MaxMessageSize >> 8, nclient4.MaxMessageSize & 0xff}),
		func(d *dhcpv4.DHCPv4) {
			for _, m := range about {
				m(d)
			}
		})...)
	if err != nil {
		return Lease{}, fmt.Errorf("build request: %w", err)
	}
	asked := time.Now()
	answer, err := c.SendAndRead(ctx, c.RemoteAddr(), req, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return Lease{}, silence(err)
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return Lease{}, fmt.Errorf("%w %v: %s", errRefused, answer.ServerIdentifier(), answer.Message())
	}
	return parse(e.link, answer, asked)
}

// about is what every message says: the options we can use, and our name.
func (e exchange) about() []dhcpv4.Modifier {
	all := []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask,
		dhcpv4.OptionClasslessStaticRoute, // before the routers (RFC 3442)
		dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionHostName,
		dhcpv4.OptionDomainName,
		dhcpv4.OptionInterfaceMTU,
		dhcpv4.OptionNTPServers,
		dhcpv4.OptionDNSDomainSearchList,
		dhcpv4.OptionRenewTimeValue,
		dhcpv4.OptionRebindingTimeValue,
		OptionConfig,
	)}
	if e.host != "" {
		all = append(all, dhcpv4.WithOption(dhcpv4.OptHostName(e.host)))
	}
	return all
}

// broadcast returns a client that needs no address on the link.
func (e exchange) broadcast() (*nclient4.Client, error) {
	c, err := nclient4.New(e.link, e.pace()...)
	if err != nil {
		return nil, fmt.Errorf("open DHCP socket on %s: %w", e.link, err)
	}
	return c, nil
}

// unicast returns a client that speaks from the address of l to its server. It
// is bound to the link, since another one may be in the same subnet.
func (e exchange) unicast(ctx context.Context, l Lease) (*nclient4.Client, error) {
	bind := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.BindToDevice(int(fd), e.link))
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	own := netip.AddrPortFrom(l.Addr.Addr(), nclient4.ClientPort)
	conn, err := bind.ListenPacket(ctx, "udp4", own.String())
	if err != nil {
		return nil, fmt.Errorf("open DHCP socket on %s: %w", own, err)
	}
	server := &net.UDPAddr{IP: l.Server.AsSlice(), Port: nclient4.ServerPort}
	c, err := nclient4.NewWithConn(conn, e.mac, append(e.pace(), nclient4.WithServerAddr(server))...)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open DHCP socket on %s: %w", own, err)
	}
	return c, nil
}

func (e exchange) pace() []nclient4.ClientOpt {
	return []nclient4.ClientOpt{
		nclient4.WithHWAddr(e.mac),
		nclient4.WithTimeout(jitter(patience)),
		nclient4.WithRetry(tries),
	}
}

// silence replaces the library's several words for it.
func silence(err error) error {
	if errors.Is(err, nclient4.ErrNoResponse) {
		return errNoAnswer
	}
	return err
}

// jitter returns d give or take a quarter, so that terminals which lost their
// power together do not ask together.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

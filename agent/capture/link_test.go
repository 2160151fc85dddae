package capture

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// TestNetnsLink hears everything on a link, whoever it is from.
func TestNetnsLink(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "h2")
	ctx, cancel := context.WithCancel(t.Context())
	h1, h2 := hosts[0], hosts[1]
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	var link netif.Link
	h1.Do(func() { link, _ = netif.ByName("h2") })
	h2.Do(func() { // again until it is heard: the capture begins when it does
		conn, err := net.Dial("udp", link.Addr4().Addr().String()+":9")
		if err != nil {
			t.Error(err)
			return
		}
		sending.Go(func() {
			defer conn.Close()
			for ctx.Err() == nil {
				conn.Write([]byte("hello"))
			}
		})
	})
	var file bytes.Buffer
	h1.Do(func() {
		in := 0
		sum, err := Link(ctx, link.Index, &file, DefaultLimit, func(p Packet) {
			if p.Protocol == unix.ETH_P_IP && !p.Out && bytes.HasSuffix(p.Data, []byte("hello")) {
				in++
				cancel()
			}
		})
		if err != nil || in == 0 || sum.Packets < in || sum.Bytes == 0 {
			t.Errorf("heard %d, %+v, %v", in, sum, err)
		}
	})
	if !bytes.Contains(file.Bytes(), []byte("hello")) {
		t.Errorf("the file has %d bytes, and not the packet", file.Len())
	}
}

func TestLinkThatIsNotThere(t *testing.T) {
	nettest.Need(t)
	if _, err := Link(t.Context(), 1<<30, nil, 0, func(Packet) {}); err == nil {
		t.Error("no error for a link that is not there")
	}
}

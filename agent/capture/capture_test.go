package capture

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// kept is one packet of a file.
type kept struct {
	link string
	at   time.Time
	data string // behind the IP and UDP headers
}

// readFile reads a file with somebody else's reader.
func readFile(t *testing.T, file []byte) (packets []kept) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if err == io.EOF {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		link, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := parse(data[cookedLen:]); ok && len(h.payload) > 8 {
			packets = append(packets, kept{link.Name, info.Timestamp, string(h.payload[8:])})
		}
		if info.CaptureLength != len(data) || info.Length < info.CaptureLength {
			t.Errorf("got %d bytes, the file says %+v", len(data), gopacket.CaptureInfo(info))
		}
	}
}

// Two conversations with one peer, of which one is captured.
func TestNetnsCapture(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "h2")
	for i, addr := range []string{hosts[1].Addr4.String(), hosts[1].Addr6.String(), "127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			h1, h2, link := hosts[0], hosts[1], "h2"
			if i > 1 {
				h2, link = h1, "lo"
			}
			echo := echoServer(t, h2, addr)
			var file bytes.Buffer
			var c *Capture
			begin := time.Now()
			h1.Do(func() {
				var err error
				if c, err = Start(&file, DefaultLimit); err != nil {
					t.Fatal(err)
				}
				other, err := net.Dial("udp", echo)
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				mine, err := c.Dialer(new(net.Dialer)).DialContext(t.Context(), "udp", echo)
				if err != nil {
					t.Fatal(err)
				}
				defer mine.Close()
				for i := range 3 {
					ask(t, other, fmt.Sprint("other ", i))
					ask(t, mine, fmt.Sprint("mine ", i))
				}
			})
			sum, err := c.Stop()
			got := readFile(t, file.Bytes())
			if err != nil || sum.Packets != 6 || len(got) != 6 || sum.Left != 0 || sum.Lost != 0 {
				t.Fatalf("got %+v, %v, and %d packets in the file: %v", sum, err, len(got), got)
			}
			for i, k := range got {
				if want := fmt.Sprint("mine ", i/2); k.data != want || k.link != link || k.at.Before(begin.Add(-time.Second)) || k.at.After(time.Now().Add(time.Second)) {
					t.Errorf("packet %d: got %q by %s at %v, want %q by %s now", i, k.data, k.link, k.at, want, link)
				}
			}
		})
	}
}

// echoServer sends back what comes, until the test ends.
func echoServer(t *testing.T, h *nettest.Host, addr string) string {
	t.Helper()
	var conn net.PacketConn
	h.Do(func() {
		var err error
		if conn, err = net.ListenPacket("udp", net.JoinHostPort(addr, "0")); err != nil {
			t.Fatal(err)
		}
	})
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		for b := make([]byte, 2000); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			conn.WriteTo(b[:n], from)
		}
	}()
	return conn.LocalAddr().String()
}

func ask(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
}

func TestNetnsCaptureIsBounded(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "h2")
	echo := echoServer(t, hosts[1], hosts[1].Addr4.String())
	var file bytes.Buffer
	var c *Capture
	const limit = 10_000
	hosts[0].Do(func() {
		var err error
		if c, err = Start(&file, limit); err != nil {
			t.Fatal(err)
		}
		conn, err := c.Dialer(new(net.Dialer)).DialContext(t.Context(), "udp", echo)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 20 {
			ask(t, conn, string(make([]byte, 500)))
		}
	})
	sum, err := c.Stop()
	if got := len(readFile(t, file.Bytes())); err != nil || file.Len() > limit || got != sum.Packets || sum.Packets < 5 || sum.Packets+sum.Left != 40 {
		t.Errorf("got %d packets in %d bytes, %+v, %v, want at most %d bytes and 40 packets in all", got, file.Len(), sum, err, limit)
	}
}

// broken is a disk that is full.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestNetnsCaptureTellsOfAFullDisk(t *testing.T) {
	h := nettest.NewHost(t, "h")
	var c *Capture
	h.Do(func() {
		var err error
		if c, err = Start(broken{}, DefaultLimit); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := c.Stop(); err == nil {
		t.Error("no error")
	}
}

package packet_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

// One datagram to a port of this host on which nothing listens.
func ExampleEngine_Do() {
	e, err := packet.Open(packet.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer e.Close()

	reply, err := e.Do(context.Background(), packet.Request{
		Protocol: packet.UDP,
		Dst:      netip.MustParseAddr("127.0.0.1"),
		Timeout:  time.Second,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println(reply.Kind, "from", reply.From)
	// Output: port unreachable from 127.0.0.1
}

// Packets to a few addresses at once.
func ExampleStream() {
	e, err := packet.Open(packet.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer e.Close()

	var requests []packet.Request
	for i := range 5 {
		requests = append(requests, packet.Request{
			Tag:      uint64(i),
			Protocol: packet.UDP,
			Dst:      netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}),
			Timeout:  time.Second,
		})
	}
	s := e.NewStream(len(requests))
	s.Submit(requests)
	results := make([]packet.Result, len(requests))
	answered := 0
	for {
		n, err := s.Wait(context.Background(), results)
		if n == 0 || err != nil { // nothing left to wait for
			break
		}
		for _, r := range results[:n] {
			if r.Err != nil {
				fmt.Println(requests[r.Tag].Dst, r.Err)
			} else if r.Reply.Kind == packet.PortUnreachable {
				answered++
			}
		}
	}
	fmt.Println(answered, "answers")
	// Output: 5 answers
}

// A traceroute in a dozen lines: all hops at once, along one path.
func ExampleRequest_flow() {
	e, err := packet.Open(packet.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer e.Close()

	const hops = 4
	s := e.NewStream(hops)
	for ttl := 1; ttl <= hops; ttl++ {
		s.Submit([]packet.Request{{
			Tag: uint64(ttl), Protocol: packet.UDP, Dst: netip.MustParseAddr("127.0.0.1"),
			TTL: ttl, Flow: 1, Timeout: time.Second,
		}})
	}
	reached := hops + 1
	for {
		var results [hops]packet.Result
		n, err := s.Wait(context.Background(), results[:])
		if n == 0 || err != nil {
			break
		}
		for _, r := range results[:n] {
			if r.Reply.Kind == packet.PortUnreachable {
				reached = min(reached, int(r.Tag))
			}
		}
	}
	fmt.Println("reached in", reached, "hop")
	// Output: reached in 1 hop
}

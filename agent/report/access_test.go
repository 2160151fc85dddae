package report

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

// echoer answers the echo request of that number, counted from 1, after RTT
// and loses all others.
type echoer struct {
	answers int32
	rtt     time.Duration
	sent    atomic.Int32
}

func (e *echoer) Do(ctx context.Context, r packet.Request) (packet.Reply, error) {
	reply, pause := packet.Reply{Kind: packet.NoReply}, r.Timeout
	if n := e.sent.Add(1); n == e.answers {
		reply, pause = packet.Reply{Kind: packet.EchoReply}, e.rtt
	}
	if err := wait(ctx, pause); err != nil {
		return packet.Reply{}, err
	}
	return reply, nil
}

func TestOneOfThreeEchoesIsEnough(t *testing.T) {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	const rtt = 20 * time.Millisecond
	for _, tt := range []struct {
		answers int32
		want    bool
		sent    int32
		took    time.Duration
	}{
		{1, true, 1, rtt},
		{2, true, 2, echoSpacing + rtt},
		{3, true, 3, 2*echoSpacing + rtt},
		{0, false, 3, 2*echoSpacing + echoTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &echoer{answers: tt.answers, rtt: rtt}
			start := time.Now()
			got := New(Config{Pinger: e}).answers(t.Context(), "eth0", src, dst)
			if took := time.Since(start); got != tt.want || took != tt.took || e.sent.Load() != tt.sent {
				t.Errorf("echo %d answered: got %v after %v and %d requests, want %v after %v and %d",
					tt.answers, got, took, e.sent.Load(), tt.want, tt.took, tt.sent)
			}
		})
	}
}

// refuser fails to send, or is told that there is no way.
type refuser struct {
	reply packet.Reply
	err   error
}

func (r refuser) Do(context.Context, packet.Request) (packet.Reply, error) { return r.reply, r.err }

func TestErrorsAreNoAnswers(t *testing.T) {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, p := range []refuser{
		{reply: packet.Reply{Kind: packet.HostUnreachable, From: dst}},
		{reply: packet.Reply{Kind: packet.TTLExpired}},
		{err: errors.New("operation not permitted")},
	} {
		synctest.Test(t, func(t *testing.T) {
			if New(Config{Pinger: p}).answers(t.Context(), "eth0", src, dst) {
				t.Errorf("%+v counted as an answer", p)
			}
		})
	}
}

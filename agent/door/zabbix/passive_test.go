package zabbix

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
)

// TestPassiveProxy has a real server call the proxy.
func TestPassiveProxy(t *testing.T) {
	needServer(t)
	port := freePort(t)
	l := newLab(6, port, 10050)
	ping := l.item(typeAgent, "agent.ping", "1s", valueUnsigned)
	c := config.Default().Zabbix
	c.Mode, c.Hostname, c.Listen = "passive", "natrix", fmt.Sprint("127.0.0.1:", port)
	c.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	running(t, c, t.TempDir())
	s := startServer(t, l.b.String())
	s.has(fmt.Sprintf("SELECT count(*) > 2 FROM history_uint WHERE itemid = %d AND value = 1", ping), "t")
	s.has(fmt.Sprintf("SELECT count(*) - count(DISTINCT clock) FROM history_uint WHERE itemid = %d", ping), "0")
	s.has("SELECT available FROM interface WHERE interfaceid = 101", "1")
}

// TestStrangersGetNothing calls a passive proxy from an address that it was not
// told of.
func TestStrangersGetNothing(t *testing.T) {
	c := config.Default().Zabbix
	c.Mode, c.Hostname, c.Listen = "passive", "natrix", fmt.Sprint("127.0.0.1:", freePort(t))
	c.Allowed = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	running(t, c, "")
	var conn net.Conn
	for deadline := time.Now().Add(30 * time.Second); conn == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		conn, _ = net.Dial("tcp", c.Listen) // it is not listening yet
	}
	if conn == nil {
		t.Fatal("nobody listens")
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	writeFrame(conn, []byte(`{"request":"proxy data"}`), true) // the connection may be closed already
	if body, _, err := readFrame(conn, replyLimit); err == nil {
		t.Errorf("got %s, want nothing", body)
	}
}

// TestHostileReplies has a server answer with everything that it should not,
// and then properly: what was measured meanwhile arrives, and memory stays.
func TestHostileReplies(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	configuration := captured(t, "v60-active-config-noHosts.s2c.bin")
	bomb := deflated(make([]byte, 256<<20), 0, 256<<20)
	hostile := [][]byte{
		nil,
		[]byte("HTTP/1.1 200 OK\r\n\r\n"),
		deflated([]byte(strings.Repeat(`{"a":`, 100_000)), 0, 500_000),
		bomb,
		deflated(make([]byte, 32<<20), 0, 100),
		[]byte("ZBXD\x01\xff\xff\xff\x7f\x00\x00\x00\x00{"),
		deflated([]byte(`{"response":5,"tasks":{}}`), 0, 25),
		deflated([]byte(`[]`), 0, 2),
		deflated([]byte(`{"response":"failed"}`), 0, 21),
	}
	var turn atomic.Int64
	received := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			body, _, _ := readFrame(conn, configLimit) // whatever it is, it is answered
			switch {
			case !strings.Contains(string(body), `"proxy data"`):
				conn.Write(configuration)
			case int(turn.Load()) < len(hostile):
				conn.Write(hostile[turn.Add(1)-1])
			default:
				received <- string(body)
				writeFrame(conn, []byte(`{"response":"success","upload":"enabled"}`), true)
			}
			conn.Close()
		}
	}()
	p := quiet(t, "")
	p.Config.Servers = []string{l.Addr().String()}
	c := &caller{proxy: p}
	it := &item{id: 77, value: valueUnsigned, host: &host{}, row: row{}}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range hostile {
		p.take(it, fmt.Sprint(i), nil, time.Unix(int64(1000+i), 0))
		if _, _, err := c.upload(t.Context(), true); err == nil {
			t.Errorf("reply %d was taken for a good one", i)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("memory grew by %d MiB, want less than 64", grown>>20)
	}
	if _, _, err := c.upload(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	got := <-received
	for i := range hostile {
		if want := fmt.Sprintf(`"itemid":77,"clock":%d,"ns":0,"value":"%d"`, 1000+i, i); strings.Count(got, want) != 1 {
			t.Errorf("want %s once in %s", want, got)
		}
	}
	if !p.values.Empty() {
		t.Error("values wait that the server has")
	}
}

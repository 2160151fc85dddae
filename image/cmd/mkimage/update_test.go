package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/update"
	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
)

// A filler in the kernel's command line of a slot, and what makes a bad slot of
// it: a kernel without an init panics; an agent that is sent to another broker
// has no session.
const (
	filler   = "filler=..............................."
	noInit   = "rdinit=/gone                          "
	noBroker = "natrix.broker=amqp://10.0.2.2:1/      "
)

// TestUpdate takes a PC under GRUB from one version to the next, then to one
// that panics and to one that boots and does not work: each time it is well
// again by itself. The server orders the first two by AMQP, a person the last at
// the console; each is downloaded over a line that breaks.
func TestUpdate(t *testing.T) {
	slow(t)
	broker := amqptest.ForTest(t)
	pem, err := update.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := update.ParseKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	board, err := find("amd64")
	if err != nil {
		t.Fatal(err)
	}
	board.Cmdline += " no_timer_check " + filler // a kernel panics if its emulator gets no time while it checks the timer
	o := described(t)
	o.Keys = []byte(update.FormatPublic(key.Public().(ed25519.PublicKey)))
	o.Config = fmt.Appendf(nil, "[RABBITMQ]\r\nurl = %s\r\n[APPLIANCE]\r\nntp = %s\r\n[UPDATE]\r\nremote = on\r\ntrial = 30s\r\n", broker.URL(qemu.Host), qemu.Host)
	dir := t.TempDir()
	if _, err := image.Build(t.Context(), board, o, dir); err != nil {
		t.Fatal(err)
	}
	slot := read(t, filepath.Join(dir, board.SlotFile()))
	files := make(map[string][]byte)
	for name, words := range map[string]string{"/0.90.1": filler, "/0.90.2": noInit, "/0.90.3": noBroker} {
		h := update.Header{Board: "amd64", Version: name[1:], Built: o.Date}
		if files[name], err = update.Pack(h, bytes.ReplaceAll(slot, []byte(filler), []byte(words)), key); err != nil {
			t.Fatal(err)
		}
	}
	server := updateServer(t, files)

	disk := filepath.Join(dir, board.DiskFile())
	if err := os.Truncate(disk, 256<<20); err != nil { // room for data
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*deadline)
	defer cancel()
	mac := "52:54:00:6e:61:40"
	m, err := qemu.Start(ctx, qemu.Config{Board: "amd64", Disk: disk, Resets: true, Console: t.Output(), Links: []qemu.Link{{MAC: mac}}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := pc{t, ctx, m}
	p.sees(`phase=medium .*slot=a`)
	p.sees(`msg="data partition" done=made`)
	p.sees(`phase=broker`)

	terminal := strings.ReplaceAll(mac, ":", "")
	order(t, ctx, broker, terminal, server+"/0.90.1")
	p.sees(`update installed.* version=0.90.1 slot=b`)
	p.sees(`phase=medium .*slot=b`)
	p.sees(`last="0.90.1 on trial in slot b`)
	p.sees(`last="0.90.1 kept in slot b`)

	order(t, ctx, broker, terminal, server+"/0.90.2")
	p.sees(`update installed.* version=0.90.2 slot=a`)
	p.sees(`Kernel panic`)
	p.sees(`phase=medium .*slot=b`)
	p.sees(`last="0.90.2 rolled back in slot a.*did not get as far`)
	p.sees(`phase=broker`)

	p.types("update " + server + "/0.90.3")
	p.sees(`update installed.* version=0.90.3 slot=a`)
	p.sees(`phase=medium .*slot=a`)
	at := p.sees(`not kept.* broker: no session`)
	t.Log("the bad version was given up:", at[0])
	p.sees(`phase=medium .*slot=b`)
	p.sees(`last="0.90.3 rolled back in slot a.* broker: no session`)
	p.sees(`phase=broker`)
	p.types("status")
	p.sees(`^update +0\.90\.3 rolled back .* broker: no session`)
}

// pc is a machine whose console is watched.
type pc struct {
	t   *testing.T
	ctx context.Context
	m   *qemu.Machine
}

func (p pc) sees(pattern string) []string {
	p.t.Helper()
	match, err := p.m.WaitLine(p.ctx, regexp.MustCompile(pattern))
	if err != nil {
		p.t.Fatal(err)
	}
	return match
}

// types has a person type a line.
func (p pc) types(line string) {
	p.t.Helper()
	if err := p.m.WriteLine(line); err != nil {
		p.t.Fatal(err)
	}
}

// order has the server order an update.
func order(t *testing.T, ctx context.Context, broker *amqptest.Broker, terminal, url string) {
	t.Helper()
	d, err := amqp.NewDispatcher(ctx, broker.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	body, err := json.Marshal(amqp.NewRequest(terminal, "update", url, nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx) // of the watch for this one answer
	defer cancel()
	answer, err := d.Ask(ctx, terminal, body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(answer, []byte(`"started":true`)) {
		t.Fatalf("the answer is %s, want an update that has started", answer)
	}
}

// updateServer serves files to guests. It breaks the first connection for each
// of them in the middle.
func updateServer(t *testing.T, files map[string][]byte) (base string) {
	var mu sync.Mutex
	broken := make(map[string]bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		mu.Lock()
		first := !broken[r.URL.Path]
		broken[r.URL.Path] = true
		mu.Unlock()
		w.Header().Set("ETag", strconv.Quote(r.URL.Path))
		if first {
			w.Header().Set("Content-Length", strconv.Itoa(len(file)))
			w.Write(file[:len(file)/2])
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("Range") == "" {
			t.Errorf("%s is asked for from its start again", r.URL.Path)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + qemu.Host + ":" + u.Port()
}

package appliance

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

func TestWaitForMediumFindsIt(t *testing.T) {
	root := t.TempDir()
	start := filepath.Join(root, "block/sda/sda1/start")
	if err := os.MkdirAll(filepath.Dir(start), 0o755); err != nil {
		t.Fatal(err)
	}
	mbr := make([]byte, 512)
	binary.LittleEndian.PutUint32(mbr[440:], medium.DiskID)
	for name, content := range map[string][]byte{start: []byte("8192\n"), filepath.Join(root, "sda"): mbr} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if disk, err := waitForMedium(medium.System{Sys: root, Dev: root}, time.Minute); err != nil || disk != "sda" {
		t.Errorf("waitForMedium = %q, %v, want sda", disk, err)
	}
}

func TestWaitForMediumGivesUp(t *testing.T) {
	disk, err := waitForMedium(medium.System{Sys: t.TempDir()}, time.Millisecond)
	if !errors.Is(err, medium.ErrNone) {
		t.Errorf("waitForMedium = %q, %v, want ErrNone", disk, err)
	}
}

func TestParseUevent(t *testing.T) {
	const text = "add@/devices/platform/soc/3f980000.usb\x00ACTION=add\x00DEVPATH=/devices/x\x00MODALIAS=of:NusbT(null)Cbrcm,bcm2835-usb\x00SEQNUM=1\x00"
	want := uevent{action: "add", modalias: "of:NusbT(null)Cbrcm,bcm2835-usb"}
	if got := parseUevent([]byte(text)); got != want {
		t.Errorf("parseUevent = %+v, want %+v", got, want)
	}
	if got := parseUevent(nil); got != (uevent{}) {
		t.Errorf("parseUevent of nothing = %+v", got)
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/x\x00ACTION=add\x00MODALIAS=usb:v1\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e := parseUevent(b); len(e.action)+len(e.modalias) > len(b) {
			t.Errorf("parseUevent(%q) = %+v, longer than what there was", b, e)
		}
	})
}

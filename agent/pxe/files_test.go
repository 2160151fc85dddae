package pxe

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pin/tftp/v3"
)

const commandLine = "console=ttyS0 quiet"

// program is a PE file with a section .text and a section .cmdline, as the
// builder of images makes them.
func program(room int) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x40)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x40)
	b = append(b, "PE\x00\x00"...)
	b = le.AppendUint16(b, 0x8664)
	b = le.AppendUint16(b, 2)         // sections
	b = append(b, make([]byte, 8)...) // time, symbols
	b = le.AppendUint32(b, 0)
	b = le.AppendUint16(b, 0) // no optional header
	b = le.AppendUint16(b, 0)
	section := func(name string, size, raw, at int) {
		b = append(b, append([]byte(name), make([]byte, 8-len(name))...)...)
		for _, n := range []int{size, 0x1000, raw, at} {
			b = le.AppendUint32(b, uint32(n))
		}
		b = append(b, make([]byte, 16)...)
	}
	section(".text", 4, 16, 512)
	section(".cmdline"[:8], len(commandLine), room, 528)
	b = append(b, make([]byte, 528-len(b))...)
	b = append(b, commandLine...)
	return append(b, make([]byte, room-len(commandLine))...)
}

// directory is an image's for the network, with a kernel of a few bytes.
func directory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		biosFile:        "bios",
		efiFile:         string(program(512)),
		scriptFile:      "#!ipxe\n# words\nkernel vmlinuz initrd=initramfs.zst " + commandLine + "\ninitrd initramfs.zst\nboot\n",
		menuFile:        "DEFAULT natrix\nLABEL natrix\n\tKERNEL vmlinuz\n\tAPPEND " + commandLine + "\n",
		"vmlinuz":       strings.Repeat("kernel", 1000),
		"initramfs.zst": "initramfs",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWordsReachEveryCommandLine(t *testing.T) {
	f, err := openFiles(directory(t), "natrix.config=http://192.0.2.1/natrix.ini", []byte("[COMMON]\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const want = commandLine + " natrix.config=http://192.0.2.1/natrix.ini"
	if got := string(f.changed[scriptFile]); !strings.Contains(got, "\nkernel vmlinuz initrd=initramfs.zst "+want+"\ninitrd") {
		t.Errorf("boot.ipxe is\n%s", got)
	}
	if got := string(f.changed[menuFile]); !strings.HasSuffix(got, "\tAPPEND "+want+"\n") {
		t.Errorf("the menu is\n%s", got)
	}
	p, err := pe.NewFile(bytes.NewReader(f.changed[efiFile]))
	if err != nil {
		t.Fatal(err)
	}
	if got := cmdline(t, p); got != want {
		t.Errorf("natrix.efi has the command line %q, want %q", got, want)
	}
	if len(f.changed[efiFile]) != len(program(512)) {
		t.Error("natrix.efi has another length")
	}
}

// cmdline is the section .cmdline as the stub reads it.
func cmdline(t *testing.T, p *pe.File) string {
	t.Helper()
	s := p.Section(".cmdline")
	b, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:s.VirtualSize])
}

func TestDirectoriesThatAreNone(t *testing.T) {
	if _, err := openFiles(t.TempDir(), "", nil); err == nil || !strings.Contains(err.Error(), "make image") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := openFiles("/nowhere", "", nil); err == nil {
		t.Error("a directory that is not there is served")
	}
	if _, err := openFiles(directory(t), strings.Repeat("word ", 200), nil); err == nil || !strings.Contains(err.Error(), "there is room for") {
		t.Errorf("words that are too long: %v", err)
	}
}

func FuzzAddToProgram(f *testing.F) {
	f.Add(program(512), "natrix.log=debug")
	f.Fuzz(func(t *testing.T, program []byte, words string) {
		out, err := addToProgram(program, words)
		if err == nil && len(out) != len(program) {
			t.Errorf("%d bytes became %d", len(program), len(out))
		}
	})
}

// asked is each file as both services gave it, or an error.
func asked(t *testing.T, s *server) (byTFTP, byHTTP func(name string) (string, error)) {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []listener{s.tftp(udp), s.http(tcp)} {
		ended := make(chan error, 1)
		go func() { ended <- l.serve() }()
		t.Cleanup(func() { l.close(); <-ended })
	}
	byTFTP = func(name string) (string, error) {
		c, err := tftp.NewClient(udp.LocalAddr().String())
		if err != nil {
			return "", err
		}
		from, err := c.Receive(name, "octet")
		if err != nil {
			return "", err
		}
		var b bytes.Buffer
		_, err = from.WriteTo(&b)
		return b.String(), err
	}
	byHTTP = func(name string) (string, error) {
		r, err := http.Get("http://" + tcp.Addr().String() + "/" + name)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return "", os.ErrNotExist
		}
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
	return byTFTP, byHTTP
}

func TestFilesByTFTPAndHTTP(t *testing.T) {
	dir := directory(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	f, err := openFiles(dir, "natrix.log=debug", []byte("[COMMON]\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	byTFTP, byHTTP := asked(t, &server{files: f, log: slog.New(slog.DiscardHandler)})
	for name, get := range map[string]func(string) (string, error){"TFTP": byTFTP, "HTTP": byHTTP} {
		for file, want := range map[string]string{
			"vmlinuz": strings.Repeat("kernel", 1000), biosFile: "bios", iniFile: "[COMMON]\n", menuFile: string(f.changed[menuFile]),
			efiFile: string(f.changed[efiFile]),
		} {
			if got, err := get(file); err != nil || got != want {
				t.Errorf("%s by %s: %d bytes, %v, want %d", file, name, len(got), err, len(want))
			}
		}
		for _, file := range []string{"none", "link", "../secret", "..%2fsecret", "pxelinux.cfg", ""} {
			if got, err := get(file); err == nil {
				t.Errorf("%q by %s: %q, want an error", file, name, got)
			}
		}
	}
	if got, err := byTFTP("\\vmlinuz"); err != nil || len(got) != 6000 { // as some firmware asks
		t.Errorf("with a backslash: %d bytes, %v", len(got), err)
	}
}

func TestNothingIsTaken(t *testing.T) {
	f, err := openFiles(directory(t), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &server{files: f, log: slog.New(slog.DiscardHandler)}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := s.http(tcp)
	ended := make(chan error, 1)
	go func() { ended <- l.serve() }()
	defer func() { l.close(); <-ended }()
	r, err := http.Post("http://"+tcp.Addr().String()+"/vmlinuz", "text/plain", strings.NewReader("mine"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s, want 405", r.Status)
	}
}

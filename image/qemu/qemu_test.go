package qemu

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitLineTakesLinesInOrder(t *testing.T) {
	c := newConsole(nil)
	c.add("one 1\r\ntw")
	c.add("o 2\r\n\x1b[1mthree\x1b[0m 3\r\none 4\r\n")
	for _, want := range []struct{ line, match string }{
		{`^one (\d)$`, "1"},
		{`^three (\d)$`, "3"},
		{`^one (\d)$`, "4"},
	} {
		got, err := c.WaitLine(t.Context(), regexp.MustCompile(want.line))
		if err != nil || got[1] != want.match {
			t.Errorf("WaitLine(%s) = %q, %v, want the match %s", want.line, got, err, want.match)
		}
	}
}

func TestWaitLineIgnoresHalfALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(nil)
		c.add("at=2.1")
		go func() {
			time.Sleep(time.Second)
			c.add("04\n")
		}()
		got, err := c.WaitLine(t.Context(), regexp.MustCompile(`at=([\d.]+)`))
		if err != nil || got[1] != "2.104" {
			t.Errorf("WaitLine = %q, %v, want 2.104", got, err)
		}
	})
}

func TestWaitPrompt(t *testing.T) {
	for _, output := range []string{
		"welcome\r\nnatrix> ",
		"natrix> he\r\x1b[0Knatrix> \x1b[9G",
		"some log\rnatrix> ",
		"natrix> he\x1b[10D\x1b[Kmsg=log\r\nnatrix> ",
	} {
		c := newConsole(nil)
		c.add(output)
		if err := c.WaitPrompt(t.Context(), "natrix> "); err != nil {
			t.Errorf("WaitPrompt behind %q: %v", output, err)
		}
	}
}

func TestWaitPromptIsNotTheOneTypedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(nil)
		c.add("natrix> ")
		if err := c.WaitPrompt(t.Context(), "natrix> "); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.WaitPrompt(ctx, "natrix> "); err == nil {
			t.Error("WaitPrompt took the same prompt twice")
		}
		c.add("version\r\n1.2\r\nnatrix> ")
		if err := c.WaitPrompt(t.Context(), "natrix> "); err != nil {
			t.Error(err)
		}
	})
}

func TestPlain(t *testing.T) {
	for line, want := range map[string]string{
		"text\r":                             "text",
		"\x1b[1;31mred\x1b[0m text":          "red text",
		"old text\rnew":                      "new",
		"natrix> \x1b[8D\x1b[Ktime=1 msg=up": "time=1 msg=up",
		"ab\x1b[9Dc":                         "c",
		"\x1b[":                              "\x1b[",
	} {
		if got := plain(line); got != want {
			t.Errorf("plain(%q) = %q, want %q", line, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("natrix> he\x1b[10D\x1b[Kmsg=log\r")
	f.Add("\x1b[99999999999999999999D\x1b[-1D")
	f.Fuzz(func(t *testing.T, line string) {
		if got := plain(line); len(got) > len(line) || strings.Contains(got, "\r") {
			t.Errorf("plain(%q) = %q", line, got)
		}
	})
}

func TestWaitShowsTheLastLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(nil)
		c.add(strings.Repeat("line\n", 100) + "panic: no init\nhalf")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.WaitLine(ctx, regexp.MustCompile("ready"))
		want := `no line like "ready": context deadline exceeded; the console ends with:` + "\n" +
			strings.Repeat("line\n", shown-1) + "panic: no init\nhalf"
		if err == nil || err.Error() != want {
			t.Errorf("error is %q, want %q", err, want)
		}
	})
}

func TestWaitEndsWithTheOutput(t *testing.T) {
	c := newConsole(nil)
	c.read(strings.NewReader("good\nbye"))
	c.end(io.EOF)
	for _, line := range []string{"^good$", "^bye$"} {
		if _, err := c.WaitLine(t.Context(), regexp.MustCompile(line)); err != nil {
			t.Errorf("a line before the end: %v", err)
		}
	}
	if _, err := c.WaitLine(t.Context(), regexp.MustCompile(".")); err == nil {
		t.Error("WaitLine found a line after the end")
	}
}

func TestConsoleIsCopied(t *testing.T) {
	var copy strings.Builder
	newConsole(&copy).read(strings.NewReader("raw\r\n\x1b[0Ktext"))
	if got, want := copy.String(), "raw\r\n\x1b[0Ktext"; got != want {
		t.Errorf("copy is %q, want %q", got, want)
	}
}

func TestCommand(t *testing.T) {
	m, got, err := Config{Board: "amd64", Dir: "d", Cmdline: "natrix.broker=amqp://10.0.2.2", Links: []Link{
		{MAC: "52:54:00:00:00:01", Forward: []Forward{{8080, 80}, {2222, 22}}},
		{},
	}, Args: []string{"-device", "i6300esb"}}.command()
	if err != nil || m.program != "qemu-system-x86_64" {
		t.Fatalf("program is %q, %v", m.program, err)
	}
	want := strings.Fields(`-accel tcg -nodefaults -M q35 -cpu max,-cx16 -serial stdio -m 256
		-display none -monitor none -no-reboot -kernel d/vmlinuz -initrd d/initramfs.zst -append CMDLINE
		-netdev user,id=n0,net=10.0.2.0/24,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22
		-device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01
		-netdev user,id=n1,net=10.0.3.0/24 -device virtio-net-pci,netdev=n1 -device i6300esb`)
	want[slices.Index(want, "CMDLINE")] = "console=ttyS0 panic=1 loglevel=1 natrix.broker=amqp://10.0.2.2"
	if !slices.Equal(got, want) {
		t.Errorf("arguments\n%q, want\n%q", got, want)
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Config{Board: "amd64"})
	if err == nil || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") {
		t.Errorf("without QEMU: %v, want the apt-get line", err)
	}
	if _, err := Start(t.Context(), Config{Board: "pdp11"}); err == nil {
		t.Error("started an unknown board")
	}
}

// fake puts a bash script in QEMU's place.
func fake(t *testing.T, script string) {
	dir := t.TempDir()
	name := filepath.Join(dir, "qemu-system-x86_64")
	if err := os.WriteFile(name, []byte("#!/bin/bash\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestMachineEchoesAndEnds(t *testing.T) {
	fake(t, `printf 'name? '; IFS= read -r -d $'\r' name; echo "hello $name"`)
	m, err := Start(t.Context(), Config{Board: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.WaitPrompt(t.Context(), "name? "); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteLine("world"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.WaitLine(t.Context(), regexp.MustCompile(`hello world$`)); err != nil {
		t.Error(err)
	}
	if err := m.Wait(t.Context()); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestMachineThatCannotStart(t *testing.T) {
	fake(t, "echo no such device >&2; exit 1")
	m, err := Start(t.Context(), Config{Board: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.WaitLine(t.Context(), regexp.MustCompile("."))
	if err == nil || !strings.Contains(err.Error(), "exit status 1: no such device") {
		t.Errorf("error is %v, want the emulator's own words", err)
	}
}

func TestCloseEndsTheMachine(t *testing.T) {
	fake(t, "echo up; exec sleep 600")
	m, err := Start(t.Context(), Config{Board: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.WaitLine(t.Context(), regexp.MustCompile("up")); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m.Close()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
}

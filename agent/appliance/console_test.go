package appliance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/creack/pty"
)

// TestScreenHasOneWriter follows the journal from PID 1 to the shell, which
// borrows the screen, and back: each line is shown once, in order.
func TestScreenHasOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tty")
	tty, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		s := newScreen(j, "")
		s.tty = tty
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.show(ctx)
		add := func(line string) {
			j.add(line)
			synctest.Wait()
		}
		add("one")
		var shell bytes.Buffer
		lent, giveBack := context.WithCancel(ctx)
		go s.lend(lent, &shell)
		synctest.Wait()
		add("two")
		add("three")
		giveBack()
		synctest.Wait()
		add("four")
		if got, want := shell.String(), "two\nthree\n"; got != want {
			t.Errorf("the shell was given %q, want %q", got, want)
		}
	})
	if got, err := os.ReadFile(path); err != nil || string(got) != "one\r\nfour\r\n" {
		t.Errorf("PID 1 wrote %q, %v, want the rest", got, err)
	}
}

func TestScreenSurvivesAHangUp(t *testing.T) {
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	s := newScreen(newJournal(), "pts")
	s.path = theirs.Name()
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	s.tty.Close() // what is hung up fails like what is closed
	s.journal.add("still here")
	s.print(s, "\n")
	defer s.tty.Close()
	line, err := bufio.NewReader(ours).ReadString('\n')
	if want := "still here\r\n"; err != nil || line != want {
		t.Errorf("got %q, %v, want %q", line, err, want)
	}
}

// A console that could not keep up is shown the end of what it missed.
func TestScreenIsNotFlooded(t *testing.T) {
	s := newScreen(newJournal(), "")
	for i := range 3 * screenful {
		fmt.Fprintln(s.journal, i)
	}
	var b bytes.Buffer
	s.print(&b, "\n")
	want := fmt.Sprintf("(%d lines not shown)\n%d\n", 2*screenful, 2*screenful)
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, fmt.Sprintf("\n%d\n", 3*screenful-1)) {
		t.Errorf("got %q, want %q at its beginning", got, want)
	}
}

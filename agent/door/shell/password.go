package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	firstDelay = time.Second // after a wrong password, doubled each time
	mostDelay  = time.Minute
)

// logIn returns once the person knows the password, if there is one. It is
// false if the terminal hangs up or ctx ends before that. There is no end to
// the attempts, only growing pauses, so that nobody can lock others out.
func (s *session) logIn(ctx context.Context, hash string) bool {
	if hash == "" {
		return true
	}
	for delay := firstDelay; ; delay = min(2*delay, mostDelay) {
		typed, err := s.screen.ReadPassword("password: ")
		if err != nil {
			return false
		}
		if bcrypt.CompareHashAndPassword([]byte(hash), []byte(typed)) == nil {
			return true
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return false
		}
		s.keys.forget()
		fmt.Fprintln(s.screen, "wrong password")
	}
}

// choosePassword asks for a new password, twice. Ctrl-C enters an empty one.
func (s *session) choosePassword(ctx context.Context, out io.Writer) error {
	s.keys.interrupts(nil)
	var typed [2]string
	for i, prompt := range []string{"new password: ", "again: "} {
		var err error
		if typed[i], err = s.screen.ReadPassword(prompt); err != nil {
			return err
		}
	}
	if typed[0] != typed[1] {
		return errors.New("these were two different passwords")
	}
	if typed[0] == "" {
		return errors.New("no password, so nothing is changed: config set appliance.password '' takes one away")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(typed[0]), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	return s.change(ctx, out, "appliance.password", string(hash))
}

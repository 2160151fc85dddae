package agent

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/probe"
)

func TestGranted(t *testing.T) {
	p := probe.New()
	defer p.Close()
	all := command.NewSet(p.Commands()...)
	var log bytes.Buffer
	a := Agent{Log: slog.New(slog.NewTextHandler(&log, nil))}
	names := func(s command.Set) (names []string) {
		for d := range s.All() {
			names = append(names, d.Name)
		}
		return names
	}
	if got, want := names(a.granted(all)), names(all); !slices.Equal(got, want) {
		t.Errorf("without a setting: got %q, want %q", got, want)
	}
	a.Config = config.Config{AMQP: config.AMQP{Commands: []string{"dns", "ping", "shell"}}}
	part := a.granted(all)
	if got, want := names(part), []string{"ping", "dns"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(log.String(), "cmd=shell") {
		t.Errorf("nothing is said of a command that there is not: %q", log.String())
	}
	r := part.Execute(t.Context(), command.Command{Name: "http", Destination: "http://127.0.0.1:1/"})
	if r.Err == nil || !strings.Contains(r.Err.Error(), "http") {
		t.Errorf("a command that is not granted: got %v", r.Err)
	}
}

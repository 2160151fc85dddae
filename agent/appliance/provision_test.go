package appliance

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigOf(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/natrix.ini":
			io.WriteString(w, "[APPLIANCE]\nhostname = one\n")
		case "/big":
			io.WriteString(w, strings.Repeat("#", maxConfig+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for _, test := range []struct{ offer, want, err string }{
		{"amqp://a:b@192.0.2.1/%2Fn", "[RABBITMQ]\nurl = amqp://a:b@192.0.2.1/%2Fn\n", ""},
		{server.URL + "/natrix.ini", "[APPLIANCE]\nhostname = one\n", ""},
		{server.URL + "/none", "", "404"},
		{server.URL + "/big", "", "more than 65536 bytes"},
		{"amqp://a\n[COMMON]\n", "", "more than one line"},
		{"tftp://192.0.2.1/natrix.ini", "", "want a URL with amqp"},
		{"", "", "want a URL"},
	} {
		got, err := configOf(t.Context(), test.offer)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("configOf(%q) = %q, %v, want %q, error with %q", test.offer, got, err, test.want, test.err)
		}
	}
}

func TestProvisionTellsOfChangesOnly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	offers, changes, ended := make(chan string), make(chan struct{}), make(chan struct{})
	file := filepath.Join(t.TempDir(), "network.ini")
	go func() {
		defer close(ended)
		provision(ctx, offers, file, func() error { changes <- struct{}{}; return nil }, slog.New(slog.DiscardHandler))
	}()
	offers <- "amqp://one/"
	<-changes
	offers <- "amqp://one/" // of a renewed lease: nothing has changed
	offers <- "nonsense"
	offers <- "amqp://two/"
	<-changes
	cancel()
	<-ended
	if got, err := os.ReadFile(file); err != nil || string(got) != "[RABBITMQ]\nurl = amqp://two/\n" {
		t.Errorf("file is %q, %v, want the last broker", got, err)
	}
}

package config

import (
	"slices"
	"strings"
	"testing"
)

func TestBrokersWithTLS(t *testing.T) {
	const files = "ca = /ca.pem\ncert = /c.pem\nkey = /k.pem\nserver_name = broker.example\n"
	const query = "?cacertfile=%2Fca.pem&certfile=%2Fc.pem&keyfile=%2Fk.pem&server_name_indication=broker.example"
	for name, test := range map[string]struct {
		settings string
		want     []string
		err      string
	}{
		"host":             {"host = h\nusername = u\npassword = p\n" + files, []string{"amqps://u:p@h:5671/%2F" + query}, ""},
		"host and port":    {"host = h\nport = 5673\nca = /ca.pem\n", []string{"amqps://h:5673/%2F?cacertfile=%2Fca.pem"}, ""},
		"host without":     {"host = h\n", []string{"amqp://h:5672/%2F"}, ""},
		"URLs":             {"url = amqps://a/v, amqps://b/v\n" + files, []string{"amqps://a/v" + query, "amqps://b/v" + query}, ""},
		"a URL's own wins": {"url = amqps://a/v?cacertfile=/own.pem\nca = /ca.pem\n", []string{"amqps://a/v?cacertfile=%2Fown.pem"}, ""},
		"not for amqp":     {"url = amqp://a/v\nca = /ca.pem\n", []string{"amqp://a/v"}, "are for amqps:// URLs"},
		"no key":           {"url = amqps://a/v\ncert = /c.pem\n", []string{"amqps://a/v?certfile=%2Fc.pem"}, "cert and key go together"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Load(write(t, "natrix.ini", "[RABBITMQ]\n"+test.settings), "")
			if !slices.Equal(got.AMQP.URLs, test.want) {
				t.Errorf("got %q, want %q", got.AMQP.URLs, test.want)
			}
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got error %v, want %q", err, test.err)
			}
		})
	}
}

func TestGrantAndListener(t *testing.T) {
	got, err := Load(write(t, "natrix.ini", "[RABBITMQ]\ncommands = ping, DNS\n[METRICS]\nlisten = [::1]:9469\n"), "")
	if want := []string{"ping", "dns"}; err != nil || !slices.Equal(got.AMQP.Commands, want) || got.Metrics.Listen != "[::1]:9469" {
		t.Errorf("got %q, %q, %v", got.AMQP.Commands, got.Metrics.Listen, err)
	}
	if _, err := Load(write(t, "bad.ini", "[METRICS]\nlisten = localhost:9469\n"), ""); err == nil {
		t.Error("a name is taken for an address")
	}
}

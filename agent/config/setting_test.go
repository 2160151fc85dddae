package config

import (
	"testing"
)

func TestEdit(t *testing.T) {
	rabbit := func(key, value string) Setting { return Setting{Section: "rabbitmq", Key: key, Value: value} }
	for name, test := range map[string]struct {
		body string
		set  Setting
		want string
	}{
		"empty":           {"", rabbit("host", "h"), "[RABBITMQ]\nhost = h\n"},
		"replaced":        {"# mine\n[RABBITMQ]\nhost=old\nport = 1\n", rabbit("host", "h"), "# mine\n[RABBITMQ]\nhost = h\nport = 1\n"},
		"colon and case":  {"[RabbitMQ]\nHOST : old\n", rabbit("host", "h"), "[RabbitMQ]\nhost = h\n"},
		"added":           {"[RABBITMQ]\nport = 1\n\n[NETWORK]\n", rabbit("host", "h"), "[RABBITMQ]\nport = 1\nhost = h\n\n[NETWORK]\n"},
		"empty section":   {"[RABBITMQ]\n[NETWORK]\n", rabbit("host", "h"), "[RABBITMQ]\nhost = h\n[NETWORK]\n"},
		"other section":   {"[MQTT]\nhost = m\n", rabbit("host", "h"), "[MQTT]\nhost = m\n[RABBITMQ]\nhost = h\n"},
		"no last newline": {"[RABBITMQ]\nhost = old", rabbit("host", "h"), "[RABBITMQ]\nhost = h\n"},
		"comment stays":   {"[RABBITMQ]\n# host = x\n", rabbit("host", "h"), "[RABBITMQ]\n# host = x\nhost = h\n"},
		"several lines":   {"[RABBITMQ]\nurl = amqp://a/,\n  amqp://b/\nport = 1\n", rabbit("url", "amqp://h/"), "[RABBITMQ]\nurl = amqp://h/\nport = 1\n"},
		"said twice":      {"[RABBITMQ]\nhost = a\nhost = b\n", rabbit("host", "h"), "[RABBITMQ]\nhost = h\n"},
		"carriage return": {"[RABBITMQ]\r\nhost = a\r\nport = 1\r\n", rabbit("host", "h"), "[RABBITMQ]\r\nhost = h\nport = 1\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Edit([]byte(test.body), test.set)
			if string(got) != test.want || err != nil {
				t.Errorf("got\n%s%v\nwant\n%s", got, err, test.want)
			}
			if again, err := Edit(got, test.set); string(again) != test.want || err != nil {
				t.Errorf("again\n%s%v\nwant\n%s", again, err, test.want)
			}
		})
	}
}

func TestSettingsSayWhoWon(t *testing.T) {
	file := write(t, "natrix.ini", "[RABBITMQ]\nprefetch = 2\nbasic = 70\nurl = amqp://u:secret@h/\n")
	cmdline := write(t, "cmdline", "natrix.prefetch=3 natrix.log=debug\n")
	session := write(t, "session.ini", "[COMMON]\nlog_level = warn\n")
	c, err := Load(file, cmdline, session, "/nowhere/session.ini")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]Setting)
	for _, s := range c.Settings() {
		got[s.Name()] = s
	}
	for name, want := range map[string]string{
		"rabbitmq.prefetch": "3 from kernel command line",
		"rabbitmq.basic":    "70 from " + file + ":3",
		"rabbitmq.url":      "amqp://u:xxxxx@h/ from " + file + ":4",
		"common.log_level":  "warn from " + session + ":2",
		"rabbitmq.advance":  " from ",
	} {
		if s := got[name]; s.Secret()+" from "+s.From != want {
			t.Errorf("%s: got %q from %q, want %q", name, s.Secret(), s.From, want)
		}
	}
	if _, ignored := got["mqtt.host"]; ignored {
		t.Error("keys that mean nothing are shown")
	}
}

func TestCheck(t *testing.T) {
	if s, err := Check("RabbitMQ.Prefetch", " 5 "); err != nil || s.Name() != "rabbitmq.prefetch" || s.Value != "5" {
		t.Errorf("got %+v, %v", s, err)
	}
	for name, value := range map[string]string{
		"rabbitmq.prefetch": "many", "rabbitmq.nothing": "1", "prefetch": "1", "rabbitmq.username": "a\n[X]", "mqtt.host": "h",
		"appliance.dns": "x", "appliance.address": "eth0", "appliance.password": "secret",
		"appliance.config": "http://user:password@192.0.2.1/natrix.ini",
	} {
		if s, err := Check(name, value); err == nil {
			t.Errorf("Check(%s, %q) = %+v, want an error", name, value, s)
		}
	}
}

func TestAddressByHand(t *testing.T) {
	file := write(t, "natrix.ini", "[APPLIANCE]\naddress = eth0=192.0.2.7/24=192.0.2.1,eth1=198.51.100.2/30\ndns = 192.0.2.53, 2001:db8::53\n")
	c, err := Load(file, "")
	if err != nil {
		t.Fatal(err)
	}
	a := c.Appliance
	if len(a.Address) != 2 || a.Address[0].Gateway.String() != "192.0.2.1" || a.Address[1].Addr.String() != "198.51.100.2/30" || a.Address[1].Gateway.IsValid() || len(a.DNS) != 2 {
		t.Errorf("got %+v", a)
	}
}

func TestEditRefusesABrokenFile(t *testing.T) {
	if got, err := Edit([]byte("[\n"), Setting{Section: "rabbitmq", Key: "host", Value: "h"}); err == nil {
		t.Errorf("got\n%s\nwant an error", got)
	}
}

// FuzzEdit wants a key that was set to be read back, and every line of other
// sections to stay.
func FuzzEdit(f *testing.F) {
	f.Add(original, "h")
	f.Add("[RABBITMQ]\nhost\n  [x]\n= y\n", "h")
	f.Fuzz(func(t *testing.T, body, value string) {
		s, err := Check("rabbitmq.host", value)
		if err != nil {
			t.Skip()
		}
		edited, err := Edit([]byte(body), s)
		if err != nil {
			return
		}
		c := Default()
		c.readFile("f", edited)
		if c.broker.host != s.Value {
			t.Errorf("after\n%s\nthe host is %q, want %q", edited, c.broker.host, s.Value)
		}
		if again, err := Edit(edited, s); err != nil || string(again) != string(edited) {
			t.Errorf("%q becomes %q, %v when edited again", edited, again, err)
		}
	})
}

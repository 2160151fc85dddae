package config

import (
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// original is the file that the original client 0.1.3 is shipped with, and
// what people do to it.
const original = `# natrix
[RABBITMQ]
host = rabbitmq.natrix.com
port = 5672
username = natrix
; a comment
password = 50%%off;#"yes"\
vhost = /natrix

[NETWORK]
internet_websites = ["www.baidu.com.com", "www.alibaba.com", "www.qq.com"]
corporate_websites = ['test1.natrix.com','test2.natrix.com']
intranet_ips =
`

func write(t *testing.T, name, body string) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadOriginal(t *testing.T) {
	got, err := Load(write(t, "natrix.ini", original), "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`amqp://natrix:50%25%25off;%23%22yes%22%5C@rabbitmq.natrix.com:5672/%2Fnatrix`}; !reflect.DeepEqual(got.AMQP.URLs, want) {
		t.Errorf("brokers: got %q, want %q", got.AMQP.URLs, want)
	}
	want := Network{
		Internet:  []string{"www.baidu.com.com", "www.alibaba.com", "www.qq.com"},
		Corporate: []string{"test1.natrix.com", "test2.natrix.com"},
		Intranet:  []string{},
	}
	if !reflect.DeepEqual(got.Network, want) {
		t.Errorf("network: got %q, want %q", got.Network, want)
	}
	if want := Default().AMQP; got.AMQP.Prefetch != want.Prefetch || got.AMQP.Basic != want.Basic {
		t.Errorf("defaults: got %+v", got.AMQP)
	}
}

func TestLoadLaterClient(t *testing.T) {
	_, err := Load(write(t, "natrixclient.ini", "[COMMON]\nlog_directory = /var/log/natrixclient\nLOG_LEVEL: debug\n[TERMINAL]\nPOST_SLOT = 30\n"+
		"[SERVICE]\nbackend = mqtt\nreboot = true\n[MQTT]\nhost = natrix_devhub\nport = 8883\nusername=a\npassword=b\nvhost=c\nclient_id=d\nssl=false\nkeepalive=60\n"), "")
	if err != nil {
		t.Error(err)
	}
}

func TestKernelCommandLineWins(t *testing.T) {
	cmdline := write(t, "cmdline", "console=ttyS0 quiet natrix.broker=amqp://a:b@10.0.2.2:5673/ natrix.prefetch=4 natrix.rabbitmq.basic=90s natrix.ntp=192.0.2.1,192.0.2.2 natrix.watchdog=off ro\n")
	got, err := Load(write(t, "natrix.ini", original), cmdline)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"amqp://a:b@10.0.2.2:5673/"}; !reflect.DeepEqual(got.AMQP.URLs, want) {
		t.Errorf("brokers: got %q, want %q", got.AMQP.URLs, want)
	}
	if got.AMQP.Prefetch != 4 || got.AMQP.Basic != 90*time.Second || got.Appliance.Watchdog || len(got.Appliance.NTP) != 2 {
		t.Errorf("got %+v, %+v", got.AMQP, got.Appliance)
	}
}

func TestLoadLogAndLimits(t *testing.T) {
	for body, want := range map[string]Config{
		"": {Log: Log{Level: "info", Directory: "/var/log/natrix"}},
		"[COMMON]\nlog_directory = /srv/log\nlog_level = DEBUG\nsyslog = tls://logs.example.com\n": {Log: Log{"debug", "/srv/log", "tls://logs.example.com:6514"}},
		"[common]\nlog_directory =\nsyslog = udp://[2001:db8::1]:1514\n":                           {Log: Log{"info", "", "udp://[2001:db8::1]:1514"}},
		"[LIMITS]\ncommands = 100\nheavy = 10\n":                                                   {Log: Default().Log, Limits: Limits{100, 10}},
	} {
		got, err := Load(write(t, "natrix.ini", body), "")
		if err != nil || got.Log != want.Log || got.Limits != want.Limits {
			t.Errorf("%q: got %+v, %+v, %v, want %+v, %+v", body, got.Log, got.Limits, err, want.Log, want.Limits)
		}
	}
}

func TestLoadSchedule(t *testing.T) {
	got, err := Load(write(t, "natrix.ini", `[SCHEDULE]
gateway = */5 * * * * ping 192.0.2.1 --count 5
site = @every 90s http -H "Accept: text/html; q=1" get http://www.example.com/
Hourly = @hourly dns www.example.com
`), "")
	want := []Scheduled{
		{"gateway", "*/5 * * * *", []string{"ping", "192.0.2.1", "--count", "5"}},
		{"site", "@every 90s", []string{"http", "-H", "Accept: text/html; q=1", "get", "http://www.example.com/"}},
		{"Hourly", "@hourly", []string{"dns", "www.example.com"}},
	}
	if err != nil || !reflect.DeepEqual(got.Schedule, want) {
		t.Errorf("got %q, %v", got.Schedule, err)
	}
}

func TestLoadNamesEveryBadLine(t *testing.T) {
	path := write(t, "natrix.ini", `[RABBITMQ]
host = broker.example.com
port = 99999
pasword = x
prefetch = many
url = http://example.com
[RABITMQ]
host = y
[RABBITMQ]
vhost
[COMMON]
log_directory = log
syslog = https://logs.example.com
[LIMITS]
commands = 0
[SCHEDULE]
a = 99 * * * * ping host
b = * * * * *
`)
	got, err := Load(path, write(t, "cmdline", "natrix.brokr=amqp://x/ natrix.a.b=c natrix.log=loud"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`natrix.ini:3: [RABBITMQ] port: "99999" is not a whole number from 1 to 65535`,
		`natrix.ini:4: no such setting: [RABBITMQ] pasword`,
		`natrix.ini:5: [RABBITMQ] prefetch: "many"`,
		`natrix.ini:6: [RABBITMQ] url: not a broker's URL`,
		`natrix.ini:8: no such setting: [RABITMQ] host`,
		`natrix.ini:10: [RABBITMQ] vhost has no value`,
		`natrix.ini:12: [COMMON] log_directory: "log" is not an absolute path`,
		`natrix.ini:13: [COMMON] syslog: "https://logs.example.com" begins with none`,
		`natrix.ini:15: [LIMITS] commands: "0" is not a whole number`,
		`natrix.ini:17: [SCHEDULE] a: "99 * * * *" is not a time`,
		`natrix.ini:18: [SCHEDULE] b: wants when and what`,
		`kernel command line: natrix.brokr: no such setting`,
		`kernel command line: natrix.a.b: no such setting`,
		`kernel command line: natrix.log: [common] log_level: "loud"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, err)
		}
	}
	for _, u := range got.AMQP.URLs {
		if _, err := url.Parse(u); err != nil {
			t.Errorf("a bad setting was used: %v", err)
		}
	}
	if len(got.AMQP.URLs) != 1 || !strings.Contains(got.AMQP.URLs[0], "broker.example.com") {
		t.Errorf("what was understood is not used: %q", got.AMQP.URLs)
	}
}

func TestLayersWinSettingBySetting(t *testing.T) {
	network := write(t, "network.ini", "[RABBITMQ]\nurl = amqp://network.example.com/\nprefetch = 5\n")
	image := write(t, "image.ini", "[RABBITMQ]\nhost = image.example.com\nusername = u\npassword = p\n[APPLIANCE]\nhostname = one\n")
	card := write(t, "card.ini", "\xef\xbb\xbf[RABBITMQ]\r\npassword = q\r\n\r\n[APPLIANCE]\r\nhostname = two\r\n")
	none := filepath.Join(t.TempDir(), "none.ini")
	for name, test := range map[string]struct {
		layers   []string
		broker   string
		hostname string
	}{
		"none":               {nil, "", ""},
		"none that is there": {[]string{none}, "", ""},
		"network":            {[]string{network, none}, "amqp://network.example.com/", ""},
		"image over network": {[]string{network, image}, "amqp://u:p@image.example.com:5672/%2F", "one"},
		"card over both":     {[]string{network, image, card}, "amqp://u:q@image.example.com:5672/%2F", "two"},
		"network over image": {[]string{image, network}, "amqp://network.example.com/", "one"},
	} {
		got, err := LoadLayers(test.layers, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if broker := strings.Join(got.AMQP.URLs, " "); broker != test.broker || got.Appliance.Hostname != test.hostname {
			t.Errorf("%s: broker %q, host %q, want %q, %q", name, broker, got.Appliance.Hostname, test.broker, test.hostname)
		}
	}
}

func TestLayerNamesItsMistakes(t *testing.T) {
	good, bad := write(t, "good.ini", original), write(t, "bad.ini", "[RABBITMQ]\r\nport = x\r\n")
	wide := write(t, "wide.ini", "\xff\xfe[\x00R\x00")
	_, err := LoadLayers([]string{good, bad, wide}, "")
	for _, want := range []string{bad + ":2: ", wide + ": the file is in UTF-16"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestLoadWithoutFile(t *testing.T) {
	got, err := Load(filepath.Join(t.TempDir(), "none.ini"), "")
	if !Missing(err) {
		t.Errorf("got %v, want that the file is missing", err)
	}
	if !reflect.DeepEqual(got.AMQP, Default().AMQP) {
		t.Errorf("got %+v, want the defaults", got.AMQP)
	}
}

func TestRedact(t *testing.T) {
	if got, want := Redact("amqp://natrix:secret@h:5672/%2Fnatrix"), "amqp://natrix:xxxxx@h:5672/%2Fnatrix"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Redact("amqp://natrix:sec ret@%zz"); strings.Contains(got, "sec") {
		t.Errorf("the password shows: %q", got)
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add([]byte(original), "natrix.broker=amqp://x/")
	f.Add([]byte("[a]\nb=`c\n[\n]=\n\"\"\"x"), "natrix.=")
	f.Fuzz(func(t *testing.T, body []byte, cmdline string) {
		c := Default()
		c.readFile("natrix.ini", body)
		c.readKernel(cmdline)
		urls, _ := c.broker.urls()
		for _, u := range urls {
			Redact(u)
		}
	})
}

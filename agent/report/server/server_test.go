package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// protocol finds the protocol of an example in its name:
// resp_http_min.json, bad_dns_mx_no_ips.json, resp_error_ping.json.
func protocol(file string) string {
	for name := range protocols {
		if strings.Contains(filepath.Base(file), name) {
			return name
		}
	}
	return "ping" // bad_error_without_stamp.json
}

func examples(t *testing.T, pattern string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples %s: %v", pattern, err)
	}
	bodies := make(map[string][]byte)
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bodies[filepath.Base(file)] = body
	}
	return bodies
}

func TestGoodResponsesPass(t *testing.T) {
	for file, body := range examples(t, "resp_*.json") {
		if err := Response(protocol(file), body); err != nil {
			t.Errorf("%s: got %v, want it accepted", file, err)
		}
	}
}

func TestBadResponsesAreRefusedForTheRightReason(t *testing.T) {
	reasons := map[string]string{
		"bad_dns_mx_no_ips.json":        "data.ips: is missing",
		"bad_error_without_stamp.json":  "stamp: is missing",
		"bad_http_empty_body.json":      "data.response_body",
		"bad_http_location_nulls.json":  "data.remote_location.city",
		"bad_ping_total_loss_null.json": "data.avg_time",
	}
	for file, body := range examples(t, "bad_*.json") {
		err := Response(protocol(file), body)
		if err == nil || reasons[file] == "" || !strings.Contains(err.Error(), reasons[file]) {
			t.Errorf("%s: got %v, want an error about %q", file, err, reasons[file])
		}
	}
}

func TestGoodReportsPass(t *testing.T) {
	for file, judge := range map[string]func([]byte) error{"report_basic.json": Basic, "report_advance.json": Advance} {
		if err := judge(examples(t, file)[file]); err != nil {
			t.Errorf("%s: got %v, want it accepted", file, err)
		}
	}
}

func TestSpoiledMessagesAreRefused(t *testing.T) {
	response := func(p string) func([]byte) error { return func(b []byte) error { return Response(p, b) } }
	for _, tt := range []struct {
		file     string
		judge    func([]byte) error
		old, new string
		want     string
	}{
		{"report_basic.json", Basic, `"wired"`, `"ethernet"`, "networks.eth0.type"},
		{"report_basic.json", Basic, `"b827ebf94174"`, `null`, "networks.eth0.macaddress"},
		{"report_basic.json", Basic, `"b827ebf94174"`, `"b827ebac1421"`, "networks.wlan0.macaddress: is that of eth0 too"},
		{"report_basic.json", Basic, `"is_default": true`, `"is_default": null`, "networks.eth0.is_default"},
		{"report_basic.json", Basic, `"gateway": "192.168.31.1"`, `"gateway": ""`, "networks.eth0.gateway"},
		{"report_basic.json", Basic, `"heartbeat": 1557990000.123456`, `"heartbeat": "1557990000"`, "heartbeat"},
		{"report_basic.json", Basic, `"0.1.3"`, `"0.1.3-12345678901"`, "system.natrixclient_version: has 17 characters"},
		{"report_basic.json", Basic, `"networks": {`, `"networks": null, "x": {`, "networks: is null"},
		{"report_advance.json", Advance, `1557980000,`, `1557980000.5,`, "hardware.boot_time"},
		{"report_advance.json", Advance, `971055104`, `true`, "hardware.memory_info.memory_total"},
		{"report_advance.json", Advance, `"stretch"`, `" "`, "system.operating.codename"},
		{"report_advance.json", Advance, `"python_version": "0",`, ``, "system.operating.python_version: is missing"},
		{"resp_ping.json", response("ping"), `"status": 0`, `"status": "0"`, "status"},
		{"resp_ping.json", response("ping"), `"packet_send": 10`, `"packet_send": 10.5`, "data.packet_send"},
		{"resp_ping.json", response("ping"), `"destination_ip": "`, `"destination_ip": "x`, "data.destination_ip"},
		{"resp_http.json", response("http"), `"last_url": "http://www.baidu.com/`, `"last_url": "http://intranet/`, "data.last_url"},
		{"resp_http.json", response("http"), `"local_port": 40312`, `"local_port": "192.168.31.20"`, "data.local_port"},
		{"resp_traceroute.json", response("traceroute"), `"seq": 1,`, `"seq": 0,`, "data[0].seq"},
	} {
		body := examples(t, tt.file)[tt.file]
		spoiled := bytes.Replace(body, []byte(tt.old), []byte(tt.new), 1)
		if bytes.Equal(spoiled, body) {
			t.Errorf("%s does not hold %s", tt.file, tt.old)
			continue
		}
		if err := tt.judge(spoiled); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s with %s: got %v, want an error about %q", tt.file, tt.new, err, tt.want)
		}
	}
}

func TestWhatIsNotAMessageIsRefused(t *testing.T) {
	for _, body := range []string{"", "{", "[]", "null", "{} {}", "\x00"} {
		if err := Basic([]byte(body)); err == nil {
			t.Errorf("%q passed for a report", body)
		}
		if err := Response("dns", []byte(body)); err == nil {
			t.Errorf("%q passed for a response", body)
		}
	}
	if err := Response("performance", []byte("{}")); err == nil {
		t.Error("a protocol without rules passed")
	}
}

func TestAddressesThatServersTake(t *testing.T) {
	for _, good := range []string{"http://www.baidu.com", "www.example.com/x?y", "https://127.0.0.1:8443/", "http://[::1]/", "http://localhost:80", "ftp://a.b.museum", "http://例子.测试/"} {
		if err := address(good); err != nil {
			t.Errorf("%s: got %v, want it taken", good, err)
		}
	}
	for _, bad := range []string{"", "http://", "gopher://a.example", "http://intranet", "http://a.example:7", "http://a.example:123456", "http://-x.example"} {
		if err := address(bad); err == nil {
			t.Errorf("%s: taken, want it refused", bad)
		}
	}
}

func FuzzJudge(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for p := range protocols {
			if err := Response(p, body); err == nil && !bytes.Contains(body, []byte("stamp")) && !bytes.Contains(body, []byte(`\u`)) {
				t.Errorf("accepted without a stamp: %s", body)
			}
		}
		Basic(body)
		Advance(body)
	})
}

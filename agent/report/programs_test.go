package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/natrix-os/natrix/agent/report/server"
	"github.com/natrix-os/natrix/sysinfo"
)

func TestProgramsOfADebianMachine(t *testing.T) {
	root := t.TempDir()
	for path, body := range map[string]string{
		"var/lib/dpkg/status": "Package: chromium\nStatus: install ok installed\nVersion: 120.0.6099.224-1~deb12u1\n\n" +
			"Package: firefox-esr\nStatus: install ok installed\nVersion: 115.7.0esr-1~deb12u1\n\n" +
			"Package: python3\nStatus: install ok installed\nVersion: 3.11.2-1+b1\n\n" +
			"Package: python2.7\nStatus: deinstall ok config-files\nVersion: 2.7.18-8\n",
		"usr/bin/chromedriver": "",
	} {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := New(Config{Machine: sysinfo.Machine{Root: root}, Version: "0.1.3", Serial: "test"}).Advance(t.Context()) // it has nothing else
	pass(t, server.Advance, a)
	body, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"python_version":"3.11.2"`, `"python3_version":"3.11.2"`, `"desktop_version":"UNKNOWN"`, `"selenium_version":"0"`,
		`"chrome_version":"120.0.6099.224"`, `"chrome_webdriver_path":"/usr/bin/chromedriver"`, `"chrome_webdriver_version":"0"`,
		`"firefox_version":"115.7.0esr"`, `"firefox_webdriver_path":""`,
	} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if bytes.Contains(body, []byte("python2_version")) {
		t.Errorf("what was removed is there: %s", body)
	}
}

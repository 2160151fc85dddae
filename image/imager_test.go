package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestManifest(t *testing.T) {
	out := t.TempDir()
	b := Board{Name: "rpi3", Imager: []string{"pi3-64bit"}}
	packed := filepath.Join(out, b.DiskFile()+".gz")
	if err := os.WriteFile(packed, []byte("packed"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := testDisk(t)
	for base, want := range map[string]string{
		"":                             "file://" + packed,
		"https://example.com/natrix/":  "https://example.com/natrix/natrix-rpi3.img.gz",
		"https://example.com/a%20path": "https://example.com/a%20path/natrix-rpi3.img.gz",
	} {
		if err := d.saveManifest(b, Options{Version: "1", Date: time.Unix(1700000000, 0), URL: base}, out); err != nil {
			t.Fatal(err)
		}
		var list struct {
			Images []struct {
				URL     string
				Format  string `json:"init_format"`
				Devices []string
				Date    string `json:"release_date"`
				Size    int    `json:"image_download_size"`
			} `json:"os_list"`
		}
		if err := json.Unmarshal(read(t, filepath.Join(out, "natrix-rpi3.json")), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Images) != 1 {
			t.Fatalf("%d images, want one", len(list.Images))
		}
		got := list.Images[0]
		if got.URL != want || got.Format != "cloudinit" || len(got.Devices) != 1 || got.Date != "2023-11-14" || got.Size != len("packed") {
			t.Errorf("URL %q: got %+v, want %s and init_format cloudinit", base, got, want)
		}
	}
}

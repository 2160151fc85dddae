package image

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/natrix-os/natrix/agent/medium"
)

// saveManifest writes a list of one image for the Raspberry Pi Imager (its
// option --repo), which downloads and checks the compressed medium by it. Of its
// ways to customise a medium, cloud-init's is the one in which nothing has to be
// executed, and that versions 1 and 2 both know: files on partition 1, which
// package config reads. The list names the file where it is, since the Imager
// takes nothing relative to a list: o.URL, or else the directory out.
func (d disk) saveManifest(b Board, o Options, out string) error {
	whole := sha256.New()
	if _, err := d.WriteTo(whole); err != nil {
		return err
	}
	packed, err := os.ReadFile(filepath.Join(out, b.DiskFile()+".gz"))
	if err != nil {
		return err
	}
	base := o.URL
	if base == "" {
		base = (&url.URL{Scheme: "file", Path: out}).String()
	}
	manifest, err := json.MarshalIndent(map[string]any{"os_list": []any{map[string]any{
		"name":                  "natrix " + o.Version + " for " + b.Name,
		"description":           "The terminal of a distributed network-testing system; its broker goes into natrix.ini on the card",
		"url":                   strings.TrimSuffix(base, "/") + "/" + b.DiskFile() + ".gz",
		"devices":               b.Imager,
		"release_date":          o.Date.UTC().Format("2006-01-02"),
		"extract_size":          medium.End * sectorSize,
		"extract_sha256":        fmt.Sprintf("%x", whole.Sum(nil)),
		"image_download_size":   len(packed),
		"image_download_sha256": fmt.Sprintf("%x", sha256.Sum256(packed)),
		"init_format":           "cloudinit",
	}}}, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(out, "natrix-"+b.Name+".json"), append(manifest, '\n'))
}

package image

import (
	"strings"
	"testing"
)

func TestLicence(t *testing.T) {
	for text, want := range map[string]string{
		"MIT License\n\nPermission is hereby granted, free of\ncharge, to any person": "MIT",
		"Apache License\n  Version 2.0, January 2004":                                 "Apache-2.0",
		"Redistributions in binary form must reproduce\n Neither the name of":         "BSD-3-Clause",
		"Redistributions in binary form must reproduce the above":                     "BSD-2-Clause",
		"ask us": "",
	} {
		if got := licence(text); got != want {
			t.Errorf("licence(%.30q) = %q, want %q", text, got, want)
		}
	}
}

func TestCopyrightLicences(t *testing.T) {
	const text = "Files: *\nLicense: GPL-2\n\nFiles: a\nLicense: LGPL-2.1\n\nFiles: b\nLicense: GPL-2\n"
	if got := copyrightLicences(text); got != "GPL-2 AND LGPL-2.1" {
		t.Errorf("licences are %q", got)
	}
}

// TestModuleComponent looks at a real module in the cache.
func TestModuleComponent(t *testing.T) {
	got, err := moduleComponent(t.Context(), "..", "github.com/ulikunitz/xz")
	if err != nil {
		t.Fatal(err)
	}
	if got.Licence != "BSD-3-Clause" || !strings.HasPrefix(got.Hash, "h1:") || !strings.HasPrefix(got.Version, "v") {
		t.Errorf("component is %+v", got)
	}
}

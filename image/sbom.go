package image

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// Component is something that an image is made of.
type Component struct {
	Name    string
	Version string
	Licence string // SPDX identifier, or what its package says; "" if nothing was found
	Hash    string // what pins it: h1: of go.sum, or the SHA-256 of a Debian package
}

// Components are what board b's image is made of: the Go modules of natrix and
// of the field tools as their binaries tell, and the board's sources. The image
// in the directory out has been built.
func Components(ctx context.Context, b Board, o Options, out string) ([]Component, error) {
	components := []Component{{Name: "natrix", Version: o.Version + " (" + o.Revision + ")", Licence: "BSD-3-Clause"}}
	info, err := buildinfo.ReadFile(filepath.Join(out, BinaryFile))
	if err != nil {
		return nil, err
	}
	components = append(components, Component{Name: "go", Version: strings.TrimPrefix(info.GoVersion, "go"), Licence: "BSD-3-Clause"})
	seen := make(map[string]bool)
	for _, m := range info.Deps {
		c, err := moduleComponent(ctx, o.Root, m.Path)
		if err != nil {
			return nil, err
		}
		seen[m.Path] = true
		components = append(components, c)
	}
	tools, err := toolModules(ctx, b, o.Root)
	if err != nil {
		return nil, err
	}
	for _, source := range b.Sources() {
		switch s := source.(type) {
		case Module:
			tools = append(tools, string(s))
		case Debian:
			packages, err := debianComponents(ctx, s, o)
			if err != nil {
				return nil, err
			}
			components = append(components, packages...)
		}
	}
	for _, module := range tools {
		if seen[module] {
			continue
		}
		seen[module] = true
		c, err := moduleComponent(ctx, o.Root, module)
		if err != nil {
			return nil, err
		}
		components = append(components, c)
	}
	return components, nil
}

// toolModules are the modules of the field tools, whose binary does not tell.
func toolModules(ctx context.Context, b Board, root string) ([]string, error) {
	commands, err := toolCommands(ctx, root)
	if err != nil || len(commands) == 0 {
		return nil, err
	}
	args := append([]string{"list", "-deps", "-tags", toolTag, "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}"}, commands...)
	list, err := goCommand(ctx, root, b.environ(), args...)
	if err != nil {
		return nil, err
	}
	return strings.Fields(list), nil
}

// moduleComponent describes a Go module from the module cache.
func moduleComponent(ctx context.Context, root, module string) (Component, error) {
	answer, err := goCommand(ctx, root, nil, "mod", "download", "-json", module)
	if err != nil {
		return Component{}, err
	}
	var m struct{ Version, Dir, Sum string }
	if err := json.Unmarshal([]byte(answer), &m); err != nil {
		return Component{}, err
	}
	var licences []string
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return Component{}, err
	}
	for _, e := range entries {
		if !licenceName.MatchString(e.Name()) || e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return Component{}, err
		}
		if name := licence(string(text)); name != "" {
			licences = append(licences, name)
		}
	}
	return Component{module, m.Version, strings.Join(licences, " AND "), m.Sum}, nil
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)`)

// licence recognises a licence by words that only it has; the more particular
// ones are first.
func licence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, known := range []struct{ words, id string }{
		{"Mozilla Public License Version 2.0", "MPL-2.0"},
		{"Mozilla Public License, version 2.0", "MPL-2.0"},
		{"Apache License Version 2.0", "Apache-2.0"},
		{"The name of any author may not be used", "BSD-3-Clause OR GPL-2.0"}, // libcap
		{"GNU LESSER GENERAL PUBLIC LICENSE Version 3", "LGPL-3.0"},
		{"GNU LESSER GENERAL PUBLIC LICENSE Version 2.1", "LGPL-2.1"},
		{"GNU GENERAL PUBLIC LICENSE Version 3", "GPL-3.0"},
		{"GNU GENERAL PUBLIC LICENSE Version 2", "GPL-2.0"},
		{"GPL-2.0 WITH Linux-syscall-note", "GPL-2.0-only"},
		{"Broadcom Corporation", "LicenseRef-Broadcom"},
		{"Neither the name", "BSD-3-Clause"},
		{"may not be used to endorse", "BSD-3-Clause"},
		{"Redistributions in binary form must reproduce", "BSD-2-Clause"},
		{"Permission to use, copy, modify, and/or distribute this software", "ISC"},
		{"Permission to use, copy, modify, and distribute this software", "ISC"},
		{"Permission is hereby granted, free of charge", "MIT"},
		{"This is free and unencumbered software", "Unlicense"},
	} {
		if strings.Contains(text, known.words) {
			return known.id
		}
	}
	return ""
}

// debianComponents describes the packages of a lock, with the licences that
// their copyright files name.
func debianComponents(ctx context.Context, d Debian, o Options) ([]Component, error) {
	packages, err := parseLock(d.Lock)
	if err != nil {
		return nil, err
	}
	dir, err := d.Dir(ctx, o.Root, o.Cache)
	if err != nil {
		return nil, err
	}
	var components []Component
	for _, p := range packages {
		text, err := os.ReadFile(filepath.Join(dir, "usr/share/doc", p.name, "copyright"))
		if err != nil && !os.IsNotExist(err) { // some are a link to that of another package
			return nil, err
		}
		licences := copyrightLicences(string(text))
		if i := slices.IndexFunc(components, func(c Component) bool { return c.Version == p.version }); licences == "" && i >= 0 {
			licences = components[i].Licence // built from the same source
		}
		components = append(components, Component{p.name, p.version, licences, "sha256:" + p.sha256})
	}
	return components, nil
}

// copyrightLicences are those that a Debian copyright file names, each once.
func copyrightLicences(text string) string {
	var names []string
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "License: ")
		if ok && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return strings.Join(names, " AND ")
}

// WriteSBOM writes the components to out in the format CycloneDX 1.5, and as a
// table for people.
func WriteSBOM(b Board, o Options, components []Component, out string) error {
	type hashed struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	type named struct {
		Type       string              `json:"type"`
		Name       string              `json:"name"`
		Version    string              `json:"version"`
		Licenses   []map[string]any    `json:"licenses,omitempty"`
		Hashes     []hashed            `json:"hashes,omitempty"`
		Properties []map[string]string `json:"properties,omitempty"`
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COMPONENT\tVERSION\tLICENCE\tPINNED BY")
	var list []named
	for _, c := range components {
		n := named{Type: "library", Name: c.Name, Version: c.Version}
		if c.Licence != "" {
			n.Licenses = []map[string]any{{"license": map[string]string{"name": c.Licence}}}
		}
		if sum, ok := strings.CutPrefix(c.Hash, "sha256:"); ok {
			n.Hashes = []hashed{{"SHA-256", sum}}
		} else if c.Hash != "" {
			n.Properties = []map[string]string{{"name": "go.sum", "value": c.Hash}}
		}
		list = append(list, n)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.Version, c.Licence, c.Hash)
	}
	w.Flush()
	image := named{Type: "firmware", Name: "natrix-" + b.Name, Version: o.Version}
	sums, err := imageSums(out)
	if err != nil {
		return err
	}
	image.Properties = sums
	document, err := json.MarshalIndent(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"metadata":   map[string]any{"timestamp": o.Date.UTC().Format("2006-01-02T15:04:05Z"), "component": image},
		"components": list,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(out, "sbom.txt"), []byte(table.String())); err != nil {
		return err
	}
	return replaceFile(filepath.Join(out, "sbom.cdx.json"), append(document, '\n'))
}

// imageSums are the SHA-256 of the files of an image.
func imageSums(out string) ([]map[string]string, error) {
	var sums []map[string]string
	err := filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "sbom.") {
			return err
		}
		content, err := os.ReadFile(name)
		rel, _ := filepath.Rel(out, name)
		sums = append(sums, map[string]string{"name": "sha256:" + rel, "value": fmt.Sprintf("%x", sha256.Sum256(content))})
		return err
	})
	return sums, err
}

package image

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/u-root/mkuimage/cpio"
)

// moduleRecords returns the kernel modules with the given names and all that
// they need, and the list /lib/modules/load: their paths relative to the list,
// each after those it needs, otherwise in the order of names.
func moduleRecords(source string, names []string) ([]cpio.Record, error) {
	if len(names) == 0 {
		return nil, nil
	}
	tree, err := openModules(source)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := tree.add(name); err != nil {
			return nil, err
		}
	}
	var records []cpio.Record
	for _, file := range tree.order {
		content, err := os.ReadFile(filepath.Join(tree.dir, file))
		if err != nil {
			return nil, err
		}
		records = append(records, cpio.StaticFile(path.Join("lib/modules", file), string(content), 0o644))
	}
	list := strings.Join(tree.order, "\n") + "\n"
	return append(records, cpio.StaticFile("lib/modules/load", list, 0o644)), nil
}

// modules is a kernel's tree of modules. Names are as the kernel has them, with
// underscores, while files and people also use hyphens.
type modules struct {
	dir     string            // lib/modules
	files   map[string]string // name to file below dir
	builtin map[string]bool
	added   map[string]bool
	order   []string // files below dir
}

func openModules(source string) (*modules, error) {
	m := &modules{
		dir:     filepath.Join(source, "lib/modules"),
		files:   make(map[string]string),
		builtin: make(map[string]bool),
		added:   make(map[string]bool),
	}
	err := fs.WalkDir(os.DirFS(m.dir), ".", func(file string, _ fs.DirEntry, err error) error {
		if path.Ext(file) == ".ko" {
			m.files[moduleName(file)] = file
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list, err := one(m.dir, "*/modules.builtin")
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(list)
	for _, file := range strings.Fields(string(content)) {
		m.builtin[moduleName(file)] = true
	}
	return m, err
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// add puts a module in order, behind what it needs.
func (m *modules) add(name string) error {
	name = moduleName(name)
	if m.added[name] || m.builtin[name] {
		return nil
	}
	m.added[name] = true
	file, ok := m.files[name]
	if !ok {
		return fmt.Errorf("there is no kernel module %s", name)
	}
	needs, err := moduleNeeds(filepath.Join(m.dir, file))
	if err != nil {
		return err
	}
	for _, need := range needs.hard {
		if err := m.add(need); err != nil {
			return fmt.Errorf("%s needs: %w", name, err)
		}
	}
	for _, need := range needs.soft {
		if _, ok := m.files[moduleName(need)]; !ok {
			continue // built in, or an alias that another module may or may not have
		}
		if err := m.add(need); err != nil {
			return fmt.Errorf("%s wants: %w", name, err)
		}
	}
	m.order = append(m.order, file)
	return nil
}

// needs are the modules that a module says it depends on: hard for their
// symbols, soft because it asks for them while it starts.
type needs struct {
	hard, soft []string
}

func moduleNeeds(file string) (needs, error) {
	object, err := elf.Open(file)
	if err != nil {
		return needs{}, err
	}
	defer object.Close()
	section := object.Section(".modinfo")
	if section == nil {
		return needs{}, fmt.Errorf("%s: no section .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return needs{}, fmt.Errorf("%s: %w", file, err)
	}
	return parseModinfo(string(info)), nil
}

// parseModinfo reads NUL-terminated settings (include/linux/module.h):
// depends=a,b and softdep=pre: a b post: c.
func parseModinfo(info string) needs {
	var n needs
	for setting := range strings.SplitSeq(info, "\x00") {
		key, value, _ := strings.Cut(setting, "=")
		switch key {
		case "depends":
			n.hard = append(n.hard, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			before, _, _ := strings.Cut(value, "post:")
			n.soft = append(n.soft, strings.Fields(strings.TrimPrefix(strings.TrimSpace(before), "pre:"))...)
		}
	}
	return n
}

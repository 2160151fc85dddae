package pxe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// The files of an image's directory for the network, of which each kind of
// client begins with another.
const (
	biosFile   = "pxelinux.0"
	efiFile    = "natrix.efi"
	scriptFile = "boot.ipxe"
	menuFile   = "pxelinux.cfg/default"
	iniFile    = "natrix.ini"
)

// files are what is served: a directory, out of which nothing leads, and in
// front of it the files that words are added to.
type files struct {
	root    *os.Root
	changed map[string][]byte
}

// openFiles opens an image's directory for the network. The words go to the
// kernel command line in all of its files; ini, unless nil, is a file too.
func openFiles(dir, words string, ini []byte) (*files, error) {
	if strings.ContainsAny(words, "\r\n") {
		return nil, errors.New("the words for the kernel are more than one line")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open what is to be served: %w", err)
	}
	f := &files{root: root, changed: make(map[string][]byte)}
	edits := map[string]func([]byte, string) ([]byte, error){scriptFile: addToLines, menuFile: addToLines, efiFile: addToProgram}
	found := 0
	for name, edit := range edits {
		content, err := f.root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found++
		if err == nil && words != "" {
			f.changed[name], err = edit(content, words)
		}
		if err != nil {
			root.Close()
			return nil, fmt.Errorf("%s: %w", path.Join(dir, name), err)
		}
	}
	if found == 0 {
		root.Close()
		return nil, fmt.Errorf("%s has nothing that a PC boots: make image BOARD=amd64 makes build/image/amd64/pxe", dir)
	}
	if ini != nil {
		f.changed[iniFile] = ini
	}
	return f, nil
}

func (f *files) Close() error { return f.root.Close() }

// has reports whether a file can be served.
func (f *files) has(name string) bool {
	if _, ok := f.changed[name]; ok {
		return true
	}
	info, err := f.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// content is a file that is open.
type content struct {
	io.ReadSeeker
	size  int64
	at    time.Time // when it was changed; zero if unknown
	close func() error
}

// open opens a file by a name from the network.
func (f *files) open(name string) (*content, error) {
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, "\\", "/")), "/")
	if b, ok := f.changed[name]; ok {
		return &content{bytes.NewReader(b), int64(len(b)), time.Time{}, func() error { return nil }}, nil
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &content{file, info.Size(), info.ModTime(), file.Close}, nil
}

// addToLines adds words to the line of a script that has the kernel's.
func addToLines(script []byte, words string) ([]byte, error) {
	var out strings.Builder
	added := false
	for line := range strings.Lines(string(script)) {
		text := strings.TrimRight(line, "\r\n")
		first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		if first == "kernel" || first == "APPEND" {
			text += " " + words
			added = true
		}
		out.WriteString(text + "\n")
	}
	if !added {
		return nil, errors.New("no line with the kernel command line")
	}
	return []byte(out.String()), nil
}

// addToProgram adds words to the command line in a unified kernel image: to
// its section .cmdline, as far as the padding behind it goes, and to the
// section's length.
func addToProgram(program []byte, words string) ([]byte, error) {
	header, err := section(program, ".cmdline")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	size, room, at := le.Uint32(header[8:]), le.Uint32(header[16:]), le.Uint32(header[20:]) // VirtualSize, SizeOfRawData, PointerToRawData
	if uint64(at)+uint64(room) > uint64(len(program)) || size > room {
		return nil, errors.New("the section .cmdline is not in the file")
	}
	line := bytes.Clone(bytes.TrimRight(program[at:at+size], "\x00\n"))
	free := int(room) - len(line) - 1
	if len(words) > free {
		return nil, fmt.Errorf("the words for the kernel have %d bytes, and there is room for %d", len(words), free)
	}
	line = append(append(line, ' '), words...)
	out := bytes.Clone(program)
	header, err = section(out, ".cmdline")
	if err != nil {
		return nil, err
	}
	copy(out[at:at+room], append(bytes.Clone(line), make([]byte, int(room)-len(line))...))
	le.PutUint32(header[8:], uint32(len(line)))
	return out, nil
}

// section is the header of a section in a program of UEFI, of 40 bytes, whose
// format is that of Microsoft's PE. The caller may write to it.
func section(program []byte, name string) ([]byte, error) {
	const entry = 40
	le := binary.LittleEndian
	if len(program) < 0x40 || string(program[:2]) != "MZ" {
		return nil, errors.New("not a program of UEFI")
	}
	coff := int64(le.Uint32(program[0x3c:])) + 4
	if coff+20 > int64(len(program)) || string(program[coff-4:coff]) != "PE\x00\x00" {
		return nil, errors.New("not a program of UEFI: no PE header")
	}
	at := coff + 20 + int64(le.Uint16(program[coff+16:])) // SizeOfOptionalHeader
	for range le.Uint16(program[coff+2:]) {               // NumberOfSections
		if at+entry > int64(len(program)) {
			break
		}
		if found, _, _ := strings.Cut(string(program[at:at+8]), "\x00"); found == name {
			return program[at : at+entry], nil
		}
		at += entry
	}
	return nil, fmt.Errorf("no section %s", name)
}

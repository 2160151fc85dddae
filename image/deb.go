package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ulikunitz/xz"
)

// unpackInto unpacks the files of Debian packages into the new directory dir.
// Only once all of them are there has the directory its name.
func unpackInto(dir string, debs ...[]byte) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	root, err := os.OpenRoot(tmp) // no name in the package leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	for _, deb := range debs {
		files, err := debFiles(deb)
		if err != nil {
			return err
		}
		if err := untar(root, files); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(dir), err)
		}
	}
	return os.Rename(tmp, dir)
}

// untar writes the regular files of an archive below root.
func untar(root *os.Root, archive *tar.Reader) error {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := untarFile(root, path.Clean(header.Name), header.FileInfo().Mode(), archive); err != nil {
			return err
		}
	}
}

// untarFile keeps of the mode whether the file is a program.
func untarFile(root *os.Root, name string, mode os.FileMode, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644|mode&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// debFiles finds the archive of files in a package (deb(5)).
func debFiles(deb []byte) (*tar.Reader, error) {
	members, err := arMembers(deb)
	if err != nil {
		return nil, err
	}
	data, ok := members["data.tar.xz"]
	if !ok {
		return nil, errors.New("the package has no data.tar.xz")
	}
	unpacked, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return tar.NewReader(unpacked), nil
}

// arMembers splits an archive in the common ar format: a magic line, then per
// member a header of 60 bytes and the content, padded to an even length.
func arMembers(archive []byte) (map[string][]byte, error) {
	const magic, header = "!<arch>\n", 60
	rest, ok := bytes.CutPrefix(archive, []byte(magic))
	if !ok {
		return nil, errors.New("not an ar archive")
	}
	members := make(map[string][]byte)
	for len(rest) >= header {
		name := strings.TrimRight(string(rest[:16]), " /")
		size, err := strconv.ParseUint(strings.TrimRight(string(rest[48:58]), " "), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("size of ar member %q: %w", name, err)
		}
		rest = rest[header:]
		if size > uint64(len(rest)) {
			return nil, fmt.Errorf("ar member %q is cut off", name)
		}
		members[name] = rest[:size]
		rest = rest[min(size+size%2, uint64(len(rest))):]
	}
	return members, nil
}

package image

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage/initramfs"
)

// assemble returns the initramfs of board b as a cpio archive: sorted by name,
// owned by root, without times or inode numbers. It holds more beside natrix.
func assemble(b Board, o Options, natrix []byte, more []cpio.Record) ([]byte, error) {
	records := append(skeleton(), executable("bin/natrix", natrix), cpio.Symlink("init", "bin/natrix"))
	records = append(records, more...)
	records = append(records, settings(b, o)...)
	return archive(records)
}

// skeleton is what the kernel and PID 1 rely on before anything is mounted. A
// Go program without /dev/console dies before main, and the kernel with it.
func skeleton() []cpio.Record {
	return []cpio.Record{
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Directory("proc", 0o555),
		cpio.Directory("root", 0o700),
		cpio.Directory("run", 0o755),
		cpio.Directory("sys", 0o555),
		cpio.Directory("tmp", 0o1777),
		cpio.Directory("var", 0o755),
		cpio.StaticFile("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644),
	}
}

// settings are the files that say what this image is.
func settings(b Board, o Options) []cpio.Record {
	records := []cpio.Record{
		cpio.StaticFile("etc/natrix/built", fmt.Sprintln(o.Date.Unix()), 0o644),
		cpio.StaticFile("etc/os-release", osRelease(b, o), 0o644),
	}
	if o.Keys != nil {
		records = append(records, cpio.StaticFile("etc/natrix/update.pub", string(o.Keys), 0o644))
	}
	for name, content := range o.Location {
		records = append(records, cpio.StaticFile("etc/natrix/location/"+name, string(content), 0o644))
	}
	return records
}

// configArchive is an archive with the configuration alone, compressed, which
// the kernel unpacks when it is behind the initramfs; nothing if there is none.
// Only root may read it: it may hold the broker's password.
func configArchive(config []byte) ([]byte, error) {
	if config == nil {
		return nil, nil
	}
	packed, err := archive([]cpio.Record{cpio.StaticFile("etc/natrix/natrix.ini", string(config), 0o600)})
	if err != nil {
		return nil, err
	}
	return compress(packed), nil
}

// osRelease is the file that os-release(5) describes.
func osRelease(b Board, o Options) string {
	return fmt.Sprintf("ID=natrix\nNAME=natrix\nVERSION_ID=%q\nBUILD_ID=%q\nVARIANT_ID=%q\nPRETTY_NAME=%q\n",
		o.Version, o.Revision, b.Name, "natrix "+o.Version+" for "+b.Name)
}

func executable(name string, content []byte) cpio.Record {
	return cpio.StaticRecord(content, cpio.Info{Name: name, Mode: cpio.S_IFREG | 0o755})
}

// archive writes records, and the directories they are in, in the format that
// the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
func archive(records []cpio.Record) ([]byte, error) {
	files := initramfs.NewFiles()
	for _, r := range records {
		if err := files.AddRecord(r); err != nil {
			return nil, err
		}
	}
	sorted := &initramfs.Archive{Archive: cpio.InMemArchive()}
	if err := initramfs.Write(&initramfs.Opts{Files: files, OutputFile: sorted}); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := cpio.CopyAndFinish(cpio.Newc.Writer(&out), sorted.Reader()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// compress packs an archive for the kernel. One thread, because the result
// must not depend on how the work was divided; 8 MiB is the window that the
// zstd format asks every decoder to support (RFC 8878, section 3.1.1.1.2).
func compress(archive []byte) []byte {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		panic("image: zstd options: " + err.Error())
	}
	return encoder.EncodeAll(archive, nil)
}

package flash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/natrix-os/natrix/agent/medium"
)

const configPath = "/" + medium.ConfigFile

// putConfig makes text natrix.ini on a disk of natrix, and reads it back.
func putConfig(f *os.File, text []byte) error {
	if err := writeConfig(f, text); err != nil {
		return err
	}
	if err := forgetFree(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	got, err := readConfig(f)
	if err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	if !bytes.Equal(got, text) {
		return ErrDiffers
	}
	return nil
}

// bootVolume opens the file system of partition 1.
func bootVolume(f *os.File) (*fat32.FileSystem, error) {
	return fat32.Read(file.New(f, false), medium.BootSectors*medium.SectorSize, medium.BootStart*medium.SectorSize, medium.SectorSize)
}

func writeConfig(f *os.File, text []byte) error {
	fs, err := bootVolume(f)
	if err != nil {
		return err
	}
	ini, err := fs.OpenFile(configPath, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = ini.Write(text)
	return errors.Join(err, ini.Close())
}

func readConfig(f *os.File) ([]byte, error) {
	fs, err := bootVolume(f)
	if err != nil {
		return nil, err
	}
	ini, err := fs.OpenFile(configPath, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer ini.Close()
	return io.ReadAll(ini)
}

// forgetFree has readers count the free clusters of partition 1, which the
// library does not keep right (FAT32 File System Specification 1.03, FSInfo).
func forgetFree(f *os.File) error {
	const info, free = (medium.BootStart + 1) * medium.SectorSize, 488
	unknown := binary.LittleEndian.AppendUint64(nil, 0xffffffff_ffffffff)
	_, err := f.WriteAt(unknown, info+free)
	return err
}

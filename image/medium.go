package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/medium"
)

// buildMedium writes the medium, whole and compressed, its block map, and a slot
// of it. It returns the size of the files in partition 1 and one slot.
func buildMedium(ctx context.Context, b Board, o Options, made built, out string) (int64, error) {
	files, err := partitionFiles(ctx, b, o)
	if err != nil {
		return 0, err
	}
	l, err := b.buildLoader(ctx, o, files)
	if err != nil {
		return 0, fmt.Errorf("make the loader: %w", err)
	}
	if err := b.slotFiles(made, files); err != nil {
		return 0, err
	}
	files["boot/"+medium.ConfigFile] = o.Config
	if o.Config == nil {
		files["boot/"+medium.ConfigFile] = []byte(strings.ReplaceAll(config.Template(), "\n", "\r\n")) // for the editors of Windows
	}
	boot, slot := bootVolume(o.Date), slotVolume(o.Date)
	var size int64
	for name, content := range files {
		v := map[string]*volume{"boot": boot, "slot": slot}[strings.SplitN(name, "/", 2)[0]]
		if err := v.add(strings.SplitN(name, "/", 2)[1], content); err != nil {
			return 0, err
		}
		size += int64(len(content))
	}
	return size, writeMedium(b, o, l, boot, slot, out)
}

func writeMedium(b Board, o Options, l loader, boot, slot *volume, out string) error {
	bootBytes, err := boot.bytes()
	if err != nil {
		return fmt.Errorf("partition 1: %w", err)
	}
	slotBytes, err := slot.bytes()
	if err != nil {
		return fmt.Errorf("slot: %w", err)
	}
	if err := replaceFile(filepath.Join(out, b.SlotFile()), slotBytes); err != nil {
		return err
	}
	d, err := newDisk(l, bootBytes, slotBytes, o.Date)
	if err != nil {
		return err
	}
	if err := d.save(filepath.Join(out, b.DiskFile())); err != nil {
		return err
	}
	if err := d.saveMap(filepath.Join(out, b.DiskFile()+".bmap")); err != nil {
		return err
	}
	if err := d.saveCompressed(filepath.Join(out, b.DiskFile()+".gz")); err != nil || b.Loader != nil {
		return err
	}
	return d.saveManifest(b, o, out)
}

// partitionFiles are the files that the board brings, by their path below boot/
// or slot/.
func partitionFiles(ctx context.Context, b Board, o Options) (map[string][]byte, error) {
	files := make(map[string][]byte)
	err := fs.WalkDir(b.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(b.Files, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, p := range b.Parts {
		dir, err := p.Source.Dir(ctx, o.Root, o.Cache)
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", p.File, err)
		}
		file, err := one(dir, p.File)
		if err != nil {
			return nil, err
		}
		if files[p.To], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// buildLoader adds what chooses the slot to partition 1.
func (b Board) buildLoader(ctx context.Context, o Options, files map[string][]byte) (loader, error) {
	choice := medium.Choice{Slot: medium.A}
	if b.Loader == nil {
		files["boot/"+medium.AutobootFile] = choice.Autoboot()
		return loader{}, nil
	}
	dir, err := b.Loader.Dir(ctx, o.Root, o.Cache)
	if err != nil {
		return loader{}, err
	}
	l, err := buildGRUB(ctx, dir)
	if err != nil {
		return loader{}, err
	}
	files["boot/grub/grub.cfg"] = files["boot/grub.cfg"]
	delete(files, "boot/grub.cfg")
	files["boot/"+medium.EnvironmentFile] = choice.Environment()
	files["boot/EFI/BOOT/BOOTX64.EFI"] = l.efi
	return l, nil
}

// slotFiles adds the kernel and what it is started with to a slot.
func (b Board) slotFiles(made built, files map[string][]byte) error {
	kernel := made.kernel
	if b.GzipKernel {
		var err error
		if kernel, err = gzipped(kernel); err != nil {
			return err
		}
	}
	files["slot/"+KernelFile] = kernel
	files["slot/"+InitramfsFile] = made.initramfs
	for _, pattern := range b.DeviceTrees {
		files["slot/"+path.Base(pattern)] = made.trees[path.Base(pattern)]
	}
	if b.Loader == nil {
		files["slot/"+CmdlineFile] = fmt.Appendf(nil, "%s %s=firmware\n", b.Cmdline, medium.SlotWord)
		return nil
	}
	files["slot/grub.cfg"] = fmt.Appendf(nil,
		"if linux /%s %s %s=$slot; then\n\tif initrd /%s; then set linux=ready; fi\nfi\n",
		KernelFile, b.Cmdline, medium.SlotWord, InitramfsFile)
	return nil
}

func gzipped(content []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(content); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}

package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/flash"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Flash is the command that writes an image to a disk of the machine that
// system shows.
func Flash(system flash.System) *cobra.Command {
	const use = "flash IMAGE DEVICE"
	cmd := &cobra.Command{
		Use:   use,
		Short: "Write an image to an SD card, a USB stick or a disk",
		Long: "Write an image to an SD card, a USB stick or a disk, and read it back. A disk that is in use is refused;\n" +
			"what will be erased is shown first, and its name must be typed. With a block map beside the image\n" +
			"(IMAGE.bmap) only what is used is written. Images may be compressed by gzip or zstd.",
		Example: "  natrix flash natrix-rpi3.img.gz /dev/sdb\n" +
			"  natrix flash natrix-amd64.img /dev/sdb --config natrix.ini   # with its configuration\n" +
			"  natrix flash natrix-rpi2.img /dev/mmcblk0 --yes              # for scripts: does not ask",
		Args: arguments(use),
	}
	file := cmd.Flags().String("config", "", "`FILE` that becomes natrix.ini on the disk; one with a mistake is refused")
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ini, err := checked(*file)
		if err != nil {
			return err
		}
		image, err := flash.OpenImage(args[0])
		if err != nil {
			return err
		}
		if ini != nil && !image.Natrix {
			return fmt.Errorf("%s is no image of natrix, and has no place for a configuration", args[0])
		}
		disk, err := system.Inspect(args[1])
		if err != nil {
			return err
		}
		if err := disk.Fits(image); err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		describeFlash(w, image, disk, *file)
		if !*yes {
			if err := confirm(cmd.InOrStdin(), w, disk.Name); err != nil {
				return err
			}
		}
		bar := &bar{w: w, total: image.Used, live: isTerminal(w)}
		err = flash.Writer{Image: image, Disk: disk, Config: ini, Progress: bar.show}.Write(cmd.Context())
		bar.end()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s is written and verified; it may be taken out\n", disk.Path)
		return nil
	}
	return cmd
}

// checked reads a configuration that is right, or none if there is no name.
func checked(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	if _, err := config.Load(file, ""); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// describeFlash says what will be written, and what will be gone.
func describeFlash(w io.Writer, image *flash.Image, d flash.Disk, config string) {
	fmt.Fprintf(w, "image   %s, %s of %s used", image.Name, megabytes(image.Used), megabytes(image.Size))
	if config != "" {
		fmt.Fprintf(w, ", with %s", config)
	}
	fmt.Fprintf(w, "\ndisk    %s, %s", d.Path, megabytes(d.Size))
	for _, about := range []string{d.Transport, d.Model} {
		if about != "" {
			fmt.Fprintf(w, ", %s", about)
		}
	}
	fmt.Fprintln(w)
	for _, p := range d.Partitions {
		fmt.Fprintf(w, "erases  %-10s %10s  %-8s %s\n", p.Name, megabytes(p.Size), p.Kind, p.Label)
	}
	if d.Block && len(d.Partitions) == 0 {
		fmt.Fprintln(w, "erases  nothing that is known: no partitions, no file system")
	}
}

// confirm has a person type the disk's name.
func confirm(in io.Reader, w io.Writer, name string) error {
	if !isTerminal(in) {
		return Usage(errors.New("nobody to ask: with --yes it is not asked"))
	}
	fmt.Fprintf(w, "Everything on it will be lost. Type %s to go on: ", name)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != name {
		return errors.New("nothing was written")
	}
	return nil
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func megabytes(n int64) string {
	if n >= 10e9 {
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// bar shows how far the writing is: on a terminal as a bar that is drawn over,
// elsewhere as a line for every quarter.
type bar struct {
	w     io.Writer
	total int64
	live  bool

	phase flash.Phase
	begin time.Time // of the phase
	drawn time.Time
	lines int64 // quarters that have one
}

func (b *bar) show(phase flash.Phase, done int64) {
	now := time.Now()
	if phase != b.phase {
		b.end()
		b.phase, b.begin, b.lines, b.drawn = phase, now, 0, time.Time{}
	}
	line := progressLine(phase, done, b.total, now.Sub(b.begin))
	switch {
	case b.live && (done == b.total || now.Sub(b.drawn) >= progressEvery):
		fmt.Fprintf(b.w, "\r%s%s", line, clearRight)
		b.drawn = now
	case !b.live && done*4/b.total > b.lines:
		fmt.Fprintln(b.w, line)
		b.lines = done * 4 / b.total
	}
}

// end leaves the last bar where it is.
func (b *bar) end() {
	if b.live && b.phase != "" {
		fmt.Fprintln(b.w)
		b.phase = ""
	}
}

// progressLine is one state of the bar, of 72 columns.
func progressLine(phase flash.Phase, done, total int64, since time.Duration) string {
	const width = 20
	full := int(done * width / total)
	line := fmt.Sprintf("%-6s  [%s%s] %3d %%  %s", phase, strings.Repeat("#", full), strings.Repeat(".", width-full), done*100/total, megabytes(done))
	if since < time.Millisecond {
		return line
	}
	rate := float64(done) / since.Seconds()
	line += fmt.Sprintf("  %.1f MB/s", rate/1e6)
	if done == total {
		return line + fmt.Sprintf("  %.1f s", since.Seconds())
	}
	left := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
	return line + fmt.Sprintf("  %v left", left)
}

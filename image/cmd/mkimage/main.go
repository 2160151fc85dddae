// Mkimage builds the image of a board: its kernel, its device trees, and an
// initramfs with natrix in it.
//
//	go run ./image/cmd/mkimage -board amd64 -o build/image/amd64
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/update"
	"github.com/natrix-os/natrix/board/amd64"
	"github.com/natrix-os/natrix/board/rpi2"
	"github.com/natrix-os/natrix/board/rpi3"
	"github.com/natrix-os/natrix/image"
)

// boards is the list of all boards.
func boards() []image.Board {
	return []image.Board{amd64.Board(), rpi2.Board(), rpi3.Board()}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := mkimage(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func mkimage(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mkimage", flag.ExitOnError)
	name := flags.String("board", "amd64", "`board` to build for: "+strings.Join(names(), ", "))
	out := flags.String("o", "", "output `directory` (default build/image/BOARD)")
	config := flags.String("config", "", "`file` to install as natrix.ini")
	location := flags.String("location", "", "`directory` whose files to install in /etc/natrix/location: data sets that say where addresses are")
	keys := flags.String("keys", "", "`file` with the public keys that may sign updates of this image")
	sign := flags.String("sign", "", "`file` with the private key to make an update with, of the image's slot")
	newKey := flags.String("new-key", "", "build nothing; make a private key in this `file`, and its public key in FILE.pub")
	url := flags.String("url", "", "`URL` of the directory that the medium will be fetched from, for the Raspberry Pi Imager (default: the output directory)")
	lock := flags.Bool("lock", false, "build nothing; move the board's locks to its distribution's current packages")
	sbom := flags.Bool("sbom", false, "also list what the image is made of, in sbom.txt and sbom.cdx.json")
	only := flags.Bool("fetch", false, "build nothing; fetch what a build needs")
	flags.Parse(args)

	if *newKey != "" {
		return makeKey(*newKey)
	}
	board, err := find(*name)
	if err != nil {
		return err
	}
	options, err := options(ctx, *config)
	if err != nil {
		return err
	}
	options.URL = *url
	if options.Location, err = files(*location); err != nil {
		return err
	}
	if *keys != "" {
		if options.Keys, err = os.ReadFile(*keys); err != nil {
			return err
		}
		if _, err := update.ParsePublic(string(options.Keys)); err != nil {
			return fmt.Errorf("%s: %w", *keys, err)
		}
	}
	switch {
	case *lock:
		return moveLocks(ctx, board, options)
	case *only:
		return fetch(ctx, board, options)
	}
	if *out == "" {
		*out = filepath.Join(options.Root, "build/image", board.Name)
	}
	sizes, err := image.Build(ctx, board, options, *out)
	if err != nil {
		return err
	}
	fmt.Printf("%s in %s\n", board.Name, *out)
	fmt.Printf("  kernel    %10d bytes\n  initramfs %10d bytes\n  natrix    %10d bytes, in the initramfs\n  medium    %10d bytes of files in %s\n",
		sizes.Kernel, sizes.Initramfs, sizes.Binary, sizes.Medium, board.DiskFile())
	if *sbom {
		if err := writeSBOM(ctx, board, options, *out); err != nil {
			return err
		}
	}
	if *sign == "" {
		return nil
	}
	return makeUpdate(board, options, *sign, *out)
}

// files are the contents of a directory's files by name; "" has none.
func files(dir string) (map[string][]byte, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	contents := make(map[string][]byte)
	for _, e := range entries {
		if contents[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

// moveLocks rewrites the lock files in the directory of a board that has any.
func moveLocks(ctx context.Context, b image.Board, o image.Options) error {
	for _, source := range b.Sources() {
		debian, ok := source.(image.Debian)
		if !ok {
			continue // pinned by go.mod, and moved with go get
		}
		lock, err := debian.Current(ctx, o.Cache)
		if err != nil {
			return err
		}
		fmt.Print(lock)
		if err := os.WriteFile(filepath.Join(o.Root, "board", b.Name, debian.File), []byte(lock), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeSBOM lists what an image that was built is made of.
func writeSBOM(ctx context.Context, b image.Board, o image.Options, out string) error {
	components, err := image.Components(ctx, b, o, out)
	if err != nil {
		return err
	}
	if err := image.WriteSBOM(b, o, components, out); err != nil {
		return err
	}
	table, err := os.ReadFile(filepath.Join(out, "sbom.txt"))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(table)
	return err
}

// fetch downloads what the board's sources pin, unless the cache has it.
func fetch(ctx context.Context, b image.Board, o image.Options) error {
	for _, source := range b.Sources() {
		if _, err := source.Dir(ctx, o.Root, o.Cache); err != nil {
			return err
		}
	}
	return nil
}

func names() []string {
	var names []string
	for _, b := range boards() {
		names = append(names, b.Name)
	}
	return names
}

func find(name string) (image.Board, error) {
	i := slices.Index(names(), name)
	if i < 0 {
		return image.Board{}, fmt.Errorf("no board %q, there are: %s", name, strings.Join(names(), ", "))
	}
	return boards()[i], nil
}

// options describes the source tree that the working directory is in.
func options(ctx context.Context, config string) (o image.Options, err error) {
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return o, fmt.Errorf("find the source tree: %w", err)
	}
	o.Root = filepath.Dir(strings.TrimSpace(string(gomod)))
	if _, err := os.Stat(filepath.Join(o.Root, "image")); err != nil {
		return o, fmt.Errorf("find the source tree: run this in it: %w", err)
	}
	o.Package = "./agent/cmd/natrix"
	o.Cache = filepath.Join(o.Root, "build/cache")
	if config != "" {
		if o.Config, err = os.ReadFile(config); err != nil {
			return o, err
		}
	}
	o.Version = agent.Version
	if o.Revision, err = image.Revision(ctx, o.Root); err != nil {
		return o, err
	}
	o.Date, err = image.SourceDate(ctx, o.Root)
	return o, err
}

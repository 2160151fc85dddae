package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/probe/page"
)

var performanceInfo = command.Info{
	Name:    "performance",
	Summary: "How long a web page takes to load, resource by resource",
	Example: "natrix performance -o text https://www.example.com/\nnatrix performance -b chrome --har page.har https://www.example.com/",
	Weight:  16,
	Wire:    performanceWire{},
}

// PerformanceParams are the parameters of a page load.
type PerformanceParams struct {
	Browser   string // curl loads the page itself, chrome and firefox drive what is installed
	Interface string // link to send from, by name or by one of its addresses; "" is by route
	DNS       string // name servers, separated by commas; "" is the system's
	Timeout   time.Duration
	KeepAlive bool // use connections again; browsers always do
	Cache     bool // measure a second visit, with what a browser has kept of the first
	Insecure  bool // take any certificate

	Snapshot bool // keep a picture of the page in the result; without a browser, its source
	HAR      bool // keep an HTTP archive in the result

	SnapshotFile, HARFile string // files to write them to; "" is none. No wire can name them.
	Capture               string // file for the page's packets; "" for none
}

// maxSnapshot is the bytes of a snapshot that go into the wire document.
const maxSnapshot = 256 << 10

// DefaultPerformance loads the page without a browser.
func DefaultPerformance() PerformanceParams {
	return PerformanceParams{Browser: "curl", Timeout: time.Minute, KeepAlive: true}
}

// Flags declares the parameters for all doors.
func (p *PerformanceParams) Flags(f *command.Flags) {
	f.Custom((*browserValue)(&p.Browser), "browser", "b", "curl (natrix itself), chrome or firefox")
	f.Text(&p.DNS, "dns-server", "d", "name servers to resolve with, separated by commas", "dns_server")
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses")
	f.Seconds(&p.Timeout, "timeout", "t", "for the page, in seconds")
	f.Switch(&p.KeepAlive, "keep-alive", "K", "use connections again; browsers always do")
	f.Switch(&p.Cache, "cache", "", "load the page twice, and tell of the second time (chrome and firefox)")
	f.Switch(&p.Insecure, "insecure", "k", "take any certificate")
	f.StringVarP(&p.SnapshotFile, "snapshot", "S", "", "write a picture of the page (JPEG) to `FILE`; with curl, its source")
	f.StringVar(&p.HARFile, "har", "", "write an HTTP archive to `FILE`")
	f.Switch(&p.Snapshot, "keep-snapshot", "", "keep the picture or source in the result", "snapshot")
	f.Switch(&p.HAR, "keep-har", "", "keep the HTTP archive in the result", "har")
	captureFlag(f, &p.Capture)
	f.Hide("keep-snapshot", "keep-har")
}

type browserValue string

func (v *browserValue) String() string { return string(*v) }
func (v *browserValue) Type() string   { return "browser" }

func (v *browserValue) Set(s string) error {
	switch s {
	case "curl", "chrome", "firefox":
		*v = browserValue(s)
		return nil
	}
	return fmt.Errorf("%q is not curl, chrome or firefox", s)
}

// PerformanceResult is a page load.
type PerformanceResult struct {
	Captured
	page.Load
	URL string // as asked for, without a password

	snapshot, har bool // are to be in the wire document
}

// Performance loads a page and everything it refers to.
func (p *Prober) Performance(ctx context.Context, destination string, params PerformanceParams) (*PerformanceResult, error) {
	if params.Capture != "" {
		return captured(ctx, p, params.Capture, func(ctx context.Context, p *Prober) (*PerformanceResult, error) {
			params.Capture = ""
			return p.Performance(ctx, destination, params)
		})
	}
	u, err := webURL(destination)
	if err != nil {
		return nil, err
	}
	if params.Cache && params.Browser == "curl" {
		return nil, fmt.Errorf("%w: cache: natrix itself keeps none, chrome and firefox do", command.ErrParameter)
	}
	via, err := pathOf(ctx, params.Interface)
	if err != nil {
		return nil, err
	}
	servers, err := serverList(params.DNS)
	if err != nil {
		return nil, err
	}
	load, err := loaders[params.Browser](ctx, u, page.Options{
		Timeout: params.Timeout, Network: networkOf(via, servers), Through: via.spec != "" || len(servers) > 0 || via.capture != nil,
		KeepAlive: params.KeepAlive, Cache: params.Cache, Insecure: params.Insecure, Snapshot: params.Snapshot || params.SnapshotFile != "",
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", shown(u), pageError(ctx, err))
	}
	r := &PerformanceResult{Load: *load, URL: shown(u), snapshot: params.Snapshot, har: params.HAR}
	if err := r.write(params); err != nil {
		return nil, err
	}
	return r, nil
}

// write puts what is wanted in files there.
func (r *PerformanceResult) write(params PerformanceParams) error {
	if params.SnapshotFile != "" && r.Load.Snapshot != nil {
		if err := os.WriteFile(params.SnapshotFile, r.Load.Snapshot.Data, 0o644); err != nil {
			return fmt.Errorf("%w: snapshot: %w", command.ErrParameter, err)
		}
	}
	if params.HARFile == "" {
		return nil
	}
	archive, err := r.Load.HAR()
	if err == nil {
		err = os.WriteFile(params.HARFile, archive, 0o644)
	}
	if err != nil {
		return fmt.Errorf("%w: HTTP archive: %w", command.ErrParameter, err)
	}
	return nil
}

// loaders are the browsers, and what stands for one.
var loaders = map[string]func(context.Context, *url.URL, page.Options) (*page.Load, error){
	"curl":    page.Fetch,
	"chrome":  page.Chrome,
	"firefox": page.Firefox,
}

// networkOf is the way to servers along a path.
func networkOf(via path, servers []string) page.Network {
	via = via.asking(servers)
	return page.Network{
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) { return via.lookup(ctx, host, servers) },
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			conn, err := via.dial(ctx, "tcp", to.String())
			if err != nil {
				return nil, fmt.Errorf("%w: %w", command.ErrConnect, err)
			}
			return conn, nil
		},
	}
}

// pageError gives an error of a page load its kind.
func pageError(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", command.ErrTimeout, err)
	}
	return err
}

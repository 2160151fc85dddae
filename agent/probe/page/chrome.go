package page

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	devtools "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
)

// chromes are the programs that speak the DevTools protocol, as distributions call them.
var chromes = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell"}

// Chrome loads a page in an installed Chromium or Chrome, through the DevTools
// protocol over a pipe.
func Chrome(ctx context.Context, u *url.URL, o Options) (*Load, error) {
	l, err := drive(ctx, u, o, func(life context.Context, by *proxy) (tab, string, error) { return openChrome(life, o, by) })
	if err != nil {
		return nil, fmt.Errorf("chrome: %w", err)
	}
	return l, nil
}

// chromeArguments make it a quiet browser without a past.
func chromeArguments(home string, o Options, by *proxy) []string {
	arguments := []string{
		"--headless", "--remote-debugging-pipe", "--user-data-dir=" + home,
		"--no-first-run", "--no-default-browser-check", "--no-pings", "--no-service-autorun", "--password-store=basic", "--use-mock-keychain",
		"--disable-background-networking", "--disable-breakpad", "--disable-client-side-phishing-detection", "--disable-component-update",
		"--disable-default-apps", "--disable-domain-reliability", "--disable-extensions", "--disable-gpu", "--disable-sync",
		"--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider", "--metrics-recording-only",
		"--hide-scrollbars", "--mute-audio", "--force-color-profile=srgb", fmt.Sprintf("--window-size=%d,%d", Width, Height),
	}
	if o.Insecure {
		arguments = append(arguments, "--ignore-certificate-errors")
	}
	if by != nil {
		arguments = append(arguments, fmt.Sprintf("--proxy-server=socks5://127.0.0.1:%d", by.port()), "--proxy-bypass-list=<-loopback>",
			"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-quic", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp")
	}
	if _, err := os.Stat("/dev/shm"); err != nil {
		arguments = append(arguments, "--disable-dev-shm-usage")
	}
	return append(arguments, "about:blank")
}

// chromeTab is a tab of a Chromium that was started for it.
type chromeTab struct {
	*process
	*session
	wire   *pipe
	loaded chan struct{} // closed at the load event
	frame  cdp.FrameID

	mu       sync.Mutex
	requests []*chromeRequest // in their order
	byID     map[network.RequestID]*chromeRequest
	clock    float64 // seconds between the epoch and the browser's monotonic clock
}

// chromeRequest is what the network stack says of a request; times are of its
// monotonic clock, in seconds.
type chromeRequest struct {
	Resource
	sent, first, end float64
	redirected       float64 // when it was first sent, if it was redirected
	timing           *network.ResourceTiming
}

func newChromeTab() *chromeTab {
	return &chromeTab{loaded: make(chan struct{}), byID: make(map[network.RequestID]*chromeRequest)}
}

func openChrome(ctx context.Context, o Options, by *proxy) (t *chromeTab, agent string, err error) {
	wire, theirs, err := newPipe()
	if err != nil {
		return nil, "", err
	}
	t = newChromeTab()
	t.wire = wire
	t.process, err = launch(ctx, program{
		names: chromes, packet: "chromium", pipes: theirs,
		arguments: func(home string) []string { return chromeArguments(home, o, by) },
	})
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		wire.close()
		return nil, "", err
	}
	t.session = converse(wire, t.event)
	go t.listen(ctx)
	if agent, err = t.open(ctx, o.Cache); err != nil {
		t.close()
		return nil, "", t.failed(err)
	}
	return t, agent, nil
}

// open finds the tab that the browser has, and makes it tell what it does.
func (t *chromeTab) open(ctx context.Context, cache bool) (agent string, err error) {
	var version struct{ Product string }
	if err := t.call(ctx, "Browser.getVersion", nil, &version); err != nil {
		return "", err
	}
	made, err := do(ctx, t.session, target.CreateTarget, target.CreateTargetParams{URL: "about:blank"})
	if err != nil {
		return "", err
	}
	flat := true
	attached, err := do(ctx, t.session, target.AttachToTarget, target.AttachToTargetParams{TargetID: made.TargetID, Flatten: &flat})
	if err != nil {
		return "", err
	}
	t.tab = string(attached.SessionID)
	for _, step := range []func() error{
		func() error { _, err := do(ctx, t.session, devtools.Enable, devtools.EnableParams{}); return err },
		func() error { _, err := do(ctx, t.session, network.Enable, network.EnableParams{}); return err },
		func() error {
			_, err := do(ctx, t.session, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: !cache})
			return err
		},
		func() error {
			_, err := do(ctx, t.session, devtools.AddScriptToEvaluateOnNewDocument,
				devtools.AddScriptToEvaluateOnNewDocumentParams{Source: prepare, WorldName: world})
			return err
		},
	} {
		if err := step(); err != nil {
			return "", err
		}
	}
	return strings.Replace(version.Product, "/", " ", 1), nil
}

// world is where natrix's scripts run: they see the page, and its scripts do not see them.
const world = "natrix"

// do runs a command of the protocol.
func do[P, R any](ctx context.Context, s *session, c cdp.Command[P, R], params P) (result R, err error) {
	return result, s.call(ctx, c.Method, params, &result)
}

func (t *chromeTab) navigate(ctx context.Context, u *url.URL) error {
	answer, err := do(ctx, t.session, devtools.Navigate, devtools.NavigateParams{URL: u.String()})
	if err != nil && ctx.Err() != nil { // it is answered when the page does, and until then nothing else is
		return fmt.Errorf("%w: %w", errSilent, ctx.Err())
	}
	if err != nil {
		return err
	}
	t.frame = answer.FrameID
	if answer.ErrorText != "" {
		return errors.New(answer.ErrorText)
	}
	select {
	case <-t.loaded:
		return nil
	case <-t.session.ended:
		return t.failed(errors.New("the browser ended"))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget waits for the empty page's load event, which is not to be taken for the next one.
func (t *chromeTab) forget(ctx context.Context) error {
	answer, err := do(ctx, t.session, devtools.Navigate, devtools.NavigateParams{URL: "about:blank"})
	if err != nil {
		return err
	}
	t.frame = answer.FrameID
	t.mu.Lock()
	t.requests, t.byID, t.loaded = nil, make(map[network.RequestID]*chromeRequest), make(chan struct{})
	t.mu.Unlock()
	_, err = t.evaluate(ctx, `new Promise(done => document.readyState == "complete" ? done("") : addEventListener("load", () => done("")))`)
	return err
}

func (t *chromeTab) evaluate(ctx context.Context, expression string) (string, error) {
	isolated, err := do(ctx, t.session, devtools.CreateIsolatedWorld, devtools.CreateIsolatedWorldParams{FrameID: t.frame, WorldName: world})
	if err != nil {
		return "", err
	}
	await := true
	answer, err := do(ctx, t.session, runtime.Evaluate,
		runtime.EvaluateParams{Expression: expression, ContextID: isolated.ExecutionContextID, AwaitPromise: &await})
	if err != nil {
		return "", err
	}
	if answer.ExceptionDetails != nil || answer.Result == nil {
		return "", errors.New("the script failed")
	}
	var text string
	return text, json.Unmarshal(answer.Result.Value, &text)
}

func (t *chromeTab) picture(ctx context.Context) (*Snapshot, error) {
	quality := int64(60)
	taken, err := do(ctx, t.session, devtools.CaptureScreenshot,
		devtools.CaptureScreenshotParams{Format: devtools.CaptureScreenshotFormatJpeg, Quality: &quality})
	if err != nil {
		return nil, err
	}
	return &Snapshot{Type: "image/jpeg", Data: taken.Data}, nil
}

func (t *chromeTab) close() {
	t.process.close()
	t.wire.close()
	<-t.session.ended
}

// event takes what the tab tells.
func (t *chromeTab) event(method string, params json.RawMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch method {
	case "Page.loadEventFired":
		if len(t.requests) > 0 { // otherwise it is the empty page's
			t.fire()
		}
	case "Network.requestWillBeSent":
		note(params, t.asked)
	case "Network.responseReceived":
		note(params, t.answered)
	case "Network.loadingFinished":
		note(params, func(e network.EventLoadingFinished) {
			if r := t.byID[e.RequestID]; r != nil {
				r.end, r.TransferSize, r.EncodedSize = e.Timestamp.Float64(), int64(e.EncodedDataLength), int64(e.EncodedBodyLength)
			}
		})
	case "Network.loadingFailed":
		note(params, func(e network.EventLoadingFailed) {
			if r := t.byID[e.RequestID]; r != nil {
				r.end, r.Err = e.Timestamp.Float64(), cmp.Or(e.ErrorText, string(e.BlockedReason), "failed")
			}
		})
	}
}

// fire says that the page is loaded; frames that load again say so again.
func (t *chromeTab) fire() {
	select {
	case <-t.loaded:
	default:
		close(t.loaded)
	}
}

// note decodes an event. One that cannot be is of a newer protocol: there is
// nothing to be learned from it.
func note[E any](params json.RawMessage, take func(E)) {
	var e E
	if json.Unmarshal(params, &e) == nil {
		take(e)
	}
}

func (t *chromeTab) asked(e network.EventRequestWillBeSent) {
	if e.Request == nil || !strings.HasPrefix(e.Request.URL, "http") {
		return
	}
	if len(t.requests) == 0 {
		t.clock = e.WallTime.Float64() - e.Timestamp.Float64()
	}
	r := t.byID[e.RequestID]
	if r != nil && e.RedirectResponse != nil {
		r.redirected = cmp.Or(r.redirected, r.sent)
	} else if len(t.requests) == maxSeen {
		return
	} else {
		r = new(chromeRequest)
		r.URL, r.Initiator = withoutFragment(e.Request.URL), initiator(e)
		t.byID[e.RequestID] = r
		t.requests = append(t.requests, r)
	}
	r.sent = e.Timestamp.Float64()
}

// initiator is the initiatorType that pages are told, as far as the type of the
// resource says it.
func initiator(e network.EventRequestWillBeSent) string {
	switch e.Type {
	case network.ResourceTypeStylesheet:
		return "link"
	case network.ResourceTypeImage:
		return "img"
	case network.ResourceTypeFont:
		return "css"
	case network.ResourceTypeDocument:
		return "iframe"
	case network.ResourceTypeXHR:
		return "xmlhttprequest"
	}
	return strings.ToLower(string(e.Type))
}

func (t *chromeTab) answered(e network.EventResponseReceived) {
	r := t.byID[e.RequestID]
	if r == nil || e.Response == nil {
		return
	}
	r.Status, r.Type, r.Protocol = int(e.Response.Status), e.Response.MimeType, e.Response.Protocol
	r.first, r.timing = e.Timestamp.Float64(), e.Response.Timing
}

// seen is the requests, the document's first.
func (t *chromeTab) seen() ([]Resource, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.requests) == 0 {
		return nil, time.Time{}
	}
	origin := cmp.Or(t.requests[0].redirected, t.requests[0].sent)
	var all []Resource
	for _, r := range t.requests {
		all = append(all, r.resource(origin))
	}
	return all, time.UnixMicro(int64((origin + t.clock) * 1e6))
}

func (r *chromeRequest) resource(origin float64) Resource {
	since := func(seconds float64) time.Duration { return after((seconds - origin) * 1000) }
	found := r.Resource
	found.Start, found.Fetch, found.ResponseStart = since(cmp.Or(r.redirected, r.sent)), since(r.sent), since(r.first)
	found.ResponseEnd = since(cmp.Or(r.end, r.first, r.sent))
	if r.redirected > 0 {
		found.RedirectStart, found.RedirectEnd = since(r.redirected), since(r.sent)
	}
	if t := r.timing; t != nil {
		part := func(ms float64) time.Duration {
			if ms < 0 { // it did not happen
				return found.Fetch
			}
			return since(t.RequestTime + ms/1000)
		}
		found.LookupStart, found.LookupEnd = part(t.DNSStart), part(t.DNSEnd)
		found.ConnectStart, found.ConnectEnd = part(t.ConnectStart), part(t.ConnectEnd)
		if t.SslStart >= 0 {
			found.SecureStart = part(t.SslStart)
		}
		found.RequestStart = part(t.SendStart)
		found.ResponseStart = part(cmp.Or(t.ReceiveHeadersStart, t.ReceiveHeadersEnd))
	}
	return found
}

// pipe carries messages that end with a zero byte, as Chromium does with its
// file descriptors 3 and 4.
type pipe struct {
	in   *bufio.Reader
	out  *os.File
	ends []*os.File

	mu sync.Mutex // one message after the other
}

func newPipe() (*pipe, []*os.File, error) {
	theirIn, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	in, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		out.Close()
		return nil, nil, err
	}
	return &pipe{in: bufio.NewReader(in), out: out, ends: []*os.File{in, out}}, []*os.File{theirIn, theirOut}, nil
}

func (p *pipe) read(context.Context) ([]byte, error) {
	var message []byte
	for {
		part, err := p.in.ReadSlice(0)
		message = append(message, part...)
		switch {
		case err == nil:
			return message[:len(message)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(message) > maxMessage:
			return nil, errors.New("message of more than " + strconv.Itoa(maxMessage>>20) + " MiB")
		}
	}
}

func (p *pipe) write(message []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.out.Write(append(message, 0))
	return err
}

func (p *pipe) close() {
	for _, f := range p.ends {
		f.Close()
	}
}

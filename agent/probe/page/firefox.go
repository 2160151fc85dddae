package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// firefoxes are the programs that speak WebDriver BiDi.
var firefoxes = []string{"firefox-esr", "firefox"}

// preferences make Firefox a quiet browser without a past.
const preferences = `
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.search.update", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage", "about:blank");
user_pref("browser.startup.page", 0);
user_pref("captivedetect.canonicalURL", "");
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.push.connection.enabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("media.volume_scale", "0");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.dns.disablePrefetch", true);
user_pref("network.prefetch-next", false);
user_pref("network.trr.mode", 5);
user_pref("privacy.reduceTimerPrecision", false);
user_pref("services.settings.server", "data:,");
user_pref("signon.rememberSignons", false);
user_pref("toolkit.telemetry.enabled", false);
`

// uncached has Firefox fetch everything.
const uncached = `
user_pref("browser.cache.disk.enable", false);
user_pref("browser.cache.memory.enable", false);
`

// preferences have Firefox go through the proxy; a nil proxy has it go by itself.
func (p *proxy) preferences() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf(`
user_pref("media.peerconnection.enabled", false);
user_pref("network.http.http3.enable", false);
user_pref("network.proxy.allow_hijacking_localhost", true);
user_pref("network.proxy.no_proxies_on", "");
user_pref("network.proxy.socks", "127.0.0.1");
user_pref("network.proxy.socks_port", %d);
user_pref("network.proxy.socks_remote_dns", true);
user_pref("network.proxy.socks_version", 5);
user_pref("network.proxy.type", 1);
`, p.port())
}

// Firefox loads a page in an installed Firefox, through WebDriver BiDi.
func Firefox(ctx context.Context, u *url.URL, o Options) (*Load, error) {
	l, err := drive(ctx, u, o, func(life context.Context, by *proxy) (tab, string, error) { return openFirefox(life, o, by) })
	if err != nil {
		return nil, fmt.Errorf("firefox: %w", err)
	}
	return l, nil
}

// firefoxTab is a tab of a Firefox that was started for it.
type firefoxTab struct {
	*process
	*session
	context string // BiDi's name of the tab

	mu       sync.Mutex
	requests []*firefoxRequest // in their order
	byID     map[string]*firefoxRequest
}

// firefoxRequest is one request with its redirects.
type firefoxRequest struct {
	Resource
	timings firefoxTimings
	ended   time.Duration // of a request that failed, since the epoch
}

// firefoxTimings is FetchTimingInfo, in milliseconds since the origin.
type firefoxTimings struct {
	TimeOrigin, RequestTime, RedirectStart, RedirectEnd, FetchStart float64

	DNSStart, DNSEnd, ConnectStart, ConnectEnd, TLSStart, RequestStart, ResponseStart, ResponseEnd float64
}

func newFirefoxTab() *firefoxTab { return &firefoxTab{byID: make(map[string]*firefoxRequest)} }

func openFirefox(ctx context.Context, o Options, by *proxy) (t *firefoxTab, agent string, err error) {
	t = newFirefoxTab()
	settings := preferences + by.preferences()
	if !o.Cache {
		settings += uncached
	}
	listening := make(chan string, 1)
	t.process, err = launch(ctx, program{
		names: firefoxes, packet: "firefox-esr", files: map[string]string{"user.js": settings},
		arguments: firefoxArguments,
		heard: func(line string) {
			if address, found := strings.CutPrefix(line, "WebDriver BiDi listening on "); found {
				select {
				case listening <- address:
				default:
				}
			}
		},
	})
	if err != nil {
		return nil, "", err
	}
	select {
	case address := <-listening:
		agent, err = t.open(ctx, address, o)
	case <-t.process.ended:
		err = errors.New("the browser ended")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		t.close()
		return nil, "", t.failed(err)
	}
	return t, agent, nil
}

func firefoxArguments(home string) []string {
	return []string{
		"--headless", "--no-remote", "--profile", home, "--remote-debugging-port", "0",
		fmt.Sprintf("--width=%d", Width), fmt.Sprintf("--height=%d", Height), "about:blank",
	}
}

// open finds the tab that the browser has, and makes it tell what it does.
func (t *firefoxTab) open(ctx context.Context, address string, o Options) (agent string, err error) {
	conn, _, err := websocket.Dial(ctx, address+"/session", nil)
	if err != nil {
		return "", err
	}
	conn.SetReadLimit(maxMessage)
	t.session = converse(socket{conn}, t.event)
	go t.listen(ctx)
	var made struct {
		Capabilities struct{ BrowserName, BrowserVersion string }
	}
	wanted := map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": o.Insecure}}
	if err := t.call(ctx, "session.new", map[string]any{"capabilities": wanted}, &made); err != nil {
		return "", err
	}
	var tree struct{ Contexts []struct{ Context string } }
	if err := t.call(ctx, "browsingContext.getTree", struct{}{}, &tree); err != nil {
		return "", err
	}
	if len(tree.Contexts) == 0 {
		return "", errors.New("no tab")
	}
	t.context = tree.Contexts[0].Context
	for method, params := range map[string]any{
		"session.subscribe":           map[string]any{"events": []string{"network.beforeRequestSent", "network.responseCompleted", "network.fetchError"}},
		"script.addPreloadScript":     map[string]any{"functionDeclaration": "() => { " + prepare + " }", "sandbox": world},
		"browsingContext.setViewport": map[string]any{"context": t.context, "viewport": map[string]int{"width": Width, "height": Height}},
	} {
		if err := t.call(ctx, method, params, new(json.RawMessage)); err != nil {
			return "", err
		}
	}
	name := made.Capabilities.BrowserName
	return strings.ToUpper(name[:min(1, len(name))]) + name[min(1, len(name)):] + " " + made.Capabilities.BrowserVersion, nil
}

func (t *firefoxTab) navigate(ctx context.Context, u *url.URL) error {
	return t.call(ctx, "browsingContext.navigate", map[string]any{"context": t.context, "url": u.String(), "wait": "complete"}, new(json.RawMessage))
}

func (t *firefoxTab) forget(ctx context.Context) error {
	if err := t.navigate(ctx, &url.URL{Scheme: "about", Opaque: "blank"}); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests, t.byID = nil, make(map[string]*firefoxRequest)
	return nil
}

func (t *firefoxTab) evaluate(ctx context.Context, expression string) (string, error) {
	var answer struct {
		Type   string
		Result struct{ Value string }

		ExceptionDetails struct{ Text string }
	}
	err := t.call(ctx, "script.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "target": map[string]any{"context": t.context, "sandbox": world},
	}, &answer)
	if err == nil && answer.Type != "success" {
		err = fmt.Errorf("the script failed: %s", answer.ExceptionDetails.Text)
	}
	return answer.Result.Value, err
}

func (t *firefoxTab) picture(ctx context.Context) (*Snapshot, error) {
	var taken struct{ Data []byte }
	err := t.call(ctx, "browsingContext.captureScreenshot", map[string]any{
		"context": t.context, "format": map[string]any{"type": "image/jpeg", "quality": 0.6},
	}, &taken)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Type: "image/jpeg", Data: taken.Data}, nil
}

func (t *firefoxTab) close() {
	t.process.close()
	if t.session != nil {
		t.session.wire.(socket).CloseNow()
		<-t.session.ended
	}
}

// firefoxEvent is what the events of the network say.
type firefoxEvent struct {
	RedirectCount int
	ErrorText     string
	Timestamp     float64 // milliseconds since the epoch
	Request       struct {
		Request       string // its id, also after a redirect
		URL           string
		InitiatorType string
		Timings       firefoxTimings
	}
	Response struct {
		Protocol, MimeType string

		Status        int
		BytesReceived int64
		BodySize      int64
		Content       struct{ Size int64 }
	}
}

// event takes what the tab tells.
func (t *firefoxTab) event(method string, params json.RawMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	note(params, func(e firefoxEvent) {
		if !strings.HasPrefix(e.Request.URL, "http") {
			return
		}
		r := t.byID[e.Request.Request]
		if r == nil {
			if len(t.requests) == maxSeen {
				return
			}
			r = new(firefoxRequest)
			r.URL, r.Initiator = withoutFragment(e.Request.URL), cmp.Or(e.Request.InitiatorType, "other")
			t.byID[e.Request.Request] = r
			t.requests = append(t.requests, r)
		}
		r.timings = e.Request.Timings
		switch method {
		case "network.responseCompleted":
			r.Status, r.Type, r.Protocol = e.Response.Status, e.Response.MimeType, e.Response.Protocol
			r.TransferSize, r.EncodedSize, r.DecodedSize = e.Response.BytesReceived, e.Response.BodySize, e.Response.Content.Size
		case "network.fetchError":
			r.Err, r.ended = cmp.Or(e.ErrorText, "failed"), time.Duration(e.Timestamp*float64(time.Millisecond))
		}
	})
}

// seen is the requests, the document's first.
func (t *firefoxTab) seen() ([]Resource, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.requests) == 0 {
		return nil, time.Time{}
	}
	first := t.requests[0].timings
	begin := first.TimeOrigin + cmp.Or(first.RedirectStart, first.RequestTime)
	var all []Resource
	for _, r := range t.requests {
		all = append(all, r.resource(begin))
	}
	return all, time.UnixMicro(int64(begin * 1000))
}

func (r *firefoxRequest) resource(begin float64) Resource {
	t := r.timings
	since := func(ms float64) time.Duration {
		if ms == 0 {
			return 0
		}
		return after(t.TimeOrigin + ms - begin)
	}
	found := r.Resource
	found.Start, found.RedirectStart, found.RedirectEnd, found.Fetch = since(cmp.Or(t.RedirectStart, t.FetchStart, t.RequestTime)), since(t.RedirectStart), since(t.RedirectEnd), since(t.FetchStart)
	found.LookupStart, found.LookupEnd = since(t.DNSStart), since(t.DNSEnd)
	found.ConnectStart, found.SecureStart, found.ConnectEnd = since(t.ConnectStart), since(t.TLSStart), since(t.ConnectEnd)
	found.RequestStart, found.ResponseStart, found.ResponseEnd = since(t.RequestStart), since(t.ResponseStart), since(t.ResponseEnd)
	if found.ResponseEnd == 0 && r.ended > 0 {
		found.ResponseEnd = after(float64(r.ended)/float64(time.Millisecond) - begin)
	}
	return found
}

// socket carries messages by WebSocket.
type socket struct{ *websocket.Conn }

func (s socket) read(ctx context.Context) ([]byte, error) {
	_, message, err := s.Read(ctx)
	return message, err
}

// write has no context of its own: the library hangs up when one ends.
func (s socket) write(message []byte) error {
	return s.Write(context.Background(), websocket.MessageText, message)
}

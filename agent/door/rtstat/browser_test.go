package rtstat

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/sysinfo"
)

// hostile is what a stranger calls things, in the hope that a page believes it.
const hostile = `"><img src=x onerror="window.fooled=1"><script>window.fooled=1</script>`

// echoParams and echoData are a probe that answers with what it was asked.
type echoParams struct{ operation string }

func (p *echoParams) Flags(f *command.Flags) { f.Text(&p.operation, "operation", "", "what to do") }

type echoData struct {
	Destination string  `json:"destination"`
	Sent        int     `json:"packet_send"`
	Avg         float64 `json:"avg_time"`
}

func (d *echoData) WriteText(w io.Writer) { fmt.Fprintln(w, d.Destination) }

type said string

func (s said) String() string { return string(s) }

// echo is that probe, under the name of ping.
func echo() command.Definition {
	return command.Define[echoParams, *echoParams](command.Info{Name: "ping"}, func() echoParams { return echoParams{} },
		func(ctx context.Context, destination string, _ echoParams) (*echoData, error) {
			command.Progress(ctx, said("an answer from "+destination+" "+hostile))
			return &echoData{destination, 1, 1.5}, nil
		})
}

// tab is a page in a Chromium, which ends with the test.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func browser(t *testing.T) tab {
	t.Helper()
	must := strings.Contains(os.Getenv("NATRIX_MUST"), "chromium")
	if testing.Short() && !must {
		t.Skip("-short")
	}
	if _, err := exec.LookPath("chromium"); err != nil {
		if must {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return tab{t, ctx}
}

// does what a person would.
func (b tab) does(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// waits until an expression of the page is true.
func (b tab) waits(what, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); !sees[bool](b, "!!("+expression+")"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within a minute; the page says %q", what, sees[string](b, "document.body.innerText"))
		}
	}
}

// sees is the value of an expression of the page.
func sees[T any](b tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// stateIs is whether the page says this about its connection.
func stateIs(state string) string {
	return `document.querySelector('.terminal')?.dataset.state === '` + state + `'`
}

func TestPageInABrowser(t *testing.T) {
	b := browser(t)
	d := open(t, config.Live{Token: "secret", Clients: 10, Commands: []string{"ping"}}, echo())
	d.Recent.Add(command.Result{
		Command: command.Command{Name: "ping", Destination: hostile, Link: hostile}, Data: &echoData{hostile, 1, 2}, Sent: time.Now(), Answered: time.Now(),
	})
	d.Recent.Add(command.Fail(command.Command{Name: hostile, Destination: "192.0.2.1"}, command.ErrTimeout))

	b.does("open", chromedp.Navigate("http://"+d.page+"/?lang=en"))
	b.waits("to be asked for the token", `document.querySelector('form.token')?.hidden === false`)
	b.does("a wrong token", chromedp.SendKeys("form.token input", "wrong\n"))
	b.waits("to be told", `document.querySelector('form.token').innerText.includes('not the token')`)
	b.does("the right one", chromedp.SendKeys("form.token input", "secret\n"))
	b.waits("life", stateIs("live"))
	b.does("again", chromedp.Reload())
	b.waits("life again", stateIs("live"))
	if took := sees[float64](b, "performance.now()"); took > 20000 {
		t.Errorf("live after %.0f ms", took)
	} else {
		t.Logf("live %.0f ms after the page was asked for", took)
	}
	if got := sees[int](b, `[...document.querySelectorAll('.bar')].filter((b) => /^cpu[0-9]/.test(b.textContent)).length`); got != processors(t) {
		t.Errorf("got %d processors, want %d", got, processors(t))
	}
	if got, want := sees[string](b, `[...document.querySelectorAll('.bar')].map((b) => b.title).join('')`), memoryOf(t); !strings.HasSuffix(got, want) {
		t.Errorf("memory: got %q, want %s in all", got, want)
	}

	b.waits("a place to run probes", `document.querySelector('form.run')?.offsetParent`)
	b.does("run a probe", chromedp.SendKeys("form.run input", "host.example.com\n"))
	b.waits("its result", `document.querySelector('pre').textContent.includes('"status": 0')`)
	if got := sees[string](b, `document.querySelector('pre').textContent`); !strings.Contains(got, "an answer from host.example.com "+hostile) {
		t.Errorf("the probe said %q", got)
	}
	if got := sees[string](b, `[...document.querySelectorAll('form.run button')].filter((b) => !b.hidden).map((b) => b.textContent).join()`); got != "Run,Copy JSON" {
		t.Errorf("buttons: got %q", got)
	}
	if !sees[bool](b, `document.querySelector('main').textContent.includes('<img src=x')`) {
		t.Error("what the stranger said is not there to be seen")
	}
	if sees[bool](b, `!!window.fooled || document.querySelectorAll('main img, main script').length > 0`) {
		t.Error("what a stranger said became part of the page")
	}

	d.cut()
	b.waits("the loss of the connection to be told", stateIs("gone"))
	b.waits("it to come back", stateIs("live"))
	b.does("pause", chromedp.Click("#pause"))
	b.waits("a pause", stateIs("pause"))
	b.does("Chinese", chromedp.Evaluate[chromedp.Void](`document.querySelector('#language').value = 'zh'; document.querySelector('#language').dispatchEvent(new Event('change'))`))
	b.waits("Chinese", `document.querySelector('main').textContent.includes('处理器')`)
	b.does("a telephone", chromedp.EmulateViewport(360, 740))
	if wide := sees[int](b, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("on a telephone the page is %d pixels wide", wide)
	}
}

// memoryOf is how the page writes the size of the memory.
func memoryOf(t *testing.T) string {
	t.Helper()
	m, err := sysinfo.Machine{}.Memory()
	if err != nil {
		t.Fatal(err)
	}
	size := float64(m.Total) / (1 << 30)
	if size >= 10 {
		return fmt.Sprintf("%.0f GiB", size)
	}
	return fmt.Sprintf("%.1f GiB", size)
}

func processors(t *testing.T) int {
	t.Helper()
	stat, err := sysinfo.Machine{}.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return len(stat.Cores)
}

func TestPageWeighsLittleAndLoadsNothingFromElsewhere(t *testing.T) {
	var size int64
	err := fs.WalkDir(web, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := fs.ReadFile(web, name)
		size += int64(len(body))
		if ext := filepath.Ext(name); ext != ".svg" && (strings.Contains(string(body), "http://") || strings.Contains(string(body), "https://")) {
			t.Errorf("%s refers to elsewhere", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 300<<10 || size < 10<<10 {
		t.Errorf("the page weighs %d bytes, want less than 300 KiB, and all of it", size)
	}
}

func TestDashboardNamesOurMetrics(t *testing.T) {
	body, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(body) {
		t.Error("the dashboard is not JSON")
	}
	names := regexp.MustCompile(`natrix_[a-z0-9_]+`).FindAllString(string(body), -1)
	for _, name := range names {
		if !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("the dashboard shows %s, which there is not", name)
		}
	}
	if len(names) < 8 {
		t.Errorf("the dashboard shows %d metrics", len(names))
	}
}

func FuzzModules(f *testing.F) {
	f.Add([]byte("modules:\n  a:\n    prober: http\n    timeout: 5s\n    http:\n      valid_status_codes: [200, 404]\n      method: POST\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		modules, err := parseModules("blackbox.yml", body)
		for name, m := range modules {
			if err == nil && m.Prober == "" {
				t.Errorf("module %q has no prober", name)
			}
		}
	})
}

package contract

import (
	"os"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/probe/page"
)

// The agent starts browsers although it gave up what it does not need.
func (l *lab) browsers(t *testing.T) {
	installed := strings.Join(page.Installed(), " ")
	s := l.running(t)
	for browser, program := range map[string]string{"chrome": "chrom", "firefox": "firefox"} {
		if !strings.Contains(installed, program) {
			if must := os.Getenv("NATRIX_MUST"); strings.Contains(must, program) {
				t.Errorf("%s is not installed", browser)
			}
			continue
		}
		got := s.ask("performance", "http://www.site.test/", map[string]any{"browser": browser, "timeout": 30})
		var data struct {
			Timing struct{ NavigationStart, LoadEventEnd float64 }
		}
		got.into(t, &data)
		if data.Timing.NavigationStart == 0 || data.Timing.LoadEventEnd <= data.Timing.NavigationStart {
			t.Errorf("%s: got %s", browser, got.Data)
		}
	}
}

package report

import (
	"context"

	"github.com/natrix-os/natrix/sysinfo"
)

// Programs are the versions of what a server asks after because its own
// terminals need it: "" for what is not installed.
type Programs struct {
	Python, Python2, Python3 string // Python is the newest there is
	Desktop                  string
	Selenium                 string
	Chrome, ChromeDriver     string
	Firefox, FirefoxDriver   string

	ChromeDriverPath, FirefoxDriverPath string
}

func (r *Reporter) addPrograms(_ context.Context, a *Advance) error {
	a.Programs = programs(r.config.Machine)
	return nil
}

// programs finds them among the packages of a Debian machine: an appliance has
// none, and to run programs for the sake of a report is not worth it.
func programs(m sysinfo.Machine) Programs {
	packages, _ := m.Packages() // a machine without them has no programs
	first := func(names ...string) string {
		for _, name := range names {
			if version := packages[name]; version != "" {
				return version
			}
		}
		return ""
	}
	path := func(paths ...string) string {
		for _, p := range paths {
			if m.Has(p) {
				return p
			}
		}
		return ""
	}
	return Programs{
		Python:            first("python3", "python2", "python2.7", "python"),
		Python2:           first("python2", "python2.7", "python"),
		Python3:           first("python3"),
		Desktop:           first("gnome-shell", "plasma-workspace", "xfce4-session", "lxsession", "lxqt-session", "mate-session-manager"),
		Selenium:          first("python3-selenium", "python-selenium"),
		Chrome:            first("chromium", "google-chrome-stable", "chromium-browser"),
		ChromeDriver:      first("chromium-driver", "chromium-chromedriver"),
		Firefox:           first("firefox-esr", "firefox"),
		FirefoxDriver:     first("firefox-esr-geckodriver", "firefox-geckodriver"),
		ChromeDriverPath:  path("/usr/bin/chromedriver", "/usr/local/bin/chromedriver"),
		FirefoxDriverPath: path("/usr/bin/geckodriver", "/usr/local/bin/geckodriver"),
	}
}

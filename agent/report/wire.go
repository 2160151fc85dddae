package report

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// unknown fills fields that a server wants non-blank. none stands for the
// version of a program that is not installed.
const (
	unknown = "UNKNOWN"
	none    = "0"
)

type wireBasic struct {
	System    wireClient             `json:"system"`
	Hardware  wireBasicHardware      `json:"hardware"`
	Networks  map[string]wireNetwork `json:"networks"`
	Heartbeat float64                `json:"heartbeat"` // s since 1970
}

type wireClient struct {
	Version string `json:"natrixclient_version"`
}

type wireBasicHardware struct {
	Serial   string  `json:"sn"`
	Hostname string  `json:"hostname"`
	CPU      float64 `json:"cpu_percent"`
	Memory   float64 `json:"memory_percent"`
	Disk     float64 `json:"disk_percent"`
}

type wireAdvance struct {
	System    *wireSystem            `json:"system,omitempty"`
	Hardware  *wireHardware          `json:"hardware,omitempty"`
	Networks  map[string]wireNetwork `json:"networks,omitzero"`
	Heartbeat float64                `json:"heartbeat"`
}

type wireSystem struct {
	Operating wireOperating `json:"operating"`
	Client    wireClient    `json:"natrixclient"`
}

// wireOperating has browsers and the like, of which a server wants to hear
// even where there are none.
type wireOperating struct {
	Type             string `json:"type"`
	Series           string `json:"series"`
	Name             string `json:"name"`
	Codename         string `json:"codename"`
	Major            string `json:"major_version"`
	Minor            string `json:"minor_version"`
	Kernel           string `json:"kernel_version"`
	Architecture     string `json:"architecture"`
	Platform         string `json:"platform"`
	Python           string `json:"python_version"`
	Desktop          string `json:"desktop_version"`
	Selenium         string `json:"selenium_version"`
	Chrome           string `json:"chrome_version"`
	ChromeDriverPath string `json:"chrome_webdriver_path"`
	ChromeDriver     string `json:"chrome_webdriver_version"`
	Firefox          string `json:"firefox_version"`
	FirefoxPath      string `json:"firefox_webdriver_path"`
	FirefoxDriver    string `json:"firefox_webdriver_version"`

	Python2 string `json:"python2_version,omitempty"`
	Python3 string `json:"python3_version,omitempty"`
}

type wireHardware struct {
	Serial   string     `json:"sn"`
	Hostname string     `json:"hostname"`
	Product  string     `json:"product"`
	Boot     int64      `json:"boot_time"` // s since 1970
	CPU      wireCPU    `json:"cpu_info"`
	Memory   wireMemory `json:"memory_info"`
	Disk     wireDisk   `json:"disk_info"`
}

type wireCPU struct {
	Model   string  `json:"cpu_model"`
	Cores   int     `json:"cpu_core"`
	Percent float64 `json:"cpu_percent"`
}

type wireMemory struct {
	Total   uint64  `json:"memory_total"` // bytes
	Used    uint64  `json:"memory_used"`
	Percent float64 `json:"memory_percent"`
}

type wireDisk struct {
	Percent float64 `json:"disk_percent"`
}

// wireNetwork has null, never "", where there is no address.
type wireNetwork struct {
	Type           netif.Kind         `json:"type"`
	Name           string             `json:"name"`
	MAC            string             `json:"macaddress"`
	Local          *netip.Addr        `json:"local_ip"`
	LocalLocation  *location.Location `json:"local_location"`
	Netmask        *netip.Addr        `json:"netmask"`
	Broadcast      *netip.Addr        `json:"broadcast"`
	Default        bool               `json:"is_default"`
	Gateway        *netip.Addr        `json:"gateway"`
	Public         *netip.Addr        `json:"public_ip"`
	PublicLocation *location.Location `json:"public_location"`
	Intranet       bool               `json:"access_intranet"`
	Corporate      bool               `json:"access_corporate"`
	Internet       bool               `json:"access_internet"`
}

// MarshalJSON writes the report as a server reads it.
func (b Basic) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireBasic{
		System: b.client(),
		Hardware: wireBasicHardware{
			Serial:   text(b.Serial, 64),
			Hostname: text(b.Hostname, 64),
			CPU:      b.cpuPercent(),
			Memory:   b.memory().Percent,
			Disk:     b.diskPercent(),
		},
		Networks:  b.networks(),
		Heartbeat: seconds(b.Time),
	})
}

// MarshalJSON writes the report as a server reads it.
func (a Advance) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireAdvance{System: a.system(), Hardware: a.hardware(), Networks: a.networks(), Heartbeat: seconds(a.Time)})
}

// MarshalJSON writes the part and the heartbeat.
func (p Part) MarshalJSON() ([]byte, error) {
	w := wireAdvance{Heartbeat: seconds(p.Report.Time)}
	switch p.Name {
	case "system":
		w.System = p.Report.system()
	case "hardware":
		w.Hardware = p.Report.hardware()
	default:
		w.Networks = p.Report.networks()
	}
	return json.Marshal(w)
}

func (b Basic) client() wireClient { return wireClient{Version: text(b.Version, 16)} }

func (a Advance) system() *wireSystem {
	s, p := a.System, a.Programs
	minor := s.Minor()
	if minor == "" {
		minor = none
	}
	return &wireSystem{
		Operating: wireOperating{
			Type:          text(s.Type, 64),
			Series:        text(s.Like, 64),
			Name:          text(s.Name, 64),
			Codename:      text(s.Codename, 64),
			Major:         text(s.Major(), 64),
			Minor:         text(minor, 64),
			Kernel:        text(s.Kernel, 64),
			Architecture:  fmt.Sprintf("%dbit", s.Bits),
			Platform:      text(platform(a), 128),
			Desktop:       text(p.Desktop, 128),
			Python:        version(p.Python),
			Python2:       p.Python2,
			Python3:       p.Python3,
			Selenium:      version(p.Selenium),
			Chrome:        version(p.Chrome),
			ChromeDriver:  version(p.ChromeDriver),
			Firefox:       version(p.Firefox),
			FirefoxDriver: version(p.FirefoxDriver),

			ChromeDriverPath: p.ChromeDriverPath,
			FirefoxPath:      p.FirefoxDriverPath,
		},
		Client: a.client(),
	}
}

// version is that of a program, which may not be there.
func version(s string) string {
	if s == "" {
		return none
	}
	return text(s, 128)
}

// platform is one line for all, "Linux-4.14.98-v7+-armv7l-with-debian-9".
func platform(a Advance) string {
	s := a.System
	words := []string{s.Type, s.Kernel, s.Arch}
	if s.Like != "" {
		words = append(words, "with", s.Like, s.Version)
	}
	return strings.Trim(strings.Join(words, "-"), "-")
}

func (a Advance) hardware() *wireHardware {
	return &wireHardware{
		Serial:   text(a.Serial, 64),
		Hostname: text(a.Hostname, 64),
		Product:  text(a.Identity.Product, 128),
		Boot:     max(0, a.Sample.Stat.Boot.Unix()), // the zero time is before 1970
		CPU:      wireCPU{Model: text(a.CPU.Model, 128), Cores: a.CPU.Cores, Percent: a.cpuPercent()},
		Memory:   a.memory(),
		Disk:     wireDisk{Percent: a.diskPercent()},
	}
}

func (b Basic) memory() wireMemory {
	m := b.Sample.Memory
	w := wireMemory{Total: m.Total, Used: m.Used()}
	if m.Total > 0 {
		w.Percent = round(100*float64(w.Used)/float64(m.Total), 2)
	}
	return w
}

func (b Basic) cpuPercent() float64  { return round(100*b.Sample.Usage.Busy, 1) }
func (b Basic) diskPercent() float64 { return round(100*b.Sample.Root.Share(), 1) }

// networks is never nil: a server wants an object even of a machine without links.
func (b Basic) networks() map[string]wireNetwork {
	w := make(map[string]wireNetwork, len(b.Networks))
	for _, n := range b.Networks {
		w[n.Link.Name] = n.wire()
	}
	return w
}

func (n Network) wire() wireNetwork {
	w := wireNetwork{
		Type:      n.Link.Kind,
		Name:      n.Link.Name,
		MAC:       n.Link.Terminal(),
		Local:     addr(n.Local.Addr()),
		Default:   n.Default,
		Gateway:   addr(n.Gateway),
		Public:    addr(n.Public),
		Intranet:  n.Intranet,
		Corporate: n.Corporate,
		Internet:  n.Internet,
	}
	if w.Local != nil {
		w.Netmask, w.Broadcast = addr(netmask(n.Local)), addr(broadcast(n.Local))
		w.LocalLocation = &n.LocalLocation
	}
	if w.Public != nil {
		w.PublicLocation = &n.PublicLocation
	}
	return w
}

// addr is nil, for null, instead of a zero address. A zone means nothing elsewhere.
func addr(a netip.Addr) *netip.Addr {
	if !a.IsValid() {
		return nil
	}
	a = a.WithZone("")
	return &a
}

// text makes s fit for a field of so many characters that must not be blank.
func text(s string, most int) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, ""))
	if s == "" {
		return unknown
	}
	if utf8.RuneCountInString(s) > most {
		s = strings.TrimSpace(string([]rune(s)[:most]))
	}
	return s
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func round(f float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(f*p) / p
}

package rtstat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"go.yaml.in/yaml/v3"
)

// modules are the ways to probe that a scrape may name, as blackbox_exporter
// has them in its blackbox.yml. Settings that mean nothing here are not looked
// at.
type modules struct {
	Modules map[string]module `yaml:"modules"`
}

type module struct {
	Prober  string        `yaml:"prober"` // icmp, http, dns or tcp
	Timeout time.Duration `yaml:"timeout"`
	HTTP    struct {
		Method   string            `yaml:"method"`
		Statuses []int             `yaml:"valid_status_codes"`
		Headers  map[string]string `yaml:"headers"`
		Body     string            `yaml:"body"`
		Follow   *bool             `yaml:"follow_redirects"`
		TLS      struct {
			Insecure bool `yaml:"insecure_skip_verify"`
		} `yaml:"tls_config"`
	} `yaml:"http"`
	DNS struct {
		Name   string   `yaml:"query_name"`
		Type   string   `yaml:"query_type"`
		Rcodes []string `yaml:"valid_rcodes"`
	} `yaml:"dns"`
}

// scrapeMost is how long a probe takes when nobody says how long.
const scrapeMost = 120 * time.Second

// readModules reads a file of modules; "" is those that the exporter comes with.
func readModules(file string) (map[string]module, error) {
	if file == "" {
		return map[string]module{
			"icmp": {Prober: "icmp"}, "http_2xx": {Prober: "http"}, "tcp_connect": {Prober: "tcp"}, "dns": {Prober: "dns"},
		}, nil
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read modules: %w", err)
	}
	return parseModules(file, body)
}

func parseModules(file string, body []byte) (map[string]module, error) {
	var m modules
	if err := yaml.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for name, it := range m.Modules {
		if !slices.Contains([]string{"icmp", "http", "dns", "tcp"}, it.Prober) {
			return nil, fmt.Errorf("%s: module %s: prober %q is not icmp, http, dns or tcp", file, name, it.Prober)
		}
	}
	return m.Modules, nil
}

// blackbox answers a scrape of a target, as the exporter does. With no module
// named it is http_2xx.
func (s *Server) blackbox(w http.ResponseWriter, r *http.Request) {
	target, name := r.FormValue("target"), r.FormValue("module")
	if name == "" {
		name = "http_2xx"
	}
	m, known := s.modules[name]
	if !known {
		http.Error(w, fmt.Sprintf("unknown module %q", name), http.StatusBadRequest)
		return
	}
	if target == "" {
		http.Error(w, "target parameter is missing", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), m.within(r))
	defer cancel()
	var e exposition
	begin := time.Now()
	err := s.examine(ctx, m, target, &e)
	e.add("probe_duration_seconds", "gauge", "Returns how long the probe took to complete in seconds", time.Since(begin).Seconds())
	e.add("probe_success", "gauge", "Displays whether or not the probe was a success", truth(err == nil))
	if err != nil {
		s.Log.Debug("probe", "module", name, "dst", command.Command{Destination: target}.Target(), "err", err)
	}
	e.send(w)
}

// within is the time that a module has: half a second less than Prometheus
// waits, as the exporter does it.
func (m module) within(r *http.Request) time.Duration {
	d := scrapeMost
	if seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64); err == nil && seconds > 0.5 && seconds < d.Seconds() {
		d = time.Duration((seconds - 0.5) * float64(time.Second))
	}
	if m.Timeout > 0 {
		d = min(d, m.Timeout)
	}
	return d
}

// examine probes a target and writes what it learned. The error says why the
// target is not well.
func (s *Server) examine(ctx context.Context, m module, target string, e *exposition) error {
	switch m.Prober {
	case "icmp":
		return s.examineICMP(ctx, target, e)
	case "http":
		return s.examineHTTP(ctx, m, target, e)
	case "dns":
		return s.examineDNS(ctx, m, target, e)
	default:
		return connect(ctx, target)
	}
}

// ask has the core run a command, and reads its document.
func (s *Server) ask(ctx context.Context, name, destination string, params map[string]string, document any) error {
	deadline, _ := ctx.Deadline()
	if _, set := params["timeout"]; !set {
		params["timeout"] = strconv.FormatFloat(max(time.Until(deadline).Seconds(), 0.1), 'f', 3, 64)
	}
	r := s.Core.Execute(ctx, command.Command{Name: name, Destination: destination, Params: params, Received: time.Now()})
	s.Recent.Add(r)
	if r.Err != nil {
		return r.Err
	}
	body, err := json.Marshal(r.Data)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, document)
}

func (s *Server) examineICMP(ctx context.Context, target string, e *exposition) error {
	var answer struct {
		Received int     `json:"packet_receive"`
		Avg      float64 `json:"avg_time"`
		TTL      int     `json:"ttl"`
	}
	if err := s.ask(ctx, "ping", target, map[string]string{"count": "1"}, &answer); err != nil {
		return err
	}
	if answer.Received == 0 {
		return command.ErrTimeout
	}
	e.add("probe_icmp_duration_seconds", "gauge", "Duration of icmp request by phase", answer.Avg/1000, "phase", "rtt")
	e.add("probe_icmp_reply_hop_limit", "gauge", "Replied packet hop limit (TTL for ipv4)", float64(answer.TTL))
	return nil
}

func (s *Server) examineHTTP(ctx context.Context, m module, target string, e *exposition) error {
	params := map[string]string{"operation": "get", "insecure": strconv.FormatBool(m.HTTP.TLS.Insecure)}
	if m.HTTP.Method != "" {
		params["operation"] = strings.ToLower(m.HTTP.Method)
	}
	if m.HTTP.Follow != nil {
		params["allow_redirects"] = strconv.FormatBool(*m.HTTP.Follow)
	}
	if m.HTTP.Body != "" {
		params["http_body"] = m.HTTP.Body
	}
	if len(m.HTTP.Headers) > 0 {
		headers, err := json.Marshal(m.HTTP.Headers)
		if err != nil {
			return err
		}
		params["http_header"] = string(headers)
	}
	var answer struct {
		measured
		Status    int    `json:"status_code"`
		Redirects int    `json:"redirect_count"`
		Download  int64  `json:"size_download"`
		Version   string `json:"http_version"`
		TLS       *struct {
			Chain []struct {
				NotAfter time.Time `json:"not_after"`
			} `json:"chain"`
		} `json:"tls"`
	}
	if err := s.ask(ctx, "http", target, params, &answer); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		ms   float64
	}{{"resolve", answer.Lookup}, {"connect", answer.Connect}, {"tls", answer.measured.TLS}, {"processing", answer.Request + answer.Response}, {"transfer", answer.Transfer}} {
		e.add("probe_http_duration_seconds", "gauge", "Duration of http request by phase, summed over all redirects", phase.ms/1000, "phase", phase.name)
	}
	e.add("probe_http_status_code", "gauge", "Response HTTP status code", float64(answer.Status))
	e.add("probe_http_redirects", "gauge", "The number of redirects", float64(answer.Redirects))
	e.add("probe_http_content_length", "gauge", "Length of http content response", float64(answer.Download))
	e.add("probe_http_ssl", "gauge", "Indicates if SSL was used for the final redirect", truth(answer.TLS != nil))
	if answer.TLS != nil && len(answer.TLS.Chain) > 0 {
		first := answer.TLS.Chain[0].NotAfter
		for _, c := range answer.TLS.Chain {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		e.add("probe_ssl_earliest_cert_expiry", "gauge", "Returns last SSL chain expiry in unixtime", float64(first.Unix()))
	}
	wanted := slices.Contains(m.HTTP.Statuses, answer.Status)
	if len(m.HTTP.Statuses) == 0 {
		wanted = answer.Status/100 == 2
	}
	if !wanted {
		return fmt.Errorf("status %d", answer.Status)
	}
	return nil
}

// examineDNS asks the target, which is a name server, for the name of the module.
func (s *Server) examineDNS(ctx context.Context, m module, target string, e *exposition) error {
	name, kind := m.DNS.Name, m.DNS.Type
	if name == "" {
		name = "."
	}
	if kind == "" {
		kind = "ANY"
	}
	if m.DNS.Name == "" && m.DNS.Type == "" {
		kind = "NS"
	}
	var answer struct {
		Time      float64           `json:"ptime"`
		Rcode     string            `json:"rcode"`
		Answers   []json.RawMessage `json:"answers"`
		Authority []json.RawMessage `json:"authority"`
	}
	if err := s.ask(ctx, "dns", name, map[string]string{"server": target, "method": kind}, &answer); err != nil {
		return err
	}
	e.add("probe_dns_lookup_time_seconds", "gauge", "Returns the time taken for probe dns lookup in seconds", answer.Time/1000)
	e.add("probe_dns_answer_rrs", "gauge", "Returns number of entries in the answer resource record list", float64(len(answer.Answers)))
	e.add("probe_dns_authority_rrs", "gauge", "Returns number of entries in the authority resource record list", float64(len(answer.Authority)))
	rcodes := m.DNS.Rcodes
	if len(rcodes) == 0 {
		rcodes = []string{"NOERROR"}
	}
	if answer.Rcode != "" && !slices.Contains(rcodes, answer.Rcode) {
		return errors.New(answer.Rcode)
	}
	return nil
}

// connect opens a connection and no more: the core has no probe for that.
func connect(ctx context.Context, target string) error {
	c, err := netif.Dialer("", sender("")).DialContext(ctx, "tcp", target)
	if err != nil {
		return err
	}
	return c.Close()
}

// Package server judges messages as a Natrix server does, for tests: what it
// refuses is lost there without a trace here. The rules are those of the
// servers of 2019 that speak AMQP, where they differ the strictest, and
// include what only their database refuses.
package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Response judges the response to a command of that protocol: ping,
// traceroute, dns or http. The error names every field that is wrong.
func Response(protocol string, body []byte) error {
	data, ok := protocols[protocol]
	if !ok {
		return fmt.Errorf("no rules for protocol %q", protocol)
	}
	message, err := decode(body)
	if err != nil {
		return err
	}
	if o, _ := message.(map[string]any); o["status"] == json.Number("1") {
		data = failure
	}
	return object{"command": command, "status": status, "data": data, "stamp": stamp}.judge("message", message)
}

// Basic judges a basic report.
func Basic(body []byte) error { return judge(basic, body) }

// Advance judges an advance report.
func Advance(body []byte) error { return judge(advance, body) }

func judge(r rule, body []byte) error {
	message, err := decode(body)
	if err != nil {
		return err
	}
	return r.judge("message", message)
}

// decode keeps numbers as they are written, because 12 and "12" and 12.5 differ.
func decode(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("decode message: more than one value")
	}
	return v, nil
}

// The shapes of a response.
var (
	command = object{"uuid": uuid, "terminal": text(64)}

	stamp = object{
		"server_request_generate_time":   atLeast(0, decimal),
		"terminal_request_receive_time":  atLeast(0, decimal),
		"terminal_request_send_time":     atLeast(0, decimal),
		"terminal_response_receive_time": null{atLeast(0, decimal)},
		"terminal_response_return_time":  null{atLeast(0, decimal)},
	}

	failure = object{"errorcode": integer, "errorinfo": text(0)}

	protocols = map[string]rule{
		"ping": object{
			"destination":          text(0),
			"destination_ip":       ip,
			"destination_location": absent{null{location}},
			"packet_send":          integer,
			"packet_receive":       integer,
			"packet_loss":          integer,
			"packet_size":          integer,
			"avg_time":             decimal,
			"max_time":             decimal,
			"min_time":             decimal,
		},
		"traceroute": list{object{
			"seq": atLeast(1, integer),
			"routes": list{object{
				"ip":             text(0),
				"hostname":       text(0),
				"location":       absent{null{location}},
				"response_times": decimal,
			}},
		}},
		"dns": object{
			"ips":         list{resolved},
			"destination": text(0),
			"ptime":       decimal,
			"dns_server":  resolved,
		},
		"http": object{
			"url":                address,
			"last_url":           address,
			"status_code":        integer,
			"redirect_count":     integer,
			"redirect_time":      decimal,
			"remote_ip":          ip,
			"remote_location":    location,
			"remote_port":        integer,
			"local_ip":           ip,
			"local_location":     location,
			"local_port":         integer,
			"total_time":         decimal,
			"period_nslookup":    decimal,
			"period_tcp_connect": decimal,
			"period_ssl_connect": decimal,
			"period_request":     decimal,
			"period_response":    decimal,
			"period_transfer":    decimal,
			"size_upload":        decimal,
			"size_download":      decimal,
			"speed_upload":       decimal,
			"speed_download":     decimal,
			"response_header":    absent{text(0)},
			"response_body":      absent{text(0)},
		},
	}

	resolved = object{"ip": ip, "location": absent{null{location}}}

	location = object{"country": text(0), "region": text(0), "province": text(0), "city": text(0), "isp": text(0)}
)

// The shapes of reports.
var (
	basic = object{
		"system": client,
		"hardware": object{
			"sn":             text(64),
			"hostname":       null{blank(64)},
			"cpu_percent":    atLeast(0, decimal),
			"memory_percent": atLeast(0, decimal),
			"disk_percent":   atLeast(0, decimal),
		},
		"networks":  networks,
		"heartbeat": heartbeat,
	}

	advance = object{
		"system": object{
			"operating": object{
				"type":                      text(64),
				"series":                    text(64),
				"name":                      text(64),
				"codename":                  text(64),
				"major_version":             text(64),
				"minor_version":             text(64),
				"kernel_version":            text(64),
				"architecture":              text(64),
				"platform":                  text(128),
				"python_version":            text(128),
				"desktop_version":           text(128),
				"selenium_version":          text(128),
				"chrome_version":            text(128),
				"chrome_webdriver_path":     null{blank(256)},
				"chrome_webdriver_version":  text(128),
				"firefox_version":           text(128),
				"firefox_webdriver_path":    null{blank(256)},
				"firefox_webdriver_version": text(128),
			},
			"natrixclient": client,
		},
		"hardware": object{
			"sn":          text(64),
			"hostname":    text(64),
			"product":     text(128),
			"boot_time":   atLeast(0, integer),
			"cpu_info":    object{"cpu_model": text(128), "cpu_core": integer, "cpu_percent": decimal},
			"memory_info": object{"memory_total": integer, "memory_used": integer, "memory_percent": atLeast(0, decimal)},
			"disk_info":   object{"disk_percent": atLeast(0, decimal)},
		},
		"networks":  networks,
		"heartbeat": heartbeat,
	}

	client = object{"natrixclient_version": text(16)}

	networks = each{distinct: "macaddress", rule: object{
		"type":             oneOf("wired", "wireless", "4G", "other"),
		"name":             text(32),
		"macaddress":       text(64),
		"local_ip":         null{ip},
		"local_location":   absent{null{location}},
		"netmask":          null{ip},
		"broadcast":        null{ip},
		"is_default":       boolean,
		"gateway":          null{ip},
		"public_ip":        null{ip},
		"public_location":  absent{null{location}},
		"access_intranet":  boolean,
		"access_corporate": boolean,
		"access_internet":  boolean,
	}}
)

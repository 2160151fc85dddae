package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/spf13/cobra"
)

// Schema is the command that prints the JSON schema of results: those of the
// set's commands, which come in the document around them, and those of pages,
// each by its name and a value of the type that it marshals to.
func Schema(set command.Set, pages map[string]any) *cobra.Command {
	names := slices.Sorted(maps.Keys(pages))
	for d := range set.All() {
		if d.Wire != nil {
			names = append(names, d.Name)
		}
	}
	cmd := &cobra.Command{
		Use:       "schema RESULT",
		Short:     "Print the JSON schema of a result: " + strings.Join(names, ", "),
		Long:      "Print the JSON schema (2020-12) of a result: what the command of that name prints with\n-o json, or what check and report print. Numbers say their unit.",
		Example:   "  natrix schema ping\n  natrix schema basic > basic.schema.json",
		ValidArgs: names,
		Args:      oneOf(names),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := schemaOf(set, pages, args[0])
		if err != nil {
			return err
		}
		body, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return fmt.Errorf("write schema: %w", err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", body)
		return err
	}
	return cmd
}

func schemaOf(set command.Set, pages map[string]any, name string) (*jsonschema.Schema, error) {
	if page, found := pages[name]; found {
		return titled(name, page)
	}
	d, found := set.Lookup(name)
	if !found || d.Wire == nil {
		return nil, fmt.Errorf("%s: %w", name, command.ErrUnsupported)
	}
	data, err := titled(name, d.Wire)
	if err != nil {
		return nil, err
	}
	return documented(data), nil
}

// titled is the schema of a value's type, with units and room for the keys of
// later versions.
func titled(name string, value any) (*jsonschema.Schema, error) {
	s, err := jsonschema.ForType(reflect.TypeOf(value), &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[netip.Addr](): {Type: "string", Description: "IP address, or empty"},
	}})
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
	}
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "natrix "+name
	annotate(s)
	return s, nil
}

// units are those of numbers, by the names of their keys; the first that
// matches counts.
var units = []struct {
	key  *regexp.Regexp
	unit string
}{
	{regexp.MustCompile(`^(boot_time|heartbeat)$`), "seconds since 1970"},
	{regexp.MustCompile(`_percent$|^Loss%$`), "percent"},
	{regexp.MustCompile(`^size_|_size$|Size$|^memory_(total|used)$|^mtu$`), "bytes"},
	{regexp.MustCompile(`^speed_`), "bytes per second"},
	{regexp.MustCompile(`^(period_.*|.*_times?|ptime|time|p[0-9]{2}|Last|Avg|Best|Wrst|StDev)$`), "milliseconds"},
	{regexp.MustCompile(`(Start|End|Paint|^dom[A-Z].*|^duration)$`), "milliseconds: since 1970 in timing, since navigationStart in resources; 0 for what did not happen"},
	{regexp.MustCompile(`(^|_)ttl$`), "seconds of a record, hops of a packet"},
}

// annotate gives each number its unit, and lets objects have further keys.
func annotate(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Properties != nil {
		s.AdditionalProperties = nil
	}
	for key, p := range s.Properties {
		if numeric(p) && p.Description == "" {
			p.Description = unitOf(key)
		}
		annotate(p)
	}
	annotate(s.Items)
	annotate(s.AdditionalProperties)
}

func numeric(s *jsonschema.Schema) bool {
	number := func(t string) bool { return t == "number" || t == "integer" }
	return number(s.Type) || slices.ContainsFunc(s.Types, number)
}

func unitOf(key string) string {
	for _, u := range units {
		if u.key.MatchString(key) {
			return u.unit
		}
	}
	return ""
}

// documented is the document that a result comes in: data is what was
// measured, or why nothing was.
func documented(data *jsonschema.Schema) *jsonschema.Schema {
	s := &jsonschema.Schema{Schema: data.Schema, Title: data.Title}
	data.Schema, data.Title = "", ""
	failure := object(map[string]*jsonschema.Schema{
		"errorcode": {Type: "integer", Description: "as of the tool that the command is named after; libcurl's for http"},
		"errorinfo": {Type: "string"},
	})
	s.OneOf = []*jsonschema.Schema{answer(0, data), answer(1, failure)}
	return s
}

// answer is a document with a status.
func answer(status int, data *jsonschema.Schema) *jsonschema.Schema {
	var constant any = float64(status)
	at := func(what string) *jsonschema.Schema {
		return &jsonschema.Schema{Types: []string{"number", "null"}, Description: "seconds since 1970: " + what}
	}
	stamp := object(map[string]*jsonschema.Schema{
		"server_request_generate_time":   {Description: "generate_timestamp of the command, as it came; null on the command line"},
		"terminal_request_receive_time":  at("the command was received"),
		"terminal_request_send_time":     at("the measurement began"),
		"terminal_response_receive_time": at("the measurement ended; null where nothing was received"),
		"terminal_response_return_time":  at("the result was handed out"),
	})
	s := object(map[string]*jsonschema.Schema{"status": {Const: &constant}, "data": data, "stamp": stamp})
	s.Properties["command"] = &jsonschema.Schema{Type: "object", Description: "uuid and terminal of a command that a server sent; absent otherwise"}
	return s
}

// object requires all its keys.
func object(keys map[string]*jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", Properties: keys, Required: slices.Sorted(maps.Keys(keys))}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/spf13/cobra"
)

// dispatchOptions are the options of natrix dispatch.
type dispatchOptions struct {
	broker, terminal, file string
	params                 []string
	renew, watch           bool
	timeout                time.Duration
}

// dispatchCommand is the operator's end of the AMQP door.
func dispatchCommand() *cobra.Command {
	var o dispatchOptions
	cmd := &cobra.Command{
		Use:   "dispatch --broker URL --terminal MAC COMMAND DESTINATION",
		Short: "Send a command to a terminal the way the Natrix server does, and print its response",
		Long: "Send a command to a terminal the way the Natrix server does, and print its response.\n" +
			"What else is in the server's queues goes back when dispatch ends; with --watch it is held until then.",
		Example: "  natrix dispatch --broker amqp://natrix:natrix@192.0.2.1:5672/%2Fnatrix --terminal b827ebf94174 ping www.example.com --param count=5\n" +
			"  natrix dispatch --broker URL --terminal b827ebf94174 --file command.json\n" +
			"  natrix dispatch --broker URL --watch",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.broker, "broker", "", "URL of the broker")
	f.StringVar(&o.terminal, "terminal", "", "MAC address of the terminal's link: 12 hex digits, separators do not matter")
	f.StringVar(&o.file, "file", "", "send the message in this file as it is")
	f.BoolVar(&o.renew, "renew", false, "give the message of --file a new uuid and time: a terminal does not run the same one twice")
	f.StringArrayVar(&o.params, "param", nil, "parameter of the command, name=value; may be repeated")
	f.BoolVar(&o.watch, "watch", false, "print responses and reports as they come")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for the response")
	return cmd
}

func (o *dispatchOptions) run(cmd *cobra.Command, args []string) error {
	if o.broker == "" {
		return cli.Usage(errors.New("--broker is missing"))
	}
	var body []byte
	var err error
	if !o.watch {
		if body, err = o.message(args); err != nil {
			return err
		}
	}
	ctx := cmd.Context()
	d, err := amqp.NewDispatcher(ctx, o.broker)
	if err != nil {
		return err
	}
	defer d.Close()
	if o.watch {
		return o.print(ctx, cmd, d)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	answer, err := d.Ask(ctx, o.terminal, body)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", answer); err != nil {
		return err
	}
	return failed(answer)
}

// failed is cli.ErrProbe for a response that says so.
func failed(answer []byte) error {
	var response struct{ Status int }
	if err := json.Unmarshal(answer, &response); err != nil || response.Status != 0 {
		return cli.ErrProbe
	}
	return nil
}

func (o *dispatchOptions) print(ctx context.Context, cmd *cobra.Command, d *amqp.Dispatcher) error {
	messages, err := d.Watch(ctx, amqp.ResponseQueue, amqp.BasicQueue, amqp.AdvanceQueue)
	if err != nil {
		return err
	}
	for m := range messages {
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", m.Queue, m.Body)
	}
	if ctx.Err() != nil {
		return nil // told to stop
	}
	return amqp.ErrWatch
}

// message is what to send: a file, or what the arguments say.
func (o *dispatchOptions) message(args []string) ([]byte, error) {
	o.terminal = strings.ToLower(strings.NewReplacer(":", "", "-", "", ".", "").Replace(o.terminal))
	if len(o.terminal) != 12 || strings.Trim(o.terminal, "0123456789abcdef") != "" {
		return nil, cli.Usage(errors.New("--terminal wants the 12 hex digits of a MAC address"))
	}
	if o.file != "" {
		return o.fromFile()
	}
	if len(args) != 2 {
		return nil, cli.Usage(errors.New("want a command and a destination, or --file, or --watch"))
	}
	params := make(map[string]any)
	for _, p := range o.params {
		name, value, found := strings.Cut(p, "=")
		if !found {
			return nil, cli.Usage(fmt.Errorf("--param %s is not of the form name=value", p))
		}
		params[name] = jsonValue(value)
	}
	return json.Marshal(amqp.NewRequest(o.terminal, args[0], args[1], params))
}

// jsonValue is a value as the server would send it: numbers and booleans as such.
func jsonValue(s string) any {
	var v any
	if err := json.Unmarshal([]byte(s), &v); err == nil {
		switch v.(type) {
		case float64, bool:
			return json.RawMessage(s)
		}
	}
	return s
}

func (o *dispatchOptions) fromFile() ([]byte, error) {
	body, err := os.ReadFile(o.file)
	if err != nil || !o.renew {
		return body, err
	}
	var keys map[string]any
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	fresh := amqp.NewRequest("", "", "", nil)
	keys["uuid"], keys["generate_timestamp"] = fresh.UUID, fresh.Generated
	return json.Marshal(keys)
}

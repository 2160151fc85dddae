package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/gateway"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// gatewayCommand is the servers' end of BasicAgent.
func gatewayCommand() *cobra.Command {
	var g gatewayOptions
	cmd := &cobra.Command{
		Use:   "gateway --ca DIRECTORY",
		Short: "Take terminals in over BasicAgent, and ask many of them at once",
		Long: "Take terminals in over BasicAgent, and ask many of them at once: POST /requests with hosts, id and method,\n" +
			"GET /hosts. The token of that API is in the file api-token of the directory. Several gateways with copies\n" +
			"of one directory stand behind one list of addresses.",
		Example: "  natrix gateway init-ca --ca /etc/natrix/gateway\n" +
			"  natrix gateway token --ca /etc/natrix/gateway edd6c192-52cb-4133-a17a-e7d8aec03de7\n" +
			"  natrix gateway --ca /etc/natrix/gateway",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd) },
	}
	cmd.PersistentFlags().StringVar(&g.dir, "ca", "/etc/natrix/gateway", "directory of the authority")
	f := cmd.Flags()
	f.StringVar(&g.listen, "listen", fmt.Sprintf(":%d", wire.Port), "address for terminals")
	f.StringVar(&g.api, "api", "127.0.0.1:8443", "address of the API, HTTP; \"\" for none")
	f.StringVar(&g.redirect, "redirect", "", "send terminals on to these addresses, separated by commas, instead of keeping them")
	f.IntVar(&g.keep, "keep", 0, "keep so many terminals before sending others on; 0 with --redirect keeps none")
	f.DurationVar(&g.within, "within", 150*time.Second, "how long a request waits for its terminals")

	name := "config.cargo.com"
	initialise := &cobra.Command{Use: "init-ca", Short: "Make the certificate authority of a fleet, and a server certificate", Example: "  natrix gateway init-ca --ca /etc/natrix/gateway --name config.example.com", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := gateway.Create(g.dir, name); err != nil {
				return err
			}
			if _, err := (&gateway.Authority{Dir: g.dir}).APIToken(); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s/ca.pem is what terminals get.\n", g.dir)
			return err
		}}
	initialise.Flags().StringVar(&name, "name", name, "name in the server certificate: [BASICAGENT] name of the terminals")
	token := &cobra.Command{Use: "token TERMINAL", Short: "Make the token with which a terminal enrolls, once", Example: "  natrix gateway token --ca /etc/natrix/gateway edd6c192-52cb-4133-a17a-e7d8aec03de7", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := (&gateway.Authority{Dir: g.dir}).Token(args[0])
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), t)
			}
			return err
		}}
	cmd.AddCommand(initialise, token)
	return cmd
}

type gatewayOptions struct {
	dir, listen, api, redirect string
	keep                       int
	within                     time.Duration
}

func (o gatewayOptions) run(cmd *cobra.Command) error {
	file, debug := cli.LogOptions(cmd)
	log, done, err := consoleLog(file, debug)
	if err != nil {
		return err
	}
	defer done()
	authority := &gateway.Authority{Dir: o.dir}
	g := &gateway.Gateway{Authority: authority, Log: log.With("door", "gateway")}
	if o.redirect != "" {
		g.Redirect = func(string) string {
			if len(g.Hosts()) < o.keep {
				return ""
			}
			return o.redirect
		}
	}
	g.Revoked = func(host string) bool { return authority.Revoked(host) }
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	log.Info("gateway", "address", l.Addr())
	all, ctx := errgroup.WithContext(cmd.Context())
	all.Go(func() error { return g.Serve(ctx, l) })
	if o.api != "" {
		all.Go(func() error { return o.serveAPI(ctx, g) })
	}
	return all.Wait()
}

// serveAPI is plain HTTP on the loopback, unless somebody says otherwise:
// whoever is to reach it from elsewhere has a proxy that speaks TLS.
func (o gatewayOptions) serveAPI(ctx context.Context, g *gateway.Gateway) error {
	token, err := g.Authority.APIToken()
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: o.api, Handler: g.Handler(token, o.within),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

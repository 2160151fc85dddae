package shell

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/u-root/u-root/pkg/rtc"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Settings says where the settings of an appliance are.
type Settings struct {
	Files   []string                       // what the image and the medium say; the later wins
	Kernel  string                         // the kernel's command line, which wins over the files
	Session string                         // what was set since the machine was booted, which wins over both
	Save    func() string                  // the file that outlives a reboot; "" or nil if this machine has none
	Unlock  func(write func() error) error // has Save's file system writable while write runs; nil if it always is
}

// load reads the settings as the services of the machine do. What is wrong
// with them is theirs to tell.
func (s Settings) load() config.Config {
	c, _ := config.LoadLayers(s.Files, s.Kernel, s.Session)
	return c
}

// saved is the file that outlives a reboot, "" for none.
func (s Settings) saved() string {
	if s.Save == nil {
		return ""
	}
	return s.Save()
}

// configWords are added to the command of that name.
func (s *session) configWords() []*cobra.Command {
	var all bool
	show := &cobra.Command{
		Use: "show", Short: "The settings, and where each is from", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return s.showSettings(c.OutOrStdout(), all) },
	}
	show.Flags().BoolVarP(&all, "all", "a", false, "those at their defaults too")
	set := &cobra.Command{
		Use: "set NAME VALUE", Short: "Change a setting for this boot; config save keeps it", Args: cobra.ExactArgs(2),
		Example: "  config set rabbitmq.prefetch 4\n  config set common.log_level debug",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return s.settingNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			return s.change(c.Context(), c.OutOrStdout(), args[0], args[1])
		},
	}
	save := &cobra.Command{
		Use: "save", Short: "Keep what was set since the machine was booted", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return s.save(c.OutOrStdout()) },
	}
	password := &cobra.Command{
		Use: "password", Short: "Ask for a password at the consoles, from the next session on", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return s.choosePassword(c.Context(), c.OutOrStdout()) },
	}
	return []*cobra.Command{show, set, save, password}
}

func (s *session) settingNames() []cobra.Completion {
	var names []cobra.Completion
	for _, v := range s.Settings.load().Settings() {
		about := ""
		if v.From != "" {
			about = "now " + v.Secret()
		}
		names = append(names, cobra.CompletionWithDesc(v.Name(), about))
	}
	return names
}

func (s *session) showSettings(out io.Writer, all bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	rest := 0
	for _, v := range s.Settings.load().Settings() {
		from := v.From
		switch {
		case from == "" && all:
			from = "default"
		case from == "":
			rest++
			continue
		case strings.HasPrefix(from, s.Settings.Session):
			from = "set here, not saved"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", v.Name(), cmp.Or(v.Secret(), "-"), from)
	}
	if err := w.Flush(); err != nil || rest == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "%d more are at their defaults: config show --all\n", rest)
	return err
}

// set is the command for what people change most.
func (s *session) set() *cobra.Command {
	set := &cobra.Command{Use: "set", Short: "Change link, address, dns, broker or clock, for this boot; config save keeps it"}
	links := func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return cli.Links(c, args, word)
	}
	set.AddCommand(
		&cobra.Command{
			Use: "link LINK up|down", Short: "Switch a link on or off, until the machine is booted again", Args: cobra.ExactArgs(2),
			ValidArgsFunction: then(links, "up", "down"),
			RunE:              func(_ *cobra.Command, args []string) error { return setLink(args[0], args[1]) },
		},
		&cobra.Command{
			Use: "address LINK dhcp|ADDRESS/BITS [GATEWAY]", Short: "Give a link an address by hand, or leave it to DHCP", Args: cobra.RangeArgs(2, 3),
			Example:           "  set address eth0 192.0.2.7/24 192.0.2.1\n  set address eth0 dhcp",
			ValidArgsFunction: then(links, "dhcp"),
			RunE: func(c *cobra.Command, args []string) error {
				value, err := addressSetting(s.Settings.load().Appliance.Address, args)
				if err != nil {
					return err
				}
				return s.change(c.Context(), c.OutOrStdout(), "appliance.address", value)
			},
		},
		&cobra.Command{
			Use: "dns dhcp|ADDRESS...", Short: "Name servers, or leave them to DHCP", Args: cobra.MinimumNArgs(1),
			ValidArgsFunction: then(nil, "dhcp"),
			RunE: func(c *cobra.Command, args []string) error {
				return s.change(c.Context(), c.OutOrStdout(), "appliance.dns", wordsOr("dhcp", args))
			},
		},
		&cobra.Command{
			Use: "broker URL...", Short: "The broker: amqp://USER:PASSWORD@HOST:5672/VHOST, several in the order to be tried", Args: cobra.MinimumNArgs(1),
			ValidArgsFunction: then(nil, "amqp://", "amqps://"),
			RunE: func(c *cobra.Command, args []string) error {
				return s.change(c.Context(), c.OutOrStdout(), "rabbitmq.url", strings.Join(args, ","))
			},
		},
		s.setClock(),
	)
	return set
}

// then completes a first word by one function, if there is one, and the word
// after it from a list.
func then(first cobra.CompletionFunc, words ...string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if first != nil && len(args) == 0 {
			return first(c, args, word)
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if first == nil && len(args) > 0 || len(args) > 1 {
			return nil, directive
		}
		if strings.HasSuffix(words[0], "/") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return words, directive
	}
}

// wordsOr joins words for a setting; the one word that stands for the default
// empties it.
func wordsOr(none string, words []string) string {
	if len(words) == 1 && words[0] == none {
		return ""
	}
	return strings.Join(words, ",")
}

func setLink(name, state string) error {
	l, err := netif.ByName(name)
	if err != nil {
		return err
	}
	device := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index, Name: l.Name}}
	switch state {
	case "up":
		err = netlink.LinkSetUp(device)
	case "down":
		err = netlink.LinkSetDown(device)
	default:
		return fmt.Errorf("%q is neither up nor down", state)
	}
	if err != nil {
		return fmt.Errorf("set %s %s: %w", name, state, err)
	}
	return nil
}

// addressSetting is the value of appliance.address after a change to one link.
func addressSetting(now []config.Address, args []string) (string, error) {
	link := args[0]
	if _, err := netif.ByName(link); err != nil {
		return "", err
	}
	var all []string
	for _, a := range now {
		if a.Link != link {
			all = append(all, addressWord(a))
		}
	}
	if args[1] == "dhcp" {
		return strings.Join(all, ","), nil
	}
	addr, err := netip.ParsePrefix(args[1])
	if err != nil || !addr.Addr().Is4() {
		return "", fmt.Errorf("%q is not an address with its bits, such as 192.0.2.7/24", args[1])
	}
	a := config.Address{Link: link, Addr: addr}
	if len(args) == 3 {
		a.Gateway, err = netip.ParseAddr(args[2])
		switch {
		case err != nil:
			return "", fmt.Errorf("%q is not the address of a gateway", args[2])
		case !addr.Contains(a.Gateway):
			return "", fmt.Errorf("the gateway %s is not in the network %s", a.Gateway, addr.Masked())
		}
	}
	return strings.Join(append(all, addressWord(a)), ","), nil
}

func addressWord(a config.Address) string {
	word := a.Link + "=" + a.Addr.String()
	if a.Gateway.IsValid() {
		word += "=" + a.Gateway.String()
	}
	return word
}

func (s *session) setClock() *cobra.Command {
	return &cobra.Command{
		Use: "clock TIME|ntp dhcp|SERVER...", Short: "The time, in UTC, or the servers that keep it", Args: cobra.MinimumNArgs(1),
		Example:           "  set clock 2026-07-01 12:00:00\n  set clock ntp 192.0.2.123\n  set clock ntp dhcp",
		ValidArgsFunction: then(nil, "ntp"),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == "ntp" && len(args) > 1 {
				return s.change(c.Context(), c.OutOrStdout(), "appliance.ntp", wordsOr("dhcp", args[1:]))
			}
			return setTime(strings.Join(args, " "))
		},
	}
}

// setTime sets the clock, and that of the hardware if there is one.
func setTime(text string) error {
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.RFC3339} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		tv := unix.NsecToTimeval(t.UnixNano())
		if err := unix.Settimeofday(&tv); err != nil {
			return fmt.Errorf("set the clock: %w", err)
		}
		clock, err := rtc.OpenRTC()
		if err != nil {
			return nil // a Raspberry Pi has none
		}
		defer clock.Close()
		return clock.Set(t)
	}
	return fmt.Errorf("%q is not a time such as 2026-07-01 12:00:00", text)
}

// change sets a setting for this boot and has whom it concerns start anew.
func (s *session) change(ctx context.Context, out io.Writer, name, value string) error {
	setting, err := config.Check(name, value)
	if err != nil {
		return err
	}
	if err := edit(s.Settings.Session, setting); err != nil {
		return err
	}
	if service := reads(setting); service == "" {
		fmt.Fprintf(out, "%s is set for the next session\n", setting.Name())
	} else if err := s.Machine.Restart(ctx, service); err != nil {
		return err
	} else {
		fmt.Fprintf(out, "%s is set, %s starts anew\n", setting.Name(), service)
	}
	if s.Settings.saved() == "" {
		fmt.Fprintln(out, "for this boot only: this machine has no medium to keep it on")
	} else {
		fmt.Fprintln(out, "for this boot only, until config save")
	}
	return nil
}

// reads is the service that a setting is for; "" if it is for the shell.
func reads(v config.Setting) string {
	switch v.Name() {
	case "appliance.password", "appliance.tools", "appliance.hostname", "appliance.watchdog":
		return ""
	}
	if v.Section == "appliance" {
		return "network"
	}
	return "agent"
}

// edit changes one setting in a file, which need not be there yet. Nobody else
// may read it: there are passwords in it.
func edit(path string, settings ...config.Setting) error {
	body, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings: %w", err)
	}
	for _, v := range settings {
		if body, err = config.Edit(body, v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := renameio.WriteFile(path, body, 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// save keeps what was set in the session.
func (s *session) save(out io.Writer) error {
	path := s.Settings.saved()
	if path == "" {
		return errors.New("this machine has no medium to keep settings on: put them into its image, or on the kernel's command line")
	}
	c, err := config.Load("", "", s.Settings.Session)
	if err != nil {
		return err
	}
	set := given(c)
	if len(set) == 0 {
		fmt.Fprintln(out, "nothing was set")
		return nil
	}
	write := func() error { return edit(path, set...) }
	if s.Settings.Unlock != nil {
		err = s.Settings.Unlock(write)
	} else {
		err = write()
	}
	if err != nil {
		return err
	}
	var names []string
	for _, v := range set {
		names = append(names, v.Name())
	}
	fmt.Fprintf(out, "%s is kept in %s\n", strings.Join(names, ", "), path)
	kernel, _ := config.Load("", s.Settings.Kernel)
	for _, v := range given(kernel) {
		if slices.Contains(names, v.Name()) {
			fmt.Fprintf(out, "but the kernel's command line says %s too, and wins at the next boot\n", v.Name())
		}
	}
	return nil
}

// given are the settings that somebody gave a value.
func given(c config.Config) []config.Setting {
	return slices.DeleteFunc(c.Settings(), func(v config.Setting) bool { return v.From == "" })
}

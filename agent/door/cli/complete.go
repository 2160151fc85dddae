package cli

import (
	"slices"
	"strings"

	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// values are what options with these names take, as far as that can be listed.
var values = map[string][]string{
	"output":       {"document\tas the original prints it", "text\tfor people", "json\tfor scripts"},
	"lang":         {"en\tEnglish", "zh\tChinese"},
	"method":       {"a", "aaaa", "any", "caa", "cname", "ds", "https", "mx", "naptr", "ns", "ptr", "soa", "srv", "svcb", "txt"},
	"http-version": {"1.0", "1.1", "2", "3"},
	"auth-type":    {"basic", "digest", "oauth1", "oauth2"},
	"browser":      {"curl", "chrome", "firefox"},
}

// files are the options whose values are names of files or directories.
var files = []string{"log-file", "config", "cmdline", "file", "root", "snapshot", "har", "capture-packets", "runtime-directory", "state-directory"}

// complete tells cobra how to complete the values of options, in all commands
// of the tree.
func complete(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		complete(c)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		var candidates cobra.CompletionFunc
		switch words := values[f.Name]; {
		case words != nil:
			candidates = cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
		case f.Name == "interface" || f.Name == "link":
			candidates = Links
		case f.Name == "server" || f.Name == "dns-server":
			candidates = servers
		case f.Value.Type() != "bool" && !slices.Contains(files, f.Name):
			candidates = cobra.NoFileCompletions
		default:
			return
		}
		cmd.RegisterFlagCompletionFunc(f.Name, candidates) // fails where the command has brought its own
	})
}

// Links completes the name of a link.
func Links(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	links, err := netif.Links()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, l := range links {
		if l.Kind == netif.Loopback {
			continue
		}
		var about []string
		for _, a := range l.Addrs {
			about = append(about, a.String())
		}
		names = append(names, cobra.CompletionWithDesc(l.Name, strings.Join(about, " ")))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// servers are the name servers that this machine asks.
func servers(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	r, err := sysinfo.Machine{}.Resolver()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var addresses []cobra.Completion
	for _, a := range r.Servers {
		addresses = append(addresses, a.String())
	}
	return addresses, cobra.ShellCompDirectiveNoFileComp
}

package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
)

const blocklistHelp = `Block the names of hosts files, domain lists and adblock lists

A list is a file of yours; netjail fetches none. Its lines may be

  0.0.0.0 ads.example     of a hosts file: also 127.0.0.1, :: and ::1
  ads.example             a name; also *.ads.example and .ads.example
  ||ads.example^          an adblock rule for a name, $third-party or not
  @@||good.ads.example^   not blocked, whatever else is listed
  # or ! first            a remark

Each blocks its name and every name below it. Adblock rules for parts of pages,
for some traffic only or for patterns, and addresses, are skipped and counted. A
line that is nothing of the kind is an error, and what was in force stays.

Lists are read when they are added and on update, not when they change.`

func (a *app) blocklistCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "blocklist",
		Short: "Block the names of hosts files, domain lists and adblock lists",
		Long:  blocklistHelp,
		Args:  hinting(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		a.blocklistChange(api.OpBlocklistAdd, &cobra.Command{
			Use:     "add FILE...",
			Short:   "Add lists, and read all of them",
			Example: "  netjail blocklist add ~/lists/ads.txt",
			Args:    hinting(cobra.MinimumNArgs(1)),
		}),
		a.blocklistChange(api.OpBlocklistList, &cobra.Command{
			Use:   "list",
			Short: "Show the lists in force",
			Args:  hinting(cobra.NoArgs),
		}),
		a.blocklistChange(api.OpBlocklistRemove, &cobra.Command{
			Use:   "remove FILE...",
			Short: "Remove lists, and read the others",
			Args:  hinting(cobra.MinimumNArgs(1)),
		}),
		a.blocklistChange(api.OpBlocklistUpdate, &cobra.Command{
			Use:   "update",
			Short: "Read all lists as they are on disk now",
			Args:  hinting(cobra.NoArgs),
		}),
		a.blocklistTest(),
	)
	return c
}

// blocklistChange makes c ask op about the files of its arguments, and show
// what is in force then.
func (a *app) blocklistChange(op string, c *cobra.Command) *cobra.Command {
	var asJSON bool
	c.RunE = func(c *cobra.Command, args []string) error {
		in := api.BlocklistFiles{Files: make([]string, len(args))}
		for i, arg := range args {
			file, err := filepath.Abs(arg)
			if err != nil {
				return err
			}
			in.Files[i] = file
		}
		var lists api.Blocklists
		if err := a.ask(c, op, in, &lists); err != nil {
			if said, ok := errors.AsType[*api.Error](err); ok && said.Code == api.CodeNotFound {
				return failed{err, exitNo}
			}
			return err
		}
		if asJSON {
			return a.json(lists)
		}
		a.showBlocklists(&lists)
		return nil
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showBlocklists(lists *api.Blocklists) {
	if lists.Problem != "" {
		fmt.Fprintf(a.err, "netjail: blocklists on disk are not in force: %s\n", lists.Problem)
	}
	if len(lists.Files) == 0 {
		fmt.Fprintln(a.err, "netjail: no blocklists")
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMES\tEXCEPTIONS\tSKIPPED\tSTATE\tFILE")
	for _, l := range lists.Files {
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\n", l.Names, l.Exceptions, l.Skipped, l.State, belowHome(l.File))
	}
	_ = w.Flush()
	fmt.Fprintf(a.out, "%d names blocked, %d exceptions, read %s\n", lists.Names, lists.Exceptions, lists.Read.Local().Format("2006-01-02 15:04"))
}

func (a *app) blocklistTest() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "test NAME...",
		Short:   "Say what the lists say of names; exits 1 when one is blocked",
		Example: "  netjail blocklist test img.ads.example",
		Args:    hinting(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var out api.BlocklistMatches
			if err := a.ask(c, api.OpBlocklistTest, api.BlocklistNames{Names: args}, &out); err != nil {
				return err
			}
			for _, m := range out.Names {
				if m.Blocked {
					a.code = exitNo
				}
			}
			if asJSON {
				return a.json(out)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERDICT\tENTRY\tFILE")
			for _, m := range out.Names {
				fmt.Fprintf(w, "%s\t%s\n", m.Name, finding(&m))
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// finding is the rest of a match's line.
func finding(m *api.BlocklistMatch) string {
	switch {
	case m.Blocked:
		return "blocked\t" + m.Entry + "\t" + belowHome(m.File)
	case m.Entry != "":
		return "exception\t" + m.Entry + "\t" + belowHome(m.File)
	}
	return "not listed\t-\t-"
}

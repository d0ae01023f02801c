package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/jail"
)

func (a *app) selfCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "self",
		Short: "In a jail, say what is allowed there; exits 1 outside",
		Long: `In a jail, say what is allowed there; exits 1 outside.

It is for programs, and agents, that want to know before they try. What they are
told changes nothing: to allow more is the user's to do, outside of the jail.`,
		Args: hinting(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			self, err := jail.AskSelf()
			if errors.Is(err, jail.ErrNotInside) {
				return failed{hint(err, "netjail status lists what runs"), exitNo}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(self)
			}
			a.showSelf(&self)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// modes say what becomes of what no rule speaks of.
var modes = map[string]string{
	api.ModeAsk:     "the user is asked",
	api.ModeDeny:    "denied, nobody is asked",
	api.ModeMonitor: "allowed, and noted",
}

func (a *app) showSelf(self *api.Self) {
	fmt.Fprintf(a.out, "in the jail of %s, guard %s\n", self.App, self.Guard)
	fmt.Fprintf(a.out, "what no rule speaks of: %s\n", modes[self.Mode])
	if self.Blocklist {
		fmt.Fprintln(a.out, "blocklists are in force, too")
	}
	if len(self.Rules) == 0 {
		fmt.Fprintln(a.out, "no rules")
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERDICT\tDESTINATION\tLIFETIME\tWHERE")
	for _, r := range self.Rules {
		from := where(&r)
		if r.By == "flag" && r.File == "" {
			from = "a flag of this run"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Verdict, r.Dest, lifetime(&r), from)
	}
	_ = w.Flush()
}

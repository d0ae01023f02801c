package cli

import (
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/notifier"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show running jails and open questions; exits 1 when no daemon runs",
		Args:  hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := api.RuntimeDir()
			if err != nil {
				return err
			}
			client, err := api.Dial(api.SocketPath(dir), nil)
			if err != nil {
				a.code = exitNo
				if asJSON {
					return a.json(api.Status{Jails: []api.Jail{}, Questions: []notifier.Question{}})
				}
				fmt.Fprintln(a.out, "no daemon is running, and so no jail")
				return nil
			}
			defer client.Close()
			var st api.Status
			if err := client.Ask(api.OpStatus, nil, &st); err != nil {
				return err
			}
			if asJSON {
				return a.json(st)
			}
			a.showStatus(&st)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showStatus(st *api.Status) {
	fmt.Fprintf(a.out, "daemon %d, up %s, rules in %s\n", st.PID, age(st.Started), st.Config)
	if st.Problem != "" {
		fmt.Fprintf(a.out, "rules on disk are not in force: %s\n", st.Problem)
	}
	if st.Blocklist != "" {
		fmt.Fprintf(a.out, "blocklists on disk are not in force: %s\n", st.Blocklist)
	}
	if st.History != "" {
		fmt.Fprintf(a.out, "nothing is written to the history: %s\n", st.History)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	if len(st.Jails) == 0 {
		fmt.Fprintln(a.out, "no jails")
	} else {
		fmt.Fprintln(w, "APP\tGUARD\tMODE\tSUPERVISOR\tUP\tCOMMAND")
	}
	for _, j := range st.Jails {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", j.App, j.Guard, j.Mode, j.Supervisor, age(j.Started), oneLine(j.Command))
	}
	_ = w.Flush()
	for _, line := range guardLines(st.Jails) {
		fmt.Fprintln(a.out, line)
	}
	for _, q := range st.Questions {
		fmt.Fprintf(a.out, "asked: %s\n", q.Headline())
	}
}

// guardLines say of each guard in the list what it covers, once.
func guardLines(jails []api.Jail) (lines []string) {
	for _, j := range jails {
		line := "guard " + guard.Guard{Kind: guard.Kind(j.Guard), Covers: j.Covers}.String()
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func age(t time.Time) string { return time.Since(t).Truncate(time.Second).String() }

func oneLine(args []string) string {
	s := ""
	for i, a := range args {
		if i > 0 {
			s += " "
		}
		s += a
	}
	return notifier.Clean(s, 60)
}

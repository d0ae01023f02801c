package cli

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// explainFlags say more of the call that is asked about.
type explainFlags struct {
	exe, addr, jail string
	json            bool
}

func (f *explainFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.exe, "exe", "", "the call is made by the executable at `PATH`")
	c.Flags().StringVar(&f.addr, "addr", "", "the name has the address `ADDR`")
	c.Flags().StringVar(&f.jail, "jail", "", "count answers until the exit of the jail `ID` (status --json)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

const destHelp = `DEST is one host and one port, or a socket: example.org:443, udp://192.0.2.1:53,
listen://127.0.0.1:8080, icmp://192.0.2.1, unix:/run/x.sock.`

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:     "explain APP DEST",
		Aliases: []string{"why"},
		Short:   "Say what would become of a call, which rule decides, and why no other",
		Long: `Say what would become of a call, which rule decides, and why no other.

` + destHelp + `
A name is decided as it stands; its address can matter too, see --addr.

The daemon decides as a real call is decided, by the rules in force. The flags
of a run come before rules that are as narrow.`,
		Example: "  netjail explain firefox example.org:443",
		Args:    hinting(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			x, err := a.explain(c, args, &f)
			if err != nil {
				return err
			}
			if f.json {
				return a.json(x)
			}
			a.showExplanation(x)
			return nil
		},
	}
	f.add(c)
	return c
}

func (a *app) testCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "test APP DEST",
		Short: "Exit 0 if a call would be allowed without a question, 1 if not",
		Long: `Exit 0 if a call would be allowed without a question, 1 if not, 2 on an error.

` + destHelp,
		Example: "  netjail test npm example.org:443 || echo not yet",
		Args:    hinting(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			x, err := a.explain(c, args, &f)
			if err != nil {
				return err
			}
			if x.Verdict != rules.Allow {
				a.code = exitNo
			}
			if f.json {
				return a.json(x)
			}
			fmt.Fprintln(a.out, headline(x))
			return nil
		},
	}
	f.add(c)
	return c
}

// explain asks the daemon what would become of a call.
func (a *app) explain(c *cobra.Command, args []string, f *explainFlags) (*api.Explanation, error) {
	in := api.ExplainRequest{App: args[0], Exe: f.exe, Addr: f.addr, Jail: f.jail}
	if err := rules.CheckAppName(in.App); err != nil {
		return nil, hint(err, "an app is the name of a program")
	}
	var err error
	if in.Dest, err = rules.ParseDestination(args[1]); err != nil {
		return nil, hint(err, "%s --help", c.CommandPath())
	}
	if h := in.Dest.Host.Kind; in.Dest.Proto != rules.ICMP && h != rules.HostUnix && in.Dest.Ports.Count() != 1 {
		return nil, hint(fmt.Errorf("%s: which port?", in.Dest), "write one: example.org:443")
	}
	if in.Exe != "" && !filepath.IsAbs(in.Exe) {
		return nil, fmt.Errorf("--exe: %q is not an absolute path", in.Exe)
	}
	if _, err := in.ParseAddr(); err != nil {
		return nil, fmt.Errorf("--addr: %w", err)
	}
	x := new(api.Explanation)
	if err := a.ask(c, api.OpExplain, in, x); err != nil {
		return nil, err
	}
	return x, nil
}

// headline is the answer in one line.
func headline(x *api.Explanation) string {
	s := fmt.Sprintf("%s: %s %s %s", x.Verdict, x.App, x.Op, x.Dest)
	if x.Addr != "" && x.Dest.Host.Kind == rules.HostName {
		s += " at " + x.Addr
	}
	switch {
	case x.Rule != nil:
		s += fmt.Sprintf(": %s %s, %s", x.Rule.Verdict, x.Rule.Dest, where(x.Rule))
	default:
		s += ": " + x.Why
	}
	if x.Verdict == rules.Ask {
		s += "; a person is asked, and with nobody to ask it is denied"
	}
	return s
}

// maxLost bounds how many rules that did not decide are shown.
const maxLost = 20

func (a *app) showExplanation(x *api.Explanation) {
	fmt.Fprintln(a.out, headline(x))
	if x.Name != "" && x.Name != x.Dest.Host.Name {
		fmt.Fprintf(a.out, "decided under its name %s\n", x.Name)
	}
	if l := x.Lookup; l != nil {
		fmt.Fprintf(a.out, "look up %s: %s\n", l.Name, lookupText(l))
	}
	if len(x.Lost) > 0 {
		fmt.Fprintln(a.out)
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RULE\tAPP\tDID NOT DECIDE\tBECAUSE\tWHERE")
		for _, l := range x.Lost[:min(len(x.Lost), maxLost)] {
			fmt.Fprintf(w, "%s\t%s\t%s %s\t%s\t%s\n", l.Rule.ID, l.Rule.App, l.Rule.Verdict, l.Rule.Dest, l.Why, where(&l.Rule))
		}
		_ = w.Flush()
		if n := len(x.Lost) - maxLost; n > 0 {
			fmt.Fprintf(a.out, "and %d more: --json has them\n", n)
		}
	}
	if len(x.Notes) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, n := range x.Notes {
		fmt.Fprintf(a.out, "note: %s\n", n)
	}
}

func lookupText(l *api.ExplainedLookup) string {
	switch {
	case l.Verdict == rules.Ask:
		return "no rule; passed on where somebody can be asked, or an address may be allowed"
	case l.Rule != nil:
		return fmt.Sprintf("%s, by %s %s", l.Verdict, l.Rule.Verdict, l.Rule.Dest)
	}
	return fmt.Sprintf("%s, %s", l.Verdict, l.Why)
}

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/rules"
)

func (a *app) rulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "Show and change what was decided",
		Args:  hinting(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		a.rulesList(), a.rulesAdd(), a.rulesRemove(), a.rulesEdit(), a.rulesSwitch(true), a.rulesSwitch(false), a.rulesUndo(),
		a.rulesCheck(), a.rulesDiff(), a.rulesReload(), a.rulesImport(), a.rulesExport(),
	)
	return c
}

// ask calls the daemon once.
func (a *app) ask(c *cobra.Command, op string, args, reply any) error {
	client, err := a.dial(c.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ask(op, args, reply)
}

func lifetime(r *api.Rule) string {
	var s string
	switch {
	case r.Expires != nil && r.Expires.Before(time.Now()):
		s = "expired"
	case r.Expires != nil:
		s = "until " + r.Expires.Local().Format("2006-01-02 15:04")
	case r.Jail != "":
		s = "until exit"
	default:
		s = r.Lifetime
	}
	if !r.Enabled {
		s += ", disabled"
	}
	if r.Exe != "" {
		s += ", only " + r.Exe
	}
	if r.Shadowed != "" {
		s += ", behind " + r.Shadowed
	}
	return s
}

func where(r *api.Rule) string { return string(appendPlace(nil, belowHome(r.File), r.Line)) }

func appendPlace(b []byte, file string, line int) []byte {
	if file == "" {
		return append(b, '-')
	}
	return strconv.AppendInt(append(append(b, file...), ':'), int64(line), 10)
}

// belowHome shortens the path of a file of the user's.
func belowHome(file string) string {
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(file, home+"/") {
		return "~" + strings.TrimPrefix(file, home)
	}
	return file
}

func (a *app) rulesAdd() *cobra.Command {
	var f ruleFlags
	var asJSON bool
	c := &cobra.Command{
		Use:     "add APP allow|deny|ask DEST...",
		Short:   "Add rules, or change those for the same destination",
		Example: "  netjail rules add curl allow example.org:443 --for 1h",
		Args:    hinting(cobra.MinimumNArgs(3)),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := newRules(args, &f)
			if err != nil {
				return err
			}
			for i := range list {
				if h := list[i].Dest.Host; h.Kind == rules.HostSuffix && list[i].Verdict == rules.Allow && names.PublicSuffix(h.Name) {
					fmt.Fprintf(a.err, "netjail: warning: everybody may register names below %s, and this allows them all\n", h.Name)
				}
			}
			client, err := a.dial(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			for i := range list {
				if err := client.Ask(api.OpRulesAdd, list[i], &list[i]); err != nil {
					return err
				}
			}
			return a.rulesOut(list, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&f.life, "for", "always", "hold for `TIME`: 30m, 2h, 7d, always")
	c.Flags().StringVar(&f.exe, "exe", "", "only for the executable at `PATH`")
	c.Flags().StringVar(&f.note, "note", "", "keep the remark `TEXT` with the rule")
	c.Flags().BoolVar(&f.local, "local", false, "the name may have an address in the LAN")
	c.Flags().StringVar(&f.answer, "answer", "nxdomain", "the `ANSWER` to a lookup it denies")
	return c
}

// ruleFlags are the flags that say more of a rule.
type ruleFlags struct {
	life, exe, note, answer string
	local                   bool
}

// newRules makes the rules that arguments ask for; all are good, or none.
func newRules(args []string, f *ruleFlags) ([]api.Rule, error) {
	appName := args[0]
	if appName == api.Every {
		appName = ""
	} else if err := rules.CheckAppName(appName); err != nil {
		return nil, hint(err, "an app is the name of a program, or %s for every one", api.Every)
	}
	verdict, err := rules.ParseVerdict(args[1])
	if err != nil {
		return nil, hint(err, "allow, deny or ask")
	}
	l, err := rules.ParseLifetime(f.life)
	if err != nil {
		return nil, fmt.Errorf("--for: %w", err)
	}
	if l.Kind != rules.Always && l.Kind != rules.For {
		return nil, fmt.Errorf("--for: %q is for answers, a rule holds for a time or always", f.life)
	}
	if f.exe != "" && !filepath.IsAbs(f.exe) {
		return nil, fmt.Errorf("--exe: %q is not an absolute path", f.exe)
	}
	if f.answer != "nxdomain" && f.answer != "refused" {
		return nil, fmt.Errorf("--answer: %q is not nxdomain or refused", f.answer)
	}
	var list []api.Rule
	for _, arg := range args[2:] {
		dests, err := rules.ParseDestinations(arg)
		if err != nil {
			return nil, err
		}
		for _, d := range dests {
			r := rules.Rule{App: appName, Verdict: verdict, Dest: d, Exe: f.exe, Note: f.note, By: "cli", Local: f.local, Refuse: f.answer == "refused"}
			if l.Kind == rules.For {
				r.Expires = time.Now().Add(l.For).UTC().Truncate(time.Second)
			}
			list = append(list, api.FromRule(&r))
		}
	}
	return list, nil
}

func (a *app) rulesRemove() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "remove ID | APP DEST...",
		Short:   "Remove rules by id, or by app and destination",
		Example: "  netjail rules remove 1a2b3c4d\n  netjail rules remove curl example.org:443",
		Args:    hinting(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			filters, err := removals(args)
			if err != nil {
				return err
			}
			var gone []api.Rule
			for _, f := range filters {
				var list api.RuleList
				if err := a.ask(c, api.OpRulesRemove, f, &list); err != nil {
					return notFound(err, f)
				}
				gone = append(gone, list.Rules...)
			}
			return a.rulesOut(gone, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// rulesOut prints rules that were changed.
func (a *app) rulesOut(list []api.Rule, asJSON bool) error {
	if asJSON {
		return a.json(api.RuleList{Rules: list})
	}
	a.showRules(list)
	return nil
}

func removals(args []string) ([]api.RuleFilter, error) {
	if len(args) == 1 {
		return []api.RuleFilter{{ID: args[0]}}, nil
	}
	var list []api.RuleFilter
	for _, arg := range args[1:] {
		d, err := rules.ParseDestination(arg)
		if err != nil {
			return nil, err
		}
		list = append(list, api.RuleFilter{App: args[0], Dest: &d})
	}
	return list, nil
}

func notFound(err error, f api.RuleFilter) error {
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeNotFound {
		return err
	}
	what := f.ID
	if f.Dest != nil {
		what = f.App + " " + f.Dest.String()
	}
	return failed{hint(fmt.Errorf("no rule %s", what), "netjail rules list"), exitNo}
}

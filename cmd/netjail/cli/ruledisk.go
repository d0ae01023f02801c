package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules/rulefile"
)

func (a *app) rulesCheck() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Check rule files without taking them; exits 1 when one is wrong",
		RunE: func(_ *cobra.Command, args []string) error {
			count, files, err := check(args)
			if err != nil {
				return failed{err, exitNo}
			}
			if asJSON {
				return a.json(map[string]int{"files": files, "rules": count})
			}
			fmt.Fprintf(a.out, "%d files, %d rules: good\n", files, count)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func check(names []string) (count, files int, err error) {
	if len(names) == 0 {
		dir, err := api.ConfigDir()
		if err != nil {
			return 0, 0, err
		}
		list, err := rulefile.Load(dir)
		for _, f := range list {
			count += len(f.Rules())
		}
		return count, len(list), err
	}
	var errs []error
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			var f *rulefile.File
			if f, err = rulefile.Parse(name, appOf(name), data); err == nil {
				count += len(f.Rules())
			}
		}
		errs = append(errs, err)
	}
	return count, len(names), errors.Join(errs...)
}

// appOf is the app that a rule file of this name would be of.
func appOf(name string) string {
	base := strings.TrimSuffix(filepath.Base(name), ".toml")
	if base == api.Every {
		return ""
	}
	return base
}

func (a *app) rulesReload() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Take the rule files as they are on disk now",
		Args:  hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var list api.RuleList
			if err := a.ask(c, api.OpReload, nil, &list); err != nil {
				return err
			}
			if asJSON {
				return a.json(list)
			}
			fmt.Fprintf(a.out, "%d rules in force\n", len(list.Rules))
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) rulesDiff() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff",
		Short: "Show what on disk is not in force; exits 1 if something is",
		Args:  hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var d api.RuleDiff
			if err := a.ask(c, api.OpRulesDiff, nil, &d); err != nil {
				return err
			}
			if len(d.Files) > 0 {
				a.code = exitNo
			}
			if asJSON {
				return a.json(d)
			}
			a.showDiffs(d.Files)
			if len(d.Files) > 0 {
				a.hint("netjail rules check && netjail rules reload, if these changes are yours")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showDiffs(list []api.FileDiff) {
	for _, d := range list {
		fmt.Fprint(a.out, cleanLines(d.Diff))
	}
}

// cleanLines is text of a file that others may have written, for a terminal.
func cleanLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(notifier.Clean(strings.TrimSuffix(line, "\n"), len(line)) + "\n")
	}
	return b.String()
}

func (a *app) rulesUndo() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "undo",
		Short: "Take back the last change made through netjail",
		Long: `Take back the last change made through netjail: a rule that was added, answered,
removed or switched, an edit, an import. The files have to be as it left them.`,
		Args: hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var u api.RuleUndo
			if err := a.ask(c, api.OpRulesUndo, nil, &u); err != nil {
				if said, ok := errors.AsType[*api.Error](err); ok && said.Code == api.CodeNotFound {
					return failed{err, exitNo}
				}
				return err
			}
			if asJSON {
				return a.json(u)
			}
			fmt.Fprintf(a.out, "undone: %s (%s)\n", u.What, u.Time.Local().Format("2006-01-02 15:04"))
			a.showDiffs(u.Files)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// rulesSwitch is enable or disable.
func (a *app) rulesSwitch(on bool) *cobra.Command {
	var asJSON bool
	word, short := "disable", "Keep a rule, but let it decide nothing"
	if on {
		word, short = "enable", "Let a rule decide that was disabled"
	}
	c := &cobra.Command{
		Use:     word + " ID...",
		Short:   short,
		Example: "  netjail rules " + word + " 1a2b3c4d",
		Args:    hinting(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var changed []api.Rule
			for _, id := range args {
				var list api.RuleList
				if err := a.ask(c, api.OpRulesEnable, api.RuleSwitch{ID: id, Enabled: on}, &list); err != nil {
					return notFound(err, api.RuleFilter{ID: id})
				}
				changed = append(changed, list.Rules...)
			}
			return a.rulesOut(changed, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/cmd/netjail/project"
	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/jail"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// addProject puts the rules of the project that the working directory is in
// into a run: those that deny, and the others if the user has trusted them.
func (a *app) addProject(cfg *jail.Config) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	f, err := project.Find(dir)
	if err != nil {
		return hint(err, "correct it: without it something might be allowed that it denies")
	}
	if f == nil {
		return nil
	}
	state, err := stateOf(f)
	if err != nil {
		fmt.Fprintf(a.err, "netjail: %v\n", err) // not trusted, then
	}
	if n := len(f.Widens()); n > 0 && state != project.Trusted {
		why := "nobody has trusted it"
		if state == project.Changed {
			why = "it has changed since you trusted it"
		}
		fmt.Fprintf(a.err, "netjail: %s: %s not hold: %s (netjail trust)\n", f.Path, counted(n, "rule that allows or asks does", "rules that allow or ask do"), why)
	}
	for _, r := range f.Rules(state == project.Trusted) {
		r.App = cfg.App
		cfg.Project = append(cfg.Project, api.FromRule(&r))
	}
	return nil
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func stateOf(f *project.File) (project.State, error) {
	dir, err := api.StateDir()
	if err != nil {
		return project.Unknown, err
	}
	return project.Look(dir, f)
}

// addFiles puts the rules of files into a run, as flags would.
func addFiles(names []string, cfg *jail.Config) error {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("--rules: %w", err)
		}
		f, err := rulefile.Parse(name, cfg.App, text)
		if err != nil {
			return fmt.Errorf("--rules: %w", err)
		}
		for _, r := range f.Rules() {
			r.By = "flag"
			cfg.Rules = append(cfg.Rules, api.FromRule(&r))
		}
	}
	return nil
}

func (a *app) trustCommand() *cobra.Command {
	var remove bool
	c := &cobra.Command{
		Use:   "trust [FILE]",
		Short: "Let what a project's .netjail.toml allows hold",
		Long: `Let what a project's .netjail.toml allows hold.

The nearest .netjail.toml at or above the working directory is part of each run.
What it denies always holds; what it allows does once you have trusted the file,
and until its content changes. The rules are shown.`,
		Args: hinting(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := projectFile(args)
			if err != nil {
				return err
			}
			dir, err := api.StateDir()
			if err != nil {
				return err
			}
			if remove {
				known, err := project.Distrust(dir, f.Path)
				if err == nil && !known {
					return failed{fmt.Errorf("%s was not trusted", f.Path), exitNo}
				}
				if err == nil {
					fmt.Fprintf(a.out, "%s is not trusted any more\n", f.Path)
				}
				return err
			}
			if err := project.Trust(dir, f); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is trusted as it is now:\n", f.Path)
			for _, r := range f.Rules(true) {
				fmt.Fprintf(a.out, "  %s\n", ruleLine(&r))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&remove, "remove", false, "trust it no longer")
	return c
}

func projectFile(args []string) (*project.File, error) {
	if len(args) == 1 {
		return project.Read(args[0])
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	f, err := project.Find(dir)
	if f == nil && err == nil {
		err = failed{hint(fmt.Errorf("no %s here or above", project.Name), "netjail trust FILE"), exitNo}
	}
	return f, err
}

// ruleLine is a rule in one line.
func ruleLine(r *rules.Rule) string {
	text := r.Verdict.String() + " " + r.Dest.String()
	if r.Exe != "" {
		text += " for " + r.Exe
	}
	if r.Local {
		text += ", on this machine and its networks too"
	}
	if r.Disabled {
		text += " (disabled)"
	}
	return text
}

package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/jail"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

// runFlags are the flags of a run.
type runFlags struct {
	allow, deny []string
	presets     []string
	files       []string
	as          string
	noPrompt    bool
	monitor     bool
	timeout     string
	keep        []int
	compat      bool
	guard       string
	guardSocket string
	leave       []string
}

// runCommand is the command that netjail is when it is given no other.
func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return failed{hint(errors.New("no command to run"), "netjail --help"), jail.ExitFailure}
			}
			return a.run(c, &f, args)
		},
	}
	c.SetFlagErrorFunc(func(of *cobra.Command, err error) error {
		if of != c { // cobra hands it down to the commands below
			return hint(err, "%s --help", of.CommandPath())
		}
		return failed{hint(err, "netjail --help"), jail.ExitFailure}
	})
	f.add(c)
	c.Flags().BoolVar(&f.noPrompt, "no-prompt", false, "ask nobody: deny what no rule allows")
	c.Flags().BoolVar(&f.monitor, "monitor", false, "allow what no rule denies, and tell of it")
	return c
}

// add adds the flags that say what a run may do and how it is made.
func (f *runFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.SetInterspersed(false) // what follows the command is the command's
	flags.StringArrayVar(&f.allow, "allow", nil, "allow `DEST` for this run (repeatable, or a comma list)")
	flags.StringArrayVar(&f.deny, "deny", nil, "deny `DEST` for this run")
	flags.StringSliceVar(&f.presets, "preset", nil, "allow the hosts that `NAME` is configured to use here, see netjail preset")
	flags.StringArrayVar(&f.files, "rules", nil, "take the rules of `FILE` for this run")
	flags.StringVar(&f.as, "as", "", "whose rules apply: those of `NAME`, not of the command's name")
	flags.StringVar(&f.timeout, "timeout", "", "end the program after `TIME` (10s, 5m), exit 124")
	flags.IntSliceVar(&f.keep, "keep-fd", nil, "let the program inherit descriptor `N`")
	flags.BoolVar(&f.compat, "32bit", false, "let 32-bit programs run, too")
	flags.StringVar(&f.guard, "guard", "", "`KIND` behind the filter: strict, landlock, nft, netns")
	flags.StringVar(&f.guardSocket, "guard-socket", "", "where the guard service listens, if not where it is installed to")
	_ = flags.MarkHidden("guard-socket")
	flags.StringSliceVar(&f.leave, "no-scope", nil, "leave `WHAT` out of Landlock: signal, abstract")
}

func (a *app) explicitRun() *cobra.Command {
	c := a.runCommand()
	c.Use = "run [flags] [--] COMMAND [ARG...]"
	c.Short = "Run a command, asking about new destinations"
	c.Hidden = true
	return c
}

func (a *app) run(c *cobra.Command, f *runFlags, args []string) error {
	cfg, err := a.prepare(c, f, args)
	if err != nil {
		return err
	}
	if jail.Nested() {
		return a.runNested(f, &cfg)
	}
	return a.start(c, f, cfg)
}

// prepare finds out what is to be run, and by which rules.
func (a *app) prepare(c *cobra.Command, f *runFlags, args []string) (jail.Config, error) {
	cfg, err := f.config(args)
	if err != nil {
		return cfg, failed{err, jail.ExitFailure}
	}
	for _, add := range []func() error{
		func() error { return addFiles(f.files, &cfg) },
		func() error { return a.addPresets(c.Context(), f.presets, &cfg) },
		func() error { return a.addProject(&cfg) },
	} {
		if err := add(); err != nil {
			return cfg, failed{err, jail.ExitFailure}
		}
	}
	if err := interpose.CloseOnExec(f.keep...); err != nil {
		return cfg, failed{err, jail.ExitFailure}
	}
	return cfg, nil
}

// start runs what is prepared.
func (a *app) start(c *cobra.Command, f *runFlags, cfg jail.Config) (err error) {
	if err := a.addGuard(f, &cfg); err != nil {
		return failed{err, jail.ExitFailure}
	}
	if cfg.Runtime, err = api.RuntimeDir(); err != nil {
		return failed{err, jail.ExitFailure}
	}
	a.code, err = jail.Run(c.Context(), cfg, a.err)
	if err != nil && a.code != 0 {
		return failed{err, a.code}
	}
	return err
}

// config checks flags and finds the executable.
func (f *runFlags) config(args []string) (jail.Config, error) {
	cfg := jail.Config{Args: args, Ask: !f.noPrompt && !f.monitor, Monitor: f.monitor, Keep: f.keep, Compat: f.compat}
	if f.noPrompt && f.monitor {
		return cfg, errors.New("--no-prompt denies what no rule allows, and --monitor allows it: give one of them")
	}
	if f.compat && !interpose.Compat() {
		return cfg, fmt.Errorf("--32bit: %w", interpose.ErrNoCompat)
	}
	var err error
	if f.as != "" {
		err = rules.CheckAppName(f.as)
		cfg.App = f.as
	} else {
		cfg.App = rules.AppName(args[0])
	}
	if err != nil {
		return cfg, fmt.Errorf("--as: %w", err)
	}
	if cfg.Timeout, err = parseTimeout(f.timeout); err != nil {
		return cfg, fmt.Errorf("--timeout: %w", err)
	}
	for _, fd := range f.keep {
		if fd < 3 || fd > 1<<16 {
			return cfg, fmt.Errorf("--keep-fd: %d is not between 3 and %d", fd, 1<<16)
		}
	}
	for _, l := range []struct {
		flag    string
		values  []string
		verdict rules.Verdict
	}{{"--allow", f.allow, rules.Allow}, {"--deny", f.deny, rules.Deny}} {
		for _, v := range l.values {
			dests, err := rules.ParseDestinations(v)
			if err != nil {
				return cfg, fmt.Errorf("%s: %w", l.flag, err)
			}
			for _, d := range dests {
				cfg.Rules = append(cfg.Rules, api.FromRule(&rules.Rule{App: cfg.App, Verdict: l.verdict, Dest: d, By: "flag"}))
			}
		}
	}
	cfg.Path, err = find(args[0])
	return cfg, err
}

// find looks an executable up as a shell does. One in the working directory is
// run only when it is named with a slash.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", &jail.Error{Code: jail.ExitCannotExec, Text: fmt.Sprintf("%s: cannot be executed", name)}
	case errors.Is(err, exec.ErrDot):
		return "", &jail.Error{Code: jail.ExitNotFound, Text: fmt.Sprintf("%s: not found in PATH", name), Hint: "netjail ./" + name}
	case errors.Is(err, os.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return "", &jail.Error{Code: jail.ExitNotFound, Text: fmt.Sprintf("%s: not found", name)}
	}
	return "", &jail.Error{Code: jail.ExitCannotExec, Text: fmt.Sprintf("%s: %v", name, errors.Unwrap(err))}
}

func parseTimeout(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.Atoi(s); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no time, write 30s or 5m", s)
	}
	return d, nil
}

// runNested runs a command in a jail that exists already: its rules hold for
// all that runs in it, and the kernel takes no second listener. What the flags
// ask for cannot be had there.
func (a *app) runNested(f *runFlags, cfg *jail.Config) error {
	outer := os.Getenv("NETJAIL_APP")
	if len(cfg.Rules) > 0 || f.as != "" || f.noPrompt || f.monitor || f.timeout != "" || f.guard != "" || len(f.leave) > 0 {
		return failed{hint(errors.New("already in a jail, whose rules hold here: flags have no effect"),
			"give them to the outer netjail"), jail.ExitFailure}
	}
	fmt.Fprintf(a.err, "netjail: already in the jail of %s: its rules hold\n", rules.AppName(outer))
	err := unix.Exec(cfg.Path, cfg.Args, os.Environ())
	return &jail.Error{Code: jail.ExitCannotExec, Text: fmt.Sprintf("run %s: %v", cfg.Path, err)}
}

package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/jail"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/proposal"
)

// learnFlags are those of a run, and where its rules go.
type learnFlags struct {
	runFlags
	out   string
	merge bool
	ask   bool
}

func (a *app) learnCommand() *cobra.Command {
	var f learnFlags
	c := &cobra.Command{
		Use:   "learn [flags] [--] COMMAND [ARG...]",
		Short: "Run a command, and write the rules that it needs",
		Long: `Run a command, allow what nothing denies, and write the rules that it needs.

Names stand for addresses; the domain stands for its hosts where three or more
were used alike and one owner has them all. Each rule has a note: how often it
was used, by which program, when. Read it before you use it.

-o FILE writes a rule file, for netjail --rules FILE --no-prompt COMMAND. It is
not written over: --merge lets the file's rules hold in the run, keeps them as
they are, and adds what is missing. Without -o the rules go to standard error,
apart from what the command prints; -o - is standard output.

Flags of a run (netjail --help) are flags here too, but for --no-prompt and
--monitor. The exit code is the command's.`,
		Example: "  netjail learn -o npm.toml -- npm ci\n  netjail --rules npm.toml --no-prompt npm ci",
		Args:    hinting(cobra.MinimumNArgs(1)),
		RunE:    func(c *cobra.Command, args []string) error { return a.learn(c, &f, args) },
	}
	c.Flags().StringVarP(&f.out, "output", "o", "", "the file to write")
	c.Flags().BoolVar(&f.merge, "merge", false, "add to a file that is there")
	c.Flags().BoolVar(&f.ask, "ask", false, "ask, and learn what is allowed")
	f.add(c)
	for _, name := range []string{"allow", "deny", "rules", "preset", "as", "timeout", "keep-fd", "32bit"} {
		_ = c.Flags().MarkHidden(name) // netjail --help has them
	}
	return c
}

// learn runs a command and writes what it was seen to need.
func (a *app) learn(c *cobra.Command, f *learnFlags, args []string) error {
	if jail.Nested() {
		return failed{hint(errors.New("already in a jail, whose rules hold here: nothing can be learned"),
			"netjail learn -- COMMAND outside of it"), jail.ExitFailure}
	}
	cfg, err := a.prepare(c, &f.runFlags, args)
	if err != nil {
		return err
	}
	cfg.Ask, cfg.Monitor, cfg.Seen = f.ask, !f.ask, new(jail.Seen)
	out, err := openTarget(f, cfg.App)
	if err != nil {
		return failed{err, jail.ExitFailure}
	}
	for _, r := range out.file.Rules() {
		r.By = "flag"
		cfg.Rules = append(cfg.Rules, api.FromRule(&r))
	}
	if err := a.start(c, &f.runFlags, cfg); err != nil {
		return err
	}
	if err := a.propose(&cfg, out); err != nil {
		return failed{err, jail.ExitFailure}
	}
	return nil
}

// propose writes the rules that a run has needed.
func (a *app) propose(cfg *jail.Config, out *target) error {
	sight := cfg.Seen.Sight()
	sight.App, sight.Domain, sight.Have = cfg.App, names.Domain, out.file.Rules()
	p := sight.Propose(time.Now())
	for i := range p.Add {
		p.Add[i].By = "learn"
	}
	file, err := out.file.Append(p.Add...)
	if err != nil {
		return err
	}
	a.caveats(cfg, out, &p)
	count := counted(len(p.Add), "rule", "rules")
	switch {
	case out.path == "":
		fmt.Fprintf(a.err, "netjail: learned %s:\n\n%s\n", count, strings.TrimRight(string(file.Bytes()), "\n"))
		a.hint("netjail learn -o FILE COMMAND writes them to a file")
		return nil
	case out.path == "-":
		_, err := a.out.Write(file.Bytes())
		return err
	}
	if err := out.save(file.Bytes()); err != nil {
		fmt.Fprintf(a.err, "netjail: learned %s, which are not written:\n\n%s\n", count, file.Bytes())
		return err
	}
	there := ""
	if out.merge {
		there = fmt.Sprintf(", %d were there", p.There)
		if p.There == 1 {
			there = ", 1 was there"
		}
	}
	fmt.Fprintf(a.err, "netjail: %s added to %s%s\n", count, out.path, there)
	a.hint(fmt.Sprintf("netjail --rules %s --no-prompt %s", notifier.ShellWord(out.path), commandLine(cfg)))
	return nil
}

// caveats say what the rules do not have.
func (a *app) caveats(cfg *jail.Config, out *target, p *proposal.Proposal) {
	note := func(format string, args ...any) { fmt.Fprintf(a.err, "netjail: note: "+format+"\n", args...) }
	if a.code != 0 {
		note("%s exited with %d: what it would have done otherwise is not in the rules", cfg.App, a.code)
	}
	if n := cfg.Seen.More(); n > 0 {
		note("more than 4096 destinations: %s to others are not in the rules", counted(n, "call", "calls"))
	}
	if cfg.Seen.Left() {
		note("%s left programs running: what they do from now on is not in the rules", cfg.App)
	}
	for _, d := range p.Unmet {
		note("%s was allowed, but %s has a rule that does not allow it, which stays as it is", d, out.name())
	}
	for _, r := range p.Add {
		if r.Dest.Host.Kind == rules.HostSuffix {
			note("%s allows the whole domain", r.Dest)
		}
	}
}

// commandLine is the command, with the flag that its rules depend on.
func commandLine(cfg *jail.Config) string {
	var words []string
	if cfg.App != rules.AppName(cfg.Args[0]) {
		words = append(words, "--as", cfg.App)
	}
	if strings.HasPrefix(cfg.Args[0], "-") {
		words = append(words, "--")
	}
	for _, arg := range cfg.Args {
		words = append(words, notifier.ShellWord(arg))
	}
	return strings.Join(words, " ")
}

// header begins a file of learned rules.
func header(app string) []byte {
	return fmt.Appendf(nil, "# Learned by netjail from a run of %s. Edit freely.\n", app)
}

// Package cli is netjail's command line.
//
//	os.Exit(cli.Run(ctx, os.Args, os.Stdout, os.Stderr))
//
// Standard output carries what was asked for and nothing else; the rest goes to
// standard error, errors as "netjail: error: ..." with what to do about them as
// "netjail: hint: ...". Commands exit with 0, with 1 when what was asked about
// is not so, and with 2 on an error; a run exits as its program does.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/cmd/netjail/doctor"
	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard/netns"
	"github.com/netjail/netjail/daemon/jail"
)

// Exit codes of commands. A run has those of package jail.
const (
	exitOK    = 0
	exitNo    = 1
	exitError = 2
)

const usage = `netjail runs a program that reaches no network until you say so.

Usage:
  netjail [flags] [--] COMMAND [ARG...]  run COMMAND, ask about new destinations
  netjail learn [-o FILE] [--] COMMAND   run it, and write the rules it needs
  netjail self                           in a jail: what is allowed here
  netjail rules list|add|remove|edit|undo|check|diff|reload|import|export
  netjail blocklist add|list|remove|update|test
  netjail explain|test APP DEST          what the rules say of a call, and why
  netjail pending                        what was asked and not answered yet
  netjail answer ID allow|deny WORD...   answer it
  netjail log|status|top                 what was decided, what runs, both live
  netjail doctor                         what works here, what is missing
  netjail guard                          the service of --guard nft (root)

Flags of a run:
      --allow DEST     allow DEST for this run (repeatable, or a comma list)
      --deny DEST      deny DEST for this run
      --rules FILE     take the rules of a file for this run
      --preset NAME    allow the hosts that npm, go, pip, cargo, apt or git is
                       configured to use here (netjail preset shows them)
      --as NAME        whose rules apply; default: the command's name
      --no-prompt      ask nobody: deny what no rule allows
      --monitor        enforce nothing but what denies: say what is allowed
      --timeout TIME   end the program after TIME (10s, 5m), exit 124
      --keep-fd N      let the program inherit descriptor N
      --32bit          let 32-bit programs run, too
      --guard KIND     auto, strict, landlock, nft or netns: the second wall
      --no-scope WHAT  a wall without WHAT: signal, or abstract (sockets)

DEST is [proto://]host[:ports]: example.org:443, 10.0.0.0/8, udp://192.0.2.1:53,
@localhost, @lan, @internet, @any, listen://127.0.0.1:8080, unix:/path.

Examples:
  netjail curl https://example.org
  netjail --allow @localhost --no-prompt -- npm test
  netjail rules add curl allow example.org:443 --for 1h

A run exits as its program does (128+N: ended by signal N), or with 124 after
--timeout, 125 when netjail itself failed, 126 or 127 if COMMAND cannot be run.
`

// app carries what every command uses.
type app struct {
	out, err io.Writer
	code     int // to exit with
}

// Run runs netjail with args, the program's name first, and returns what to
// exit with.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if args[0] == jail.SuccessorName {
		if err := jail.Succeed(); err != nil {
			fmt.Fprintf(stderr, "netjail: error: succeed: %v\n", err)
			return jail.ExitFailure
		}
		return exitOK
	}
	if args[0] == netns.Name {
		if err := netns.Serve(); err != nil {
			return jail.ExitFailure // whoever started it tells why
		}
		return exitOK
	}
	if args[0] == doctor.HelperName {
		return doctor.Help(args[1:], stdout)
	}
	a := &app{out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args[1:])
	if isCompletion(args) {
		a.complete(root, args[2:])
	}
	if err := root.ExecuteContext(ctx); err != nil {
		return a.fail(err, args[1:])
	}
	return a.code
}

func (a *app) root() *cobra.Command {
	root := a.runCommand()
	root.Use = "netjail [flags] [--] COMMAND [ARG...]"
	root.Version = version()
	root.SetVersionTemplate("netjail {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetHelpTemplate(usage)
	root.AddCommand(
		a.explicitRun(),
		a.learnCommand(),
		a.selfCommand(),
		a.rulesCommand(),
		a.explainCommand(),
		a.testCommand(),
		a.blocklistCommand(),
		a.presetCommand(),
		a.trustCommand(),
		a.pendingCommand(),
		a.answerCommand(),
		a.logCommand(),
		a.statusCommand(),
		a.topCommand(),
		a.doctorCommand(),
		a.daemonCommand(),
		a.completionCommand(),
		a.guardCommand(),
	)
	for _, c := range root.Commands() {
		c.SetHelpTemplate(subHelp)
	}
	return root
}

// subHelp is cobra's own, without the flags of a run.
const subHelp = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`

// version is the module's, from the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// hinted is an error that says what to do.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func hint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// hinting makes a wrong number of arguments point to the command's help.
func hinting(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return hint(err, "%s --help", c.CommandPath())
		}
		return nil
	}
}

// failed is an error with an exit code.
type failed struct {
	error
	code int
}

func (f failed) Unwrap() error { return f.error }

// fail prints err and returns what to exit with.
func (a *app) fail(err error, args []string) int {
	fmt.Fprintf(a.err, "netjail: error: %v\n", err)
	var (
		h    hinted
		said *api.Error
		run  *jail.Error
		code = exitError
	)
	switch {
	case errors.As(err, &h):
		a.hint(h.hint)
	case errors.As(err, &said):
		a.hint(said.Hint)
	case errors.As(err, &run):
		a.hint(run.Hint)
		return run.Code
	}
	var f failed
	if errors.As(err, &f) {
		code = f.code
	}
	return code
}

func (a *app) hint(text string) {
	if text != "" {
		fmt.Fprintf(a.err, "netjail: hint: %s\n", text)
	}
}

// json writes v as JSON, with the version of its form.
func (a *app) json(v any) error {
	if list, ok := v.(api.RuleList); ok {
		return a.jsonRules(&list)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	fields["version"] = json.RawMessage(strconv.Itoa(api.Version))
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(fields)
}

// dial connects to the daemon, and starts one if there is none.
func (a *app) dial(ctx context.Context) (*api.Client, error) {
	dir, err := api.RuntimeDir()
	if err != nil {
		return nil, err
	}
	return api.DialOrStart(ctx, dir, nil)
}

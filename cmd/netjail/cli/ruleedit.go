package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

func (a *app) rulesEdit() *cobra.Command {
	return &cobra.Command{
		Use:   "edit [APP]",
		Short: "Edit a rule file; it is taken if it is good",
		Long: `Edit an app's rule file, or that of every app, and take it if it is good.

The editor ($VISUAL, $EDITOR, or vi) works on a copy. With a mistake in it you
are asked whether to go on editing; until it is good nothing changes. What was
taken is shown.`,
		Example: "  EDITOR=nano netjail rules edit firefox",
		Args:    hinting(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			name := api.Every
			if len(args) > 0 {
				name = args[0]
			}
			if name != api.Every {
				if err := rules.CheckAppName(name); err != nil {
					return hint(err, "an app is the name of a program, or %s for every one", api.Every)
				}
			}
			in := api.RuleText{App: name}
			if err := a.ask(c, api.OpRulesText, in, &in); err != nil {
				return err
			}
			text, err := a.edit(c, &in)
			if err != nil {
				return err
			}
			if text == in.Text {
				fmt.Fprintln(a.err, "netjail: nothing was changed")
				return nil
			}
			in.Was, in.Text = in.Text, text
			var list api.RuleList
			if err := a.ask(c, api.OpRulesWrite, in, &list); err != nil {
				return err
			}
			// The copy was in reach of programs in jails: what was taken is shown.
			fmt.Fprint(a.out, cleanLines(rulefile.Diff(in.File, in.File, []byte(in.Was), []byte(in.Text))))
			fmt.Fprintf(a.out, "%s: %d rules in force\n", belowHome(in.File), len(list.Rules))
			return nil
		},
	}
}

// newText is what an editor opens where there is no file yet.
const newText = `# Rules of %s, for instance:
# [[rule]]
# allow = "example.org:443"
# note = "why"
`

// edit has a copy of a rule file edited until it is good.
func (a *app) edit(c *cobra.Command, in *api.RuleText) (string, error) {
	dir, err := os.MkdirTemp("", "netjail-edit-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, filepath.Base(in.File))
	start := in.Text
	if start == "" {
		start = fmt.Sprintf(newText, in.App)
	}
	if err := os.WriteFile(path, []byte(start), 0o600); err != nil {
		return "", err
	}
	for {
		if err := a.runEditor(c, path); err != nil {
			return "", err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("edit: %w", err)
		}
		if string(text) == start {
			return in.Text, nil
		}
		if _, err = rulefile.Parse(filepath.Base(in.File), appOf(in.File), text); err == nil {
			return string(text), nil
		}
		fmt.Fprintf(a.err, "netjail: error: %v\n", err)
		if !a.again() {
			return "", errors.New("nothing was changed")
		}
	}
}

// runEditor runs the user's editor, which may come with arguments.
func (a *app) runEditor(c *cobra.Command, path string) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	cmd := exec.CommandContext(c.Context(), "sh", "-c", editor+` "$1"`, "sh", path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.err
	if err := cmd.Run(); err != nil {
		return hint(fmt.Errorf("%s: %w: nothing was changed", editor, err), "EDITOR=nano netjail rules edit")
	}
	return nil
}

// again asks whether to go on editing. Without an answer it is no.
func (a *app) again() bool {
	fmt.Fprint(a.err, "edit again? [Y/n] ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(a.err)
		return false
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "", "y", "yes":
		return true
	}
	return false
}

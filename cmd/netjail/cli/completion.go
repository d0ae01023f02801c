package cli

import (
	_ "embed"
	"fmt"

	"github.com/spf13/cobra"
)

// The scripts know nothing of netjail's commands: they ask the command table,
// see complete.go.
var (
	//go:embed completion/netjail.bash
	bashCompletion string
	//go:embed completion/netjail.zsh
	zshCompletion string
	//go:embed completion/netjail.fish
	fishCompletion string
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete netjail's words",
		Long: `Print a script that makes a shell complete netjail's words: commands, flags,
apps, rules, questions, presets. No daemon is started for that. Behind the
command that is to run its own completion goes on; in bash that needs the
package bash-completion.

  bash: source <(netjail completion bash)      in ~/.bashrc
  zsh:  source <(netjail completion zsh)       in ~/.zshrc, behind compinit
  fish: netjail completion fish | source       in ~/.config/fish/config.fish

A package puts it into a file instead, below /usr/share:
bash-completion/completions/netjail, zsh/site-functions/_netjail,
fish/vendor_completions.d/netjail.fish.`,
		Args: hinting(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			text, ok := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[args[0]]
			if !ok {
				return hint(fmt.Errorf("no completion for %q", args[0]), "bash, zsh or fish")
			}
			_, err := fmt.Fprint(a.out, text)
			return err
		},
	}
}

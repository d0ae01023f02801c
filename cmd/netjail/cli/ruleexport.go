package cli

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

func (a *app) rulesExport() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "export [APP]",
		Short:   "Write all rules, or an app's, as one file for netjail rules import",
		Example: "  netjail rules export -o rules.toml",
		Args:    hinting(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f := api.RuleFilter{Brief: true}
			if len(args) > 0 {
				f.App = args[0]
			}
			var in api.RuleList
			if err := a.ask(c, api.OpRulesList, f, &in); err != nil {
				return err
			}
			list, err := api.ToRules(in.Rules)
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(r rules.Rule) bool { return r.Jail != "" })
			if f.App != "" && len(list) == 0 {
				return failed{hint(fmt.Errorf("no rules of %s", f.App), "netjail rules list"), exitNo}
			}
			data, err := rulefile.Export(list)
			if err != nil {
				return err
			}
			if file == "" || file == "-" {
				_, err = a.out.Write(data)
				return err
			}
			if err := os.WriteFile(file, data, 0o600); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			fmt.Fprintf(a.err, "netjail: %d rules written to %s\n", len(list), file)
			return nil
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "write this file, not standard output")
	return c
}

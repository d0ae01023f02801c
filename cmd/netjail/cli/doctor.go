package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/cmd/netjail/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Try what netjail needs here, and say what is missing; exits 1 when it cannot run",
		Long: `Try what netjail needs on this machine: run a jail, and look at the kernel, the
daemon, the desktop and the name servers. Nothing leaves the machine.

  ok     it works
  lost   a jail can be run, and something of it is missing
  fails  no jail can be run
  -      not there, and nothing that this netjail does is lost by it

Exits 0 when a jail can be run, 1 when not.`,
		Args: hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			r := doctor.Examine(c.Context(), doctor.Here())
			if r.Verdict == doctor.Cannot {
				a.code = exitNo
			}
			if asJSON {
				return a.json(r)
			}
			a.showDiagnosis(&r)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showDiagnosis(report *doctor.Report) {
	for _, r := range report.Probes {
		state, without := r.State.String(), "lost"
		if r.State == doctor.Absent {
			state, without = "-", "gives"
		}
		fmt.Fprintf(a.out, "%-5s  %-12s  %s\n", state, r.Name, r.Detail)
		for _, l := range []struct{ what, text string }{{without, r.Lost}, {"fix", r.Fix}} {
			if l.text != "" {
				fmt.Fprintf(a.out, "%21s%s: %s\n", "", l.what, l.text)
			}
		}
	}
	fmt.Fprintln(a.out, summary(report))
}

func summary(r *doctor.Report) string {
	switch r.Verdict {
	case doctor.Works:
		return fmt.Sprintf("netjail works here; behind the filter of a jail: %s", r.Behind)
	case doctor.Less:
		return fmt.Sprintf("netjail works here, without what is lost above; behind the filter of a jail: %s", r.Behind)
	}
	return "netjail cannot run a program here, or could not try: see what fails"
}

package cli

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

func (a *app) pendingCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "pending",
		Short: "Show open questions, and those that nobody answered",
		Long: `Show open questions, and those that nobody answered: netjail answer decides
them, from any terminal.

A question is open while a call waits for its answer, and missed when it was
not answered in time, closed, or when there was nobody to ask. Missed ones are
kept in memory until a rule decides them; a daemon that nothing else needs
stays an hour for them.`,
		Args: hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			list := api.Questions{Open: []notifier.Question{}, Missed: []api.Missed{}}
			if _, err := a.askRunning(api.OpQuestionList, nil, &list); err != nil {
				return err
			}
			if asJSON {
				return a.json(list)
			}
			if len(list.Open)+len(list.Missed) == 0 {
				fmt.Fprintln(a.err, "netjail: no questions")
				return nil
			}
			a.showQuestions(&list, time.Now())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(a.pendingClear())
	return c
}

// askRunning calls the daemon if there is one. Without one there are no
// questions, and starting it would find none.
func (a *app) askRunning(op string, args, reply any) (running bool, err error) {
	dir, err := api.RuntimeDir()
	if err != nil {
		return false, err
	}
	client, err := api.Dial(api.SocketPath(dir), nil)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer client.Close()
	return true, client.Ask(op, args, reply)
}

func (a *app) showQuestions(list *api.Questions, now time.Time) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tAPP\tWHAT\tDESTINATION\tDOMAIN\tCALLS\tNAMES")
	row := func(q *notifier.Question, state string, calls int) {
		what, dest := q.Op.String(), q.Dest.String()
		if q.Summary() {
			what, dest = "summary", fmt.Sprintf("all %d of the same", len(q.Items))
		}
		domain, _ := q.Reach(notifier.Domain)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n",
			q.ID, state, q.AppName(), what, dest, orNone(domain), calls, someNames(q.Names))
	}
	for i := range list.Open {
		q := &list.Open[i]
		left := max(0, q.Deadline.Sub(now).Round(time.Second))
		row(q, fmt.Sprintf("open, %d s left", int(left.Seconds())), q.Waiting)
	}
	for i := range list.Missed {
		m := &list.Missed[i]
		q := m.Question()
		row(&q, missedWhen(m, now), m.Calls)
	}
	_ = w.Flush()
}

// missedWhen says when a question was missed the last time, and why.
func missedWhen(m *api.Missed, now time.Time) string {
	why := map[string]string{
		api.MissedTimeout: "not answered", api.MissedDismissed: "closed",
		api.MissedNobody: "nobody to ask", api.MissedFull: "too many open",
	}[m.Why]
	last := m.Last.Local()
	form := "15:04"
	if now.Sub(last) > 12*time.Hour {
		form = "2006-01-02 15:04"
	}
	return "missed " + last.Format(form) + ", " + why
}

func orNone(d rules.Destination) string {
	if d.IsZero() {
		return "-"
	}
	return d.String()
}

// someNames lists names that a program looked up.
func someNames(list []string) string {
	const most = 3
	if len(list) == 0 {
		return "-"
	}
	var some []string
	for _, n := range list[:min(len(list), most)] {
		some = append(some, notifier.Clean(n, 60))
	}
	if len(list) > most {
		some = append(some, fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(some, ", ")
}

func (a *app) pendingClear() *cobra.Command {
	return &cobra.Command{
		Use:   "clear",
		Short: "Forget the missed questions; open ones stay",
		Args:  hinting(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			var gone api.Questions
			if _, err := a.askRunning(api.OpQuestionClear, nil, &gone); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "missed questions forgotten: %d\n", len(gone.Missed))
			return nil
		},
	}
}

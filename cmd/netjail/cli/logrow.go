package cli

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
)

var logColumns = []string{"TIME", "APP", "VERDICT", "WHAT", "DESTINATION", "CALLS", "NAMES", "WHY"}

// logRow is an event as people read it.
func logRow(e *api.HistoryEvent) []string {
	return []string{
		e.Time.Local().Format(time.DateTime), notifier.Clean(e.App, 40), e.Verdict.String(), notifier.Clean(e.What, 20),
		notifier.Clean(e.Dest.String(), 100), strconv.Itoa(e.Count), otherNames(e), why(e),
	}
}

// otherNames are those that the destination does not say already.
func otherNames(e *api.HistoryEvent) string {
	var list []string
	for _, name := range e.Names {
		if name != e.Dest.Host.Name {
			list = append(list, name)
		}
	}
	if a := e.Addr; a.IsValid() && a.Unmap() != e.Dest.Host.Addr {
		list = append([]string{a.Unmap().String()}, list...)
	}
	return someNames(list)
}

// why says who decided, or which rule.
func why(e *api.HistoryEvent) string {
	switch e.Kind {
	case api.HistoryAnswer:
		text := "answered by " + notifier.Clean(e.By, 40) + ": " + notifier.Answer{Verdict: e.Verdict, Lifetime: e.Lifetime}.Done()
		if !e.About.IsZero() && e.About != e.Dest {
			text += ", for " + notifier.Clean(e.About.String(), 100)
		}
		return text
	case api.HistoryMissed:
		return "nobody answered: " + map[string]string{
			api.MissedTimeout: "not in time", api.MissedDismissed: "it was closed",
			api.MissedNobody: "there was nobody to ask", api.MissedFull: "too many were open",
		}[e.Why]
	}
	for _, by := range []string{"allowed by ", "denied by "} {
		if file, ok := strings.CutPrefix(e.Why, by); ok {
			return by + notifier.Clean(belowHome(file), 200)
		}
	}
	return notifier.Clean(e.Why, 200)
}

func (a *app) logSummary() *cobra.Command {
	var f logFlags
	var asJSON, asMarkdown bool
	c := &cobra.Command{
		Use:     "summary",
		Short:   "Count what was decided, by app and host",
		Example: "  netjail log summary --since 1h --markdown >> \"$GITHUB_STEP_SUMMARY\"",
		Args:    hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return hint(err, "netjail log --help")
			}
			client, err := a.patient(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			var sum api.HistorySummary
			if err := client.Call(c.Context(), api.OpHistorySummary, filter, &sum); err != nil {
				return err
			}
			if asJSON {
				a.tellState(&api.HistoryState{Notice: sum.Notice})
				return a.json(sum)
			}
			a.tellState(&sum.HistoryState)
			if asMarkdown {
				a.markdown(&sum)
				return nil
			}
			a.showSummary(&sum)
			return nil
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asMarkdown, "markdown", false, "print a table for a summary of a CI job")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showSummary(sum *api.HistorySummary) {
	if len(sum.Hosts) == 0 {
		fmt.Fprintln(a.err, "netjail: nothing of that was decided")
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "APP\tHOST\tALLOWED\tDENIED\tLAST")
	for _, h := range sum.Hosts {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", notifier.Clean(h.App, 40), notifier.Clean(h.Host, 100), h.Allowed, h.Denied, h.Last.Local().Format(time.DateTime))
	}
	_ = w.Flush()
}

// markdown prints a table as forges show it. A job without any network has one
// as well.
func (a *app) markdown(sum *api.HistorySummary) {
	fmt.Fprintln(a.out, "| app | host | allowed | denied | last |\n|---|---|---:|---:|---|")
	for _, h := range sum.Hosts {
		fmt.Fprintf(a.out, "| %s | %s | %d | %d | %s |\n", code(h.App), code(h.Host), h.Allowed, h.Denied, h.Last.UTC().Format("2006-01-02 15:04:05Z"))
	}
}

// code is a cell of a Markdown table in which nothing is markup.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", `\|`).Replace(notifier.Clean(s, 100))
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

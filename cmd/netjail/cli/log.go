package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

const logLong = `Show what was decided: by people, by rules, and for the lack of them

Calls of the same kind within a short time are one line, with their number; what
needs no rule, such as most local sockets, is not listed. Events are kept for 90
days, as long as they take no more than 200 MB, in history.db below
$XDG_STATE_HOME/netjail. They are written within a second, and never in the way
of a decision.

HOST is a name or an address; .example.org is that name and all below it. WHEN
is how long ago (90s, 2h, 7d) or a date (2006-01-02, "2006-01-02 15:04").`

// logFlags select events.
type logFlags struct {
	since, app, host string
	denied           bool
}

func (f *logFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.since, "since", "", "only what is not older: `WHEN`")
	flags.StringVar(&f.app, "app", "", "only of one `APP`")
	flags.StringVar(&f.host, "host", "", "only about one `HOST`")
	flags.BoolVar(&f.denied, "denied", false, "only what was denied")
}

// filter checks the flags.
func (f *logFlags) filter(now time.Time) (api.HistoryFilter, error) {
	out := api.HistoryFilter{App: f.app, Denied: f.denied}
	if f.app != "" {
		if err := rules.CheckAppName(f.app); err != nil {
			return out, fmt.Errorf("--app: %w", err)
		}
	}
	if f.host != "" {
		h, err := rules.ParseHost(f.host)
		switch h.Kind {
		case rules.HostName, rules.HostSuffix, rules.HostAddr, rules.HostUnix:
		default:
			if err == nil {
				err = fmt.Errorf("%q is no name and no address", f.host)
			}
		}
		if err != nil {
			return out, fmt.Errorf("--host: %w", err)
		}
		out.Host = h.String()
	}
	var err error
	if f.since != "" {
		if out.Since, err = parseSince(f.since, now); err != nil {
			return out, fmt.Errorf("--since: %w", err)
		}
	}
	return out, nil
}

// parseSince reads how long ago something was, or when.
func parseSince(s string, now time.Time) (time.Time, error) {
	if l, err := rules.ParseLifetime(s); err == nil && l.Kind == rules.For {
		return now.Add(-l.For), nil
	}
	for _, form := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time, write 90s, 2h, 7d or 2006-01-02", s)
}

func (a *app) logCommand() *cobra.Command {
	var f logFlags
	var limit int
	var follow, asJSON bool
	c := &cobra.Command{
		Use:     "log",
		Short:   "Show what was decided",
		Long:    logLong,
		Example: "  netjail log --since 2h --denied\n  netjail log --app npm --host .example.org -f",
		Args:    hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return hint(err, "netjail log --help")
			}
			if limit < 1 || limit > 10000 {
				return hint(fmt.Errorf("-n: %d is not in 1-10000", limit), "netjail log --help")
			}
			filter.Limit = limit
			return a.log(c.Context(), filter, follow, asJSON)
		},
	}
	f.add(c)
	c.Flags().IntVarP(&limit, "limit", "n", 200, "show that many of the latest")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; with -f one object on each line")
	c.AddCommand(a.logSummary())
	return c
}

// log shows events, and goes on to show them.
func (a *app) log(ctx context.Context, f api.HistoryFilter, follow, asJSON bool) error {
	client, err := a.patient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	var page api.HistoryPage
	if err := client.Call(ctx, api.OpHistoryQuery, f, &page); err != nil {
		return err
	}
	if asJSON && !follow {
		a.tellState(&api.HistoryState{Notice: page.Notice})
		return a.json(page)
	}
	show := a.logTable()
	if asJSON {
		show = a.logLines
	}
	a.tellState(&page.HistoryState)
	if page.More {
		fmt.Fprintf(a.err, "netjail: only the latest %d are shown: -n %d shows more\n", len(page.Events), min(10*len(page.Events), 10000))
	}
	if len(page.Events) == 0 && !follow {
		fmt.Fprintln(a.err, "netjail: nothing of that was decided")
	}
	if err := show(page.Events); err != nil || !follow {
		return err
	}
	return a.follow(ctx, client, f, page.Last, show)
}

// follow asks for news each second, which is how long the daemon takes to
// write them.
func (a *app) follow(ctx context.Context, client *api.Client, f api.HistoryFilter, last int64, show func([]api.HistoryEvent) error) error {
	f.Follow, f.After, f.Limit = true, last, 1000
	for {
		var page api.HistoryPage
		if err := client.Call(ctx, api.OpHistoryQuery, f, &page); err != nil {
			return err
		}
		a.tellState(&api.HistoryState{Notice: page.Notice})
		if err := show(page.Events); err != nil {
			return err
		}
		f.After = page.Last
		if page.More {
			continue
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// patient connects to the daemon for requests that may take their time.
func (a *app) patient(ctx context.Context) (*api.Client, error) {
	client, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := client.Listen(); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// tellState says what is wrong with the history.
func (a *app) tellState(st *api.HistoryState) {
	if st.Notice != "" {
		fmt.Fprintf(a.err, "netjail: %s\n", st.Notice)
	}
	if st.Lost > 0 {
		fmt.Fprintf(a.err, "netjail: %d events were lost: there was no time, or no room, to write them\n", st.Lost)
	}
	if st.Trouble != "" {
		fmt.Fprintf(a.err, "netjail: nothing is written now: %s\n", st.Trouble)
	}
}

// logLines prints each event as a line of JSON.
func (a *app) logLines(list []api.HistoryEvent) error {
	for _, e := range list {
		line, err := json.Marshal(struct {
			Version int `json:"version"`
			api.HistoryEvent
		}{api.Version, e})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(a.out, string(line)); err != nil {
			return err
		}
	}
	return nil
}

// logTable prints events as a table, whose columns only grow: what follows is
// not known yet.
func (a *app) logTable() func([]api.HistoryEvent) error {
	widths := make([]int, len(logColumns))
	started := false
	return func(list []api.HistoryEvent) error {
		var lines [][]string
		if !started && len(list) > 0 {
			started = true
			lines = append(lines, logColumns)
		}
		for i := range list {
			lines = append(lines, logRow(&list[i]))
		}
		for _, cells := range lines {
			for i, c := range cells {
				widths[i] = max(widths[i], len([]rune(c)))
			}
		}
		var b strings.Builder
		for _, cells := range lines {
			for i, c := range cells {
				if i == len(cells)-1 {
					b.WriteString(c + "\n")
				} else {
					fmt.Fprintf(&b, "%-*s  ", widths[i], c)
				}
			}
		}
		_, err := fmt.Fprint(a.out, b.String())
		return err
	}
}

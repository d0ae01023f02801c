package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// listFlags select rules, and say in which order they are shown.
type listFlags struct {
	verdict, host, sort string
	unused, shadowed    bool
	json                bool
}

func (a *app) rulesList() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use:     "list [APP]",
		Short:   "List rules; those of every app belong to " + api.Every,
		Example: "  netjail rules list firefox --host www.example.org --sort dest",
		Args:    hinting(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			// The process ends with the list: what there is to collect is not
			// worth looking for. A daemon's reply bounds it.
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			pick, err := f.picker()
			if err != nil {
				return err
			}
			filter := api.RuleFilter{Brief: true}
			if len(args) > 0 {
				filter.App = args[0]
			}
			var list api.RuleList
			if err := a.ask(c, api.OpRulesList, filter, &list); err != nil {
				return err
			}
			if f.unused && len(list.Rules) > 0 && list.Rules[0].Use == nil {
				return hint(fmt.Errorf("--unused: it is not known which rules were used"), "netjail rules list")
			}
			all := len(list.Rules)
			list.Rules = picked(list.Rules, pick)
			f.order(list.Rules)
			a.differ(list.Differs)
			if f.json {
				return a.json(list)
			}
			switch {
			case all == 0:
				fmt.Fprintln(a.err, "netjail: no rules yet")
			case len(list.Rules) == 0:
				fmt.Fprintln(a.err, "netjail: no such rules")
			default:
				a.tableOf(list.Rules, f.sort == "last" || f.sort == "hits" || f.unused)
			}
			return nil
		},
	}
	c.Flags().StringVar(&f.verdict, "verdict", "", "only those that allow, deny or ask")
	c.Flags().StringVar(&f.host, "host", "", "only those of this host, or that cover it")
	c.Flags().StringVar(&f.sort, "sort", "app", "by app, dest, hits or last (use)")
	c.Flags().BoolVar(&f.unused, "unused", false, "only those that never decided")
	c.Flags().BoolVar(&f.shadowed, "shadowed", false, "only those that another one always comes before")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return c
}

// differ tells of files that somebody else changed.
func (a *app) differ(files []string) {
	for _, file := range files {
		fmt.Fprintf(a.err, "netjail: %s on disk is not what is in force\n", belowHome(file))
	}
	if len(files) > 0 {
		a.hint("netjail rules diff")
	}
}

// picker returns which rules are to be listed.
func (f *listFlags) picker() (func(*api.Rule) bool, error) {
	var verdict rules.Verdict
	var host rules.Host
	var err error
	if f.verdict != "" {
		if verdict, err = rules.ParseVerdict(f.verdict); err != nil {
			return nil, hint(err, "--verdict allow, deny or ask")
		}
	}
	if f.host != "" {
		if host, err = rules.ParseHost(f.host); err != nil {
			return nil, fmt.Errorf("--host: %w", err)
		}
	}
	if !slices.Contains([]string{"app", "dest", "hits", "last"}, f.sort) {
		return nil, hint(fmt.Errorf("--sort: %q is no order", f.sort), "--sort app, dest, hits or last")
	}
	return func(r *api.Rule) bool {
		return (f.verdict == "" || r.Verdict == verdict) && (f.host == "" || covers(r.Dest.Host, host)) &&
			(!f.unused || r.Use != nil && r.Use.Hits == 0) && (!f.shadowed || r.Shadowed != "")
	}, nil
}

// picked returns those of list that pick selects, in the place of it. The rules
// are large to be handed about.
func picked(list []api.Rule, pick func(*api.Rule) bool) []api.Rule {
	n := 0
	for i := range list {
		if pick(&list[i]) {
			if i > n {
				list[n] = list[i]
			}
			n++
		}
	}
	return list[:n]
}

// covers says whether a rule of h is one to show to who asks about o. A name may
// have any address, which is of no interest here.
func covers(h, o rules.Host) bool {
	named := func(h rules.Host) bool { return h.Kind == rules.HostName || h.Kind == rules.HostSuffix }
	return h == o || h.Kind != rules.HostAny && h.Kind <= o.Kind && named(h) == named(o) && h.Meets(o)
}

// order sorts rules; app is how they come.
func (f *listFlags) order(list []api.Rule) {
	use := func(r *api.Rule) (hits, last int64) {
		if r.Use == nil {
			return -1, 0
		}
		if r.Use.Last != nil {
			last = r.Use.Last.Unix()
		}
		return r.Use.Hits, last
	}
	switch f.sort {
	case "dest":
		slices.SortStableFunc(list, func(a, b api.Rule) int {
			return cmp.Or(cmp.Compare(destKey(a.Dest), destKey(b.Dest)), cmp.Compare(a.App, b.App))
		})
	case "hits", "last":
		slices.SortStableFunc(list, func(a, b api.Rule) int {
			ah, al := use(&a)
			bh, bl := use(&b)
			if f.sort == "hits" {
				return cmp.Compare(bh, ah)
			}
			return cmp.Compare(bl, al)
		})
	}
}

// destKey sorts names by their domains, and what is of one host together.
func destKey(d rules.Destination) string {
	h := d.Host
	if h.Kind != rules.HostName && h.Kind != rules.HostSuffix {
		return " " + h.String() + " " + d.String()
	}
	labels := strings.Split(h.Name, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + " " + d.String()
}

func (a *app) showRules(list []api.Rule) { a.tableOf(list, false) }

// tableOf prints rules, with how they were used where that is known or asked.
func (a *app) tableOf(list []api.Rule, used bool) {
	used = used || slices.ContainsFunc(list, func(r api.Rule) bool { return r.Use != nil })
	head := []string{"ID", "APP", "VERDICT", "DESTINATION", "LIFETIME", "BY", "HITS", "LAST", "WHERE"}
	if !used {
		head = slices.Delete(head, 6, 8)
	}
	t := newTable(len(list), head...)
	now := time.Now()
	var file, short string // many rules in a row are of one file
	for i := range list {
		r := &list[i]
		t.cell(r.ID)
		t.cell(r.App)
		t.cell(r.Verdict.String())
		t.text, _ = r.Dest.AppendText(t.text)
		t.end()
		t.cell(lifetime(r))
		t.cell(cmp.Or(r.By, "-"))
		if used {
			hits, last := usageOf(r, now)
			t.cell(hits)
			t.cell(last)
		}
		if r.File != file {
			file, short = r.File, belowHome(r.File)
		}
		t.text = appendPlace(t.text, short, r.Line)
		t.end()
	}
	_ = t.print(a.out)
}

// usageOf says how often a rule decided, and when last.
func usageOf(r *api.Rule, now time.Time) (hits, last string) {
	switch {
	case r.Use == nil:
		return "-", "-"
	case r.Use.Last == nil:
		return strconv.FormatInt(r.Use.Hits, 10), "-"
	}
	form := "2006-01-02"
	if now.Sub(*r.Use.Last) < 12*time.Hour {
		form = "15:04"
	}
	return strconv.FormatInt(r.Use.Hits, 10), r.Use.Last.Local().Format(form)
}

// jsonRules is json for a list of rules, which may be long.
func (a *app) jsonRules(list *api.RuleList) error {
	b := []byte("{\n")
	if len(list.Differs) > 0 {
		differs, err := json.MarshalIndent(list.Differs, "  ", "  ")
		if err != nil {
			return err
		}
		b = append(fmt.Appendf(b, "  \"differs\": %s", differs), ",\n"...)
	}
	b, err := api.AppendRules(append(b, `  "rules": `...), list.Rules, 1)
	if err != nil {
		return err
	}
	_, err = a.out.Write(fmt.Appendf(b, ",\n  \"version\": %d\n}\n", api.Version))
	return err
}

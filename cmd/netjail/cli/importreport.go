package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/lsrules"
	"github.com/netjail/netjail/rules/opensnitch"
)

// report is what becomes of an import.
type report struct {
	From      string              `json:"from"`
	Dry       bool                `json:"dry_run"`
	Sources   []opensnitch.Result `json:"sources,omitempty"` // OpenSnitch's files, and why some give nothing
	Refused   []lsrules.Refusal   `json:"refused,omitempty"` // of a rule group
	Imported  *api.RuleImported   `json:"imported,omitempty"`
	Blocklist string              `json:"blocklist,omitempty"` // that the names are in now
	Names     int                 `json:"names,omitempty"`     // in it
	Lists     *api.Blocklists     `json:"lists,omitempty"`     // in force since
	Notes     []string            `json:"notes,omitempty"`
}

// refused counts what was not taken.
func (r *report) refused() int {
	n := len(r.Refused)
	for _, s := range r.Sources {
		if s.Refused != "" {
			n++
		}
	}
	if r.Imported != nil {
		n += len(r.Imported.Kept)
	}
	return n
}

func (a *app) showReport(r *report) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	clean := func(s string) string { return notifier.Clean(s, 300) }
	if len(r.Sources) > 0 {
		fmt.Fprintln(w, "FILE\tTAKEN\tAS, OR WHY NOT")
	}
	for _, s := range r.Sources {
		if s.Refused != "" {
			fmt.Fprintf(w, "%s\tno\t%s\n", clean(s.File), clean(s.Refused))
			continue
		}
		for i, rule := range s.Rules {
			fmt.Fprintf(w, "%s\tyes\t%s\n", clean([]string{s.File, ""}[min(i, 1)]), ruleWords(&rule))
		}
		for _, n := range s.Notes {
			fmt.Fprintf(w, "\t\tnote: %s\n", clean(n))
		}
	}
	for _, f := range r.Refused {
		fmt.Fprintf(w, "%s\tno\t%s\n", clean(f.What), clean(f.Why))
	}
	_ = w.Flush()
	for _, n := range r.Notes {
		fmt.Fprintf(a.out, "note: %s\n", n)
	}
	a.showTaken(r)
}

// showTaken says what is there now.
func (a *app) showTaken(r *report) {
	done := "imported"
	if r.Dry {
		done = "would be imported"
	}
	if i := r.Imported; i != nil {
		for _, k := range i.Kept {
			fmt.Fprintf(a.out, "kept: %s %s %s, %s: not replaced by %s\n", k.There.App, k.There.Verdict, k.There.Dest, where(&k.There), k.Rule.Verdict)
		}
		fmt.Fprintf(a.out, "%d rules %s, %d were there, %d refused\n", len(i.Added), done, len(i.Same), r.refused())
		return
	}
	switch {
	case r.Blocklist == "":
		fmt.Fprintf(a.out, "no names %s, %d refused\n", done, r.refused())
	case r.Dry:
		fmt.Fprintf(a.out, "%s %s as a blocklist\n", belowHome(r.Blocklist), done)
	default:
		fmt.Fprintf(a.out, "%d names %s as the blocklist %s, %d refused\n", r.Names, done, belowHome(r.Blocklist), r.refused())
	}
}

// ruleWords is a rule in one line.
func ruleWords(r *rules.Rule) string {
	out := api.FromRule(r)
	s := fmt.Sprintf("%s %s %s", out.App, out.Verdict, out.Dest)
	if l := lifetime(&out); l != "always" {
		s += " (" + strings.TrimPrefix(l, "always, ") + ")"
	}
	return s
}

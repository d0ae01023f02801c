package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// contentsOfConnections lists connections, and says which are missing.
func contentsOfConnections(list *api.Connections) Contents {
	var c Contents
	var notes []string
	for i := range list.Jails {
		j := &list.Jails[i]
		for k := range j.Flows {
			f := &j.Flows[k]
			c.Flows = append(c.Flows, Flow{
				ID: f.ID, App: j.App, Jail: j.Jail, Network: f.Network, Local: f.Local, Remote: f.Remote, Names: f.Names, Resolver: f.Resolver,
				State: f.State, PID: f.PID, Program: f.Program, Since: f.Since, Sent: f.Sent, Received: f.Received, Known: f.Known,
			})
		}
		if note := missing(j); note != "" {
			notes = append(notes, note)
		}
	}
	c.Note = strings.Join(notes, "; ")
	return c
}

// missing says what of a jail is not listed, or "".
func missing(j *api.JailConnections) string {
	switch {
	case j.Silent:
		return j.App + " is not listed: " + j.Problem
	case j.Problem != "":
		return j.App + ": " + j.Problem
	case j.More > 0:
		return fmt.Sprintf("%s has %d more", j.App, j.More)
	case j.Unseen > 0:
		return fmt.Sprintf("%s: %d of its processes not seen", j.App, j.Unseen)
	}
	return ""
}

func contentsOfRules(list []api.Rule, now time.Time) Contents {
	c := Contents{Rules: make([]Rule, len(list))}
	for i := range list {
		r := &list[i]
		c.Rules[i] = Rule{
			ID: r.ID, App: r.App, Verdict: r.Verdict.String(), Dest: r.Dest.String(), Lifetime: lifetimeOf(r, now), By: r.By, Note: noteOf(r),
		}
		if r.File != "" {
			c.Rules[i].Where = fmt.Sprintf("%s:%d", r.File, r.Line)
		}
	}
	return c
}

// lifetimeOf says how long a rule holds.
func lifetimeOf(r *api.Rule, now time.Time) string {
	switch {
	case !r.Enabled:
		return "disabled"
	case r.Expires != nil && r.Expires.Before(now):
		return "expired"
	case r.Expires != nil:
		return "for " + ageText(r.Expires.Sub(now))
	case r.Jail != "":
		return "until exit"
	}
	return r.Lifetime
}

// noteOf says what else there is to a rule.
func noteOf(r *api.Rule) string {
	var parts []string
	if r.Exe != "" {
		parts = append(parts, "only "+r.Exe)
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	return strings.Join(parts, "; ")
}

func contentsOfHistory(list []api.HistoryEvent) Contents {
	c := Contents{Events: make([]Event, len(list))}
	for i := range list {
		h := &list[i]
		e := Event{Time: h.Time.Local(), App: h.App, Op: h.What, Dest: h.Dest.String(), Verdict: h.Verdict.String(), Names: h.Names, Why: h.Why}
		switch h.Kind {
		case api.HistoryAnswer:
			e.By, e.Lifetime = h.By, h.Lifetime.String()
			if !h.About.IsZero() && h.About != h.Dest {
				e.Why = "about " + h.About.String()
			}
		case api.HistoryMissed:
			e.By, e.Verdict, e.Why = "nobody", rules.Deny.String(), missedWords[h.Why]
		default:
			e.By = "not asked"
		}
		c.Events[i] = e
	}
	return c
}

var missedWords = map[string]string{
	api.MissedTimeout: "nobody answered in time", api.MissedDismissed: "the question was taken away",
	api.MissedNobody: "there was nobody to ask", api.MissedFull: "too many questions were open",
}

// contentsOfStatus lists jails.
func contentsOfStatus(st *api.Status) Contents {
	c := Contents{Jails: make([]Jail, len(st.Jails))}
	for i := range st.Jails {
		j := &st.Jails[i]
		c.Jails[i] = Jail{ID: j.ID, App: j.App, Guard: j.Guard, Command: strings.Join(j.Command, " "), Supervisor: j.Supervisor, Started: j.Started}
	}
	switch {
	case st.Problem != "":
		c.Note = "rules on disk are not in force: " + st.Problem
	case st.Blocklist != "":
		c.Note = "blocklists on disk are not in force: " + st.Blocklist
	}
	return c
}

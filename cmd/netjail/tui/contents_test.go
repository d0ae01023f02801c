package tui

import (
	"reflect"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// TestContents has what the daemon says in words.
func TestContents(t *testing.T) {
	soon, past := noon.Add(90*time.Minute), noon.Add(-time.Minute)
	got := contentsOfRules([]api.Rule{
		{ID: "1", App: "@all", Verdict: rules.Deny, Dest: dest(t, "@lan"), Lifetime: "always", Enabled: true, File: "/x/all.toml", Line: 3},
		{ID: "2", Expires: &soon, Lifetime: "until", Enabled: true, Exe: "/bin/sh", Note: "n"},
		{ID: "3", Expires: &past, Lifetime: "until", Enabled: true},
		{ID: "4", Jail: "j", Lifetime: "exit", Enabled: true},
		{ID: "5", Lifetime: "always"},
	}, noon).Rules
	var life []string
	for _, r := range got {
		life = append(life, r.Lifetime)
	}
	if want := []string{"always", "for 1h", "expired", "until exit", "disabled"}; !reflect.DeepEqual(life, want) {
		t.Errorf("lifetimes: %q, want %q", life, want)
	}
	if got[0].Where != "/x/all.toml:3" || got[1].Note != "only /bin/sh; n" {
		t.Errorf("got %+v", got[:2])
	}

	events := contentsOfHistory([]api.HistoryEvent{
		{Kind: api.HistoryAnswer, By: "cli", Lifetime: rules.Lifetime{Kind: rules.Always}, Verdict: rules.Allow, Dest: dest(t, "a.example:1"), About: dest(t, "*.b.example:1")},
		{Kind: api.HistoryMissed, Why: api.MissedTimeout},
		{Kind: api.HistoryRefused, Why: "a blocklist"},
	}).Events
	for i, want := range []string{"allow cli always about *.b.example:1", "deny nobody  nobody answered in time", "deny not asked  a blocklist"} {
		if e := events[i]; e.Verdict+" "+e.By+" "+e.Lifetime+" "+e.Why != want {
			t.Errorf("event %d: got %+v, want %s", i, e, want)
		}
	}

	c := contentsOfConnections(&api.Connections{Jails: []api.JailConnections{
		{App: "a", Jail: "ja", Flows: []api.Flow{{ID: "1"}, {ID: "2"}}, More: 7}, {App: "b", Silent: true, Problem: "it is suspended"}, {App: "c", Unseen: 2},
	}})
	if len(c.Flows) != 2 || c.Flows[1].App != "a" || c.Flows[1].Jail != "ja" {
		t.Errorf("flows: %+v", c.Flows)
	}
	if want := "a has 7 more; b is not listed: it is suspended; c: 2 of its processes not seen"; c.Note != want {
		t.Errorf("note: %s, want %s", c.Note, want)
	}
}

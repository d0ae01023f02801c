package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/history"
	"github.com/netjail/netjail/rules"
)

func journalStore(t *testing.T) *store {
	t.Helper()
	s := loadedStore(t)
	s.past.dir = filepath.Join(t.TempDir(), "undo")
	return s
}

func addRule(t *testing.T, s *store, app, d string) rules.Rule {
	t.Helper()
	r, err := s.add(rules.Rule{App: app, Verdict: rules.Allow, Dest: dest(t, d)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestUndo takes back every kind of change, the last first.
func TestUndo(t *testing.T) {
	s := journalStore(t)
	states := []string{texts(s.all())}
	changed := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, switched(s.all()))
	}
	one := addRule(t, s, "curl", "192.0.2.1")
	changed(nil)
	addRule(t, s, "", "192.0.2.2")
	changed(nil)
	_, err := s.enable(one.ID(), false)
	changed(err)
	path, text, err := s.text("curl")
	if err != nil || filepath.Base(path) != "curl.toml" {
		t.Fatal(path, err)
	}
	_, err = s.replace("curl", text, append(text, "[[rule]]\ndeny = \"@lan\"\n"...))
	changed(err)
	_, _, _, err = s.take([]rules.Rule{{App: "wget", Dest: dest(t, "@any")}, {App: "curl", Dest: dest(t, "192.0.2.9")}}, false)
	changed(err)
	_, err = s.remove(func(*rules.Rule) bool { return true })
	changed(err)
	if got := texts(s.all()); got != "" {
		t.Fatalf("left\n%s", got)
	}
	for i := len(states) - 2; i >= 0; i-- {
		u, err := s.undo()
		if err != nil {
			t.Fatalf("undo to %d: %v", i, err)
		}
		if got := switched(s.all()); got != states[i] || len(u.Files) == 0 || u.Files[0].Diff == "" {
			t.Fatalf("undo %q: got\n%swant\n%s", u.What, got, states[i])
		}
		again := newStore(s.dir)
		if err := again.load(); err != nil || switched(again.all()) != states[i] {
			t.Fatalf("on disk after undo %q: %v\n%s", u.What, err, switched(again.all()))
		}
	}
	if _, err := s.undo(); !errors.Is(err, errNoChange) {
		t.Errorf("got %v, want errNoChange", err)
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 0 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
}

// switched is texts with which rules are disabled.
func switched(list []rules.Rule) string {
	s := texts(list)
	for _, r := range list {
		s += fmt.Sprint(r.Disabled)
	}
	return strings.TrimSuffix(s, " ")
}

// TestUndoIsForTheLastChange: what was changed otherwise since stays.
func TestUndoIsForTheLastChange(t *testing.T) {
	s := journalStore(t)
	addRule(t, s, "curl", "192.0.2.1")
	file := filepath.Join(s.dir, "curl.toml")
	if err := os.WriteFile(file, []byte("[[rule]]\nallow = \"@any\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.undo(); !errors.Is(err, errChanged) {
		t.Errorf("got %v, want errChanged", err)
	}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.undo(); err == nil || !strings.Contains(err.Error(), errUndo.Error()) {
		t.Errorf("got %v, want errUndo", err)
	}
	if got := texts(s.all()); got != "curl allow @any\n" {
		t.Errorf("in force\n%s", got)
	}
	broken := journalStore(t)
	addRule(t, broken, "curl", "192.0.2.1")
	if err := os.WriteFile(filepath.Join(broken.past.dir, "00000001.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := broken.undo(); err == nil {
		t.Error("a broken note is undone")
	}
}

func TestJournalIsBounded(t *testing.T) {
	s := journalStore(t)
	for i := range maxChanges + 10 {
		addRule(t, s, "curl", fmt.Sprintf("192.0.2.%d", i))
	}
	if n := len(s.past.names()); n > maxChanges+1 || n < maxChanges {
		t.Errorf("%d changes are kept, want about %d", n, maxChanges)
	}
	for n := range maxChanges {
		if _, err := s.undo(); err != nil {
			t.Fatalf("undo %d: %v", n, err)
		}
	}
	// Nothing is kept where nothing can be, and the change is made.
	s.past.dir = "/dev/null/undo"
	addRule(t, s, "curl", "198.51.100.1")
}

func TestTake(t *testing.T) {
	s := journalStore(t)
	there := addRule(t, s, "curl", "192.0.2.1")
	off := addRule(t, s, "curl", "192.0.2.3")
	if _, err := s.enable(off.ID(), false); err != nil {
		t.Fatal(err)
	}
	list := []rules.Rule{
		{App: "curl", Verdict: rules.Allow, Dest: there.Dest, Note: "another note"},
		{App: "curl", Verdict: rules.Deny, Dest: there.Dest},
		{App: "curl", Verdict: rules.Deny, Dest: off.Dest}, // what is there does not speak
		{App: "", Verdict: rules.Deny, Dest: dest(t, "@lan")},
		{App: "curl", Verdict: rules.Deny, Dest: dest(t, "192.0.2.2"), Expires: time.Unix(4e9, 0).UTC()},
		{App: "curl", Verdict: rules.Allow, Dest: dest(t, "192.0.2.2")},
	}
	before := texts(s.all())
	for _, dry := range []bool{true, false} {
		added, same, other, err := s.take(list, dry)
		if err != nil || len(added) != 4 || len(same) != 1 || len(other) != 1 || other[0].there.ID() != there.ID() {
			t.Fatalf("dry %v: %d added, %d there, %v kept, %v", dry, len(added), len(same), other, err)
		}
		if after := texts(s.all()); (after == before) != dry {
			t.Errorf("dry %v:\n%s", dry, after)
		}
	}
	added, same, _, err := s.take(list, false)
	if err != nil || len(added) != 0 || len(same) != 5 {
		t.Errorf("again: %d added, %d there, %v", len(added), len(same), err)
	}
	if _, _, _, err := s.take([]rules.Rule{{App: "x", Jail: "j", Dest: dest(t, "@any")}}, false); err == nil {
		t.Error("a rule of one run is taken")
	}
}

func TestDifferences(t *testing.T) {
	s := journalStore(t)
	addRule(t, s, "curl", "192.0.2.1")
	addRule(t, s, "wget", "192.0.2.2")
	if list, err := s.differences(); err != nil || len(list) != 0 {
		t.Fatalf("got %v, %v", list, err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("curl.toml", "not a rule")
	write("new.toml", "")
	if err := os.Remove(filepath.Join(s.dir, "wget.toml")); err != nil {
		t.Fatal(err)
	}
	list, err := s.differences()
	if err != nil || len(list) != 2 || !strings.Contains(list[0].Diff, "+not a rule") || !strings.Contains(list[1].Diff, "-allow = \"192.0.2.2\"") {
		t.Errorf("got %+v, %v", list, err)
	}
}

// TestListTellsOfUse: what history counts stands with the rules.
func TestListTellsOfUse(t *testing.T) {
	s := &server{store: journalStore(t), history: history.New(history.Config{Path: filepath.Join(t.TempDir(), "history.db")})}
	r := addRule(t, s.store, "curl", "192.0.2.1")
	addRule(t, s.store, "curl", "192.0.2.2")
	list := func() []api.Rule {
		t.Helper()
		got, err := s.rulesList(t.Context(), &api.Message{Data: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		return got.(api.RuleList).Rules
	}
	if got := list(); len(got) != 2 || got[0].Use == nil || got[0].Use.Hits != 0 || got[0].Use.Last != nil {
		t.Errorf("never used: got %+v", got)
	}
	at := time.Unix(1e9, 0)
	for _, count := range []int{3, 4} {
		s.history.Add(api.HistoryEvent{Kind: api.HistoryAllowed, App: "curl", Time: at, First: at, Count: count, Rule: r.ID()})
	}
	if got := list(); got[0].Use == nil || got[0].Use.Hits != 7 || !got[0].Use.Last.Equal(at) || got[1].Use.Hits != 0 {
		t.Errorf("got %+v", got)
	}
	s.history.Close()
	if got := list(); len(got) != 2 || got[0].Use != nil {
		t.Errorf("without a history: got %+v", got)
	}
}

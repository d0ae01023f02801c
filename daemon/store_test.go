package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

func dest(t *testing.T, s string) rules.Destination {
	t.Helper()
	d, err := rules.ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func loadedStore(t *testing.T) *store {
	t.Helper()
	s := newStore(filepath.Join(t.TempDir(), "rules"))
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	return s
}

func texts(list []rules.Rule) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.App + " " + r.Verdict.String() + " " + r.Dest.String() + "\n")
	}
	return b.String()
}

func TestStoreKeeps(t *testing.T) {
	s := loadedStore(t)
	add := func(r rules.Rule) {
		t.Helper()
		if _, err := s.add(r); err != nil {
			t.Fatal(err)
		}
	}
	add(rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "192.0.2.1:80")})
	add(rules.Rule{App: "curl", Verdict: rules.Deny, Dest: dest(t, "192.0.2.2")})
	add(rules.Rule{App: "", Verdict: rules.Deny, Dest: dest(t, "@lan")})
	add(rules.Rule{App: "curl", Verdict: rules.Deny, Dest: dest(t, "192.0.2.1:80")}) // another answer
	add(rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "192.0.2.3"), Jail: "j1", Run: true})

	want := " deny @lan\ncurl deny 192.0.2.1:80\ncurl deny 192.0.2.2\ncurl allow 192.0.2.3\n"
	if got := texts(s.all()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := texts(s.holding("curl", "j2")); strings.Contains(got, "192.0.2.3") {
		t.Errorf("another jail has\n%s", got)
	}
	if got := texts(s.holding("wget", "j1")); got != " deny @lan\n" {
		t.Errorf("another app has\n%s", got)
	}
	s.forget("j1")
	again := newStore(s.dir)
	if err := again.load(); err != nil {
		t.Fatal(err)
	}
	if got, want := texts(again.all()), texts(s.all()); got != want || strings.Contains(got, "192.0.2.3") {
		t.Errorf("after a restart\n%swant\n%s", got, want)
	}
}

func TestStoreRemoves(t *testing.T) {
	s := loadedStore(t)
	for _, d := range []string{"192.0.2.1", "192.0.2.2"} {
		if _, err := s.add(rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, d)}); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := s.remove(func(r *rules.Rule) bool { return r.Dest.Equal(dest(t, "192.0.2.1")) })
	if err != nil || len(gone) != 1 {
		t.Fatalf("removed %d, %v", len(gone), err)
	}
	if got := texts(s.all()); got != "curl allow 192.0.2.2\n" {
		t.Errorf("left\n%s", got)
	}
}

// TestStoreLeavesOthersEdits: what somebody else wrote is neither taken nor
// overwritten.
func TestStoreLeavesOthersEdits(t *testing.T) {
	s := loadedStore(t)
	r := rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "192.0.2.1"), Created: time.Unix(0, 0)}
	if _, err := s.add(r); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "curl.toml")
	edited := "[[rule]]\nallow = \"@any\"\n"
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Dest = dest(t, "192.0.2.2")
	if _, err := s.add(r); !errors.Is(err, errChanged) {
		t.Errorf("add: got %v, want errChanged", err)
	}
	if got := texts(s.all()); got != "curl allow 192.0.2.1\n" {
		t.Errorf("in force\n%s", got)
	}
	if b, _ := os.ReadFile(file); string(b) != edited {
		t.Errorf("the file is\n%s", b)
	}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	if got := texts(s.all()); got != "curl allow @any\n" {
		t.Errorf("after reload\n%s", got)
	}
}

func TestStoreBrokenFile(t *testing.T) {
	s := loadedStore(t)
	if _, err := s.add(rules.Rule{App: "curl", Verdict: rules.Deny, Dest: dest(t, "192.0.2.1")}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "wget.toml")
	if err := os.WriteFile(file, []byte("[[rule]]\nalow = \"@any\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.load(); err == nil || !strings.Contains(err.Error(), "wget.toml:2") {
		t.Errorf("load: %v, want wget.toml:2", err)
	}
	if got := texts(s.all()); got != "curl deny 192.0.2.1\n" {
		t.Errorf("in force\n%s", got)
	}
	if s.trouble() != nil || s.unread() == nil {
		t.Errorf("trouble %v, unread %v; want the last good rules in force, and the problem told", s.trouble(), s.unread())
	}
	fresh := newStore(s.dir)
	if err := fresh.load(); err == nil || fresh.trouble() == nil {
		t.Error("a daemon that never had good rules must start nothing")
	}
}

func TestRuleFor(t *testing.T) {
	now := time.Unix(1000, 5)
	d := dest(t, "192.0.2.1")
	answer := func(v rules.Verdict, l rules.Lifetime, by string) notifier.Answer {
		return notifier.Answer{Verdict: v, Dest: d, Lifetime: l, By: by}
	}
	if _, ok := ruleFor("curl", "j", answer(rules.Allow, rules.Lifetime{}, "terminal"), now); ok {
		t.Error("an answer that holds once makes a rule")
	}
	r, ok := ruleFor("curl", "j", answer(rules.Allow, rules.Lifetime{Kind: rules.UntilExit}, "terminal"), now)
	if !ok || r.Jail != "j" || !r.Run {
		t.Errorf("until exit: %+v", r)
	}
	r, _ = ruleFor("curl", "j", answer(rules.Deny, rules.Lifetime{Kind: rules.For, For: time.Hour}, byCLI), now)
	if want := time.Unix(4600, 0); !r.Expires.Equal(want) || r.Jail != "" || r.By != "cli" {
		t.Errorf("for an hour: %+v", r)
	}
	r, _ = ruleFor("curl", "j", answer(rules.Deny, rules.Lifetime{Kind: rules.Always}, "desktop"), now)
	if !r.Expires.IsZero() || r.Jail != "" || r.App != "curl" || r.By != "prompt" {
		t.Errorf("always: %+v", r)
	}
}

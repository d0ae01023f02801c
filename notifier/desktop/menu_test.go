package desktop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

func labels(list []button) string {
	var names []string
	for _, b := range list {
		names = append(names, b.label)
	}
	return strings.Join(names, ", ")
}

func dest(t *testing.T, text string) rules.Destination {
	t.Helper()
	d, err := rules.ParseDestination(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// named is a question that has every scope.
func named(t *testing.T) notifier.Question {
	t.Helper()
	q := question(t)
	q.Dest, q.Wider = dest(t, "tcp://www.example.org:443"), dest(t, "tcp://.example.org:443")
	q.Addr, q.Names = netip.MustParseAddr("192.0.2.7"), []string{"www.example.org"}
	return q
}

// storm is a summary of questions with these numbers.
func storm(t *testing.T, numbers ...int) notifier.Question {
	t.Helper()
	q := notifier.Question{ID: "89abcdef", App: "curl", Deadline: time.Now().Add(time.Minute)}
	for _, n := range numbers {
		q.Items = append(q.Items, notifier.Item{ID: fmt.Sprint(n), Number: n, Dest: dest(t, fmt.Sprintf("tcp://192.0.2.%d:443", n)), Waiting: 1})
		q.Waiting++
	}
	return q
}

// press returns where the buttons lead that have these labels.
func press(t *testing.T, q notifier.Question, r room, path ...string) button {
	t.Helper()
	var b button
	for _, label := range path {
		_, list := b.to.view(q, r)
		i := slices.IndexFunc(list, func(b button) bool { return b.label == label })
		if i < 0 {
			t.Fatalf("%q: no %q in %q", path, label, labels(list))
		}
		b = list[i]
	}
	return b
}

func TestMenuPages(t *testing.T) {
	const all = "192.0.2.7, www.example.org, example.org and below, anything, Back"
	for _, c := range []struct {
		name    string
		row     room
		path    []string
		buttons string
		lines   string // without the last two
	}{
		{"front", room{}, nil, "Allow always, Allow once, Deny, More…", ""},
		{"scopes", room{}, []string{"More…"}, all, "Pick what the answer is about."},
		{"times", room{}, []string{"More…", "anything"}, "Once, Until curl exits, For 1 hour, Always, Back", "Pick for how long the answer about anything holds."},
		{"last", room{}, []string{"More…", "example.org and below", "For 1 hour"}, "Allow, Deny, Back",
			"example.org and below, for 1 hour\n" +
				"allow writes: netjail rules add curl allow 'tcp://.example.org:443' --for 1h\n" +
				"deny writes: netjail rules add curl deny 'tcp://.example.org:443' --for 1h"},
		{"last, no rule", room{}, []string{"More…", "192.0.2.7", "Once"}, "Allow, Deny, Back", "192.0.2.7, once\nno rule is written"},
		{"back to times", room{}, []string{"More…", "anything", "Once", "Back"}, "Once, Until curl exits, For 1 hour, Always, Back", "Pick for how long the answer about anything holds."},
		{"back to scopes", room{}, []string{"More…", "anything", "Back"}, all, "Pick what the answer is about."},
		{"back to the front", room{}, []string{"More…", "Back"}, "Allow always, Allow once, Deny, More…", ""},
		{"three: front", room{buttons: 3}, nil, "Allow always, Deny, More…", ""},
		{"three: scopes", room{buttons: 3}, []string{"More…"}, "192.0.2.7, www.example.org, Next…", "Pick what the answer is about."},
		{"three: more scopes", room{buttons: 3}, []string{"More…", "Next…"}, "example.org and below, anything, Back", "Pick what the answer is about."},
		{"three: times", room{buttons: 3}, []string{"More…", "192.0.2.7", "Next…"}, "For 1 hour, Always, Back", "Pick for how long the answer about 192.0.2.7 holds."},
		{"three: last", room{buttons: 3}, []string{"More…", "Next…", "anything", "Once"}, "Allow, Deny, Back", "anything, once\nno rule is written"},
		{"short: front", room{letters: 48}, nil, "Allow always, Allow once, Deny, More…", ""},
		{"short: scopes", room{letters: 48}, []string{"More…"}, "192.0.2.7, www.example.org, Next…", "Pick what the answer is about."},
		{"short: more scopes", room{letters: 48}, []string{"More…", "Next…"}, "example.org and below, anything, Back", "Pick what the answer is about."},
		{"short: times", room{letters: 48}, []string{"More…", "192.0.2.7"}, "Once, Until curl exits, Next…", "Pick for how long the answer about 192.0.2.7 holds."},
	} {
		q := named(t)
		var m menu
		if c.path != nil {
			m = press(t, q, c.row, c.path...).to
		}
		lines, list := m.view(q, c.row)
		if got := labels(list); got != c.buttons {
			t.Errorf("%s: buttons: got %q, want %q", c.name, got, c.buttons)
		}
		if got := strings.ReplaceAll(strings.Join(lines, "\n"), "'", ""); got != strings.ReplaceAll(c.lines, "'", "") {
			t.Errorf("%s: lines: got\n%s\nwant\n%s", c.name, got, c.lines)
		}
		if n := c.row.holds(list); n != len(list) {
			t.Errorf("%s: %d buttons, want at most %d", c.name, len(list), n)
		}
	}
}

// TestMenuReachesAll: each answer that there is to a question can be pressed,
// and gives that answer.
func TestMenuReachesAll(t *testing.T) {
	socket := question(t)
	socket.Dest = dest(t, "unix:/run/x")
	for name, q := range map[string]notifier.Question{"named": named(t), "address": question(t), "socket": socket} {
		for _, row := range []room{{}, {buttons: 3}, {buttons: 4}, {buttons: 5}, {letters: 48}, {letters: 10}} {
			reached := map[notifier.Answer]bool{}
			seen := map[menu]bool{}
			var walk func(m menu)
			walk = func(m menu) {
				if seen[m] {
					return
				}
				seen[m] = true
				_, list := m.view(q, row)
				for _, b := range list {
					if !b.final {
						walk(b.to)
						continue
					}
					reached[b.answer] = true
				}
			}
			walk(menu{})
			want := 0
			for _, s := range q.Scopes() {
				for _, l := range q.Lifetimes() {
					for _, v := range []rules.Verdict{rules.Allow, rules.Deny} {
						c, _ := q.Choose(v, s, l)
						c.Answer.By = byDesktop
						want++
						if !reached[c.Answer] {
							t.Errorf("%s, %+v: nothing leads to %s", name, row, c.Label)
						}
					}
				}
			}
			if len(reached) != want {
				t.Errorf("%s, %+v: %d answers, want %d", name, row, len(reached), want)
			}
		}
	}
}

func TestMenuSummary(t *testing.T) {
	q := storm(t, 1, 2, 7)
	for _, m := range []menu{{}, {page: scopes}, {page: verdicts, scope: notifier.Host}} {
		_, list := m.view(q, room{buttons: 3})
		if got, want := labels(list), "Review list, Allow all until exit, Deny all until exit"; got != want {
			t.Fatalf("%+v: got %q, want %q", m, got, want)
		}
		for i, b := range list {
			want := notifier.Answer{By: byDesktop, Through: 7, Review: i == 0}
			if i > 0 {
				want.Lifetime.Kind = rules.UntilExit
			}
			if i == 1 {
				want.Verdict = rules.Allow
			}
			if !b.final || b.answer != want {
				t.Errorf("%s: got %+v, want %+v", b.label, b.answer, want)
			}
		}
	}
}

// TestMenuWithin: a page that the question does not have is not shown.
func TestMenuWithin(t *testing.T) {
	q := question(t) // has no domain
	_, list := menu{page: verdicts, scope: notifier.Domain}.view(q, room{})
	if got, want := labels(list), "192.0.2.7, anything, Back"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, list = menu{page: scopes, from: 99}.view(q, room{})
	if got, want := labels(list), "192.0.2.7, anything, Back"; got != want {
		t.Errorf("beyond the end: got %q, want %q", got, want)
	}
}

func TestTail(t *testing.T) {
	long := strings.Repeat("a.", 40) + "example.org"
	if got := tail(long); len([]rune(got)) != maxLabel || !strings.HasPrefix(got, "…") || !strings.HasSuffix(got, "example.org") {
		t.Errorf("got %q, want the end of the name", got)
	}
	if got := tail("example.org"); got != "example.org" {
		t.Errorf("got %q", got)
	}
}

package tui

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// wantAnswer fails unless one answer is to be given.
func wantAnswer(t *testing.T, todo []command, want Decision) {
	t.Helper()
	if len(todo) != 1 {
		t.Fatalf("got %v, want one answer", todo)
	}
	if got, ok := todo[0].(answer); !ok || got.Decision != want {
		t.Errorf("got %+v, want %+v", todo[0], want)
	}
}

func TestAnswers(t *testing.T) {
	once, hour := rules.Lifetime{Kind: rules.Once}, rules.Lifetime{Kind: rules.For, For: time.Hour}
	exit, always := rules.Lifetime{Kind: rules.UntilExit}, rules.Lifetime{Kind: rules.Always}
	curl, firefox := curlAsks(t), firefoxAsks(t, 14)
	for _, tt := range []struct {
		keys string
		q    notifier.Question
		want Decision
	}{
		{"a", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: once, Scope: notifier.Host}},
		{"A", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: always, Scope: notifier.Host}},
		{"e", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: exit, Scope: notifier.Host}},
		{"h", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: hour, Scope: notifier.Host}},
		{"d", curl, Decision{ID: "0001", Verdict: rules.Deny, Lifetime: once, Scope: notifier.Host}},
		{"D", curl, Decision{ID: "0001", Verdict: rules.Deny, Lifetime: always, Scope: notifier.Host}},
		{"E", curl, Decision{ID: "0001", Verdict: rules.Deny, Lifetime: exit, Scope: notifier.Host}},
		{"H", curl, Decision{ID: "0001", Verdict: rules.Deny, Lifetime: hour, Scope: notifier.Host}},
		{"s A", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: always, Scope: notifier.Domain}},
		{"s s A", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: always, Scope: notifier.Anything}},
		{"s s s A", curl, Decision{ID: "0001", Verdict: rules.Allow, Lifetime: always, Scope: notifier.Address}},
		{"a", firefox, Decision{ID: "0003", Verdict: rules.Allow, Lifetime: once, Scope: notifier.Listed, Through: 14}},
		{"E", firefox, Decision{ID: "0003", Verdict: rules.Deny, Lifetime: exit, Scope: notifier.Listed, Through: 14}},
		{"r", firefox, Decision{ID: "0003", Scope: notifier.Listed, Through: 14, Review: true}},
	} {
		t.Run(tt.q.App+" "+tt.keys, func(t *testing.T) {
			d := busy(t, 80, 24)
			d.ask(tt.q)
			todo := d.press(strings.Fields(tt.keys)...)
			wantAnswer(t, todo, tt.want)
			if todo := d.press("a"); todo != nil {
				t.Errorf("it can be answered twice: %v", todo)
			}
			d.wants("a: the answer is on its way", "answering ...")
			d.happen(done{question: tt.q.ID, said: "as you said"})
			d.happen(changed{Change{Question: tt.q, Closed: "answered elsewhere"}})
			d.wants("as you said", "0 questions")
		})
	}
}

// TestRuleShown has the rule on the screen that an answer would write.
func TestRuleShown(t *testing.T) {
	d := busy(t, 120, 40)
	d.ask(curlAsks(t))
	for range 4 {
		todo := d.press("A")
		q, _ := d.asking()
		c, ok := q.Choose(rules.Allow, todo[0].(answer).Scope, rules.Lifetime{Kind: rules.Always})
		if !ok || c.Rule == "" {
			t.Fatalf("no rule of %+v", todo[0])
		}
		d.wants("A writes: " + c.Rule)
		d.happen(done{question: q.ID, err: errors.New("disk full")})
		d.wants("failed: disk full")
		d.press("s")
	}
}

// TestWhyNot has keys that do nothing say why.
func TestWhyNot(t *testing.T) {
	for _, tt := range []struct {
		key, want string
		act       func(d *desk)
	}{
		{"a", "no question is open", nil},
		{"r", "not a list", func(d *desk) { d.ask(curlAsks(t)) }},
		{"A", "once or until the app exits", func(d *desk) { d.ask(firefoxAsks(t, 3)) }},
		{"s", "about nothing else", func(d *desk) { d.ask(firefoxAsks(t, 3)) }},
		{"n", "no other question", func(d *desk) { d.ask(curlAsks(t)) }},
		{"D", "the daemon is away", func(d *desk) { d.ask(curlAsks(t)); d.happen(lost{errAway}) }},
		{"x", "this is an app", nil},
		{"x", "none is selected here", func(d *desk) { d.press("4") }},
		{"o", "only connections", func(d *desk) { d.press("2") }},
		{"K", "none is here", func(d *desk) { d.press("3") }},
		{"K", "more than one jail", func(d *desk) { d.press("Down", "Down", "Down", "Down") }},
		{"Enter", "nothing to fold", func(d *desk) { d.press("2") }},
	} {
		d := busy(t, 80, 24)
		if tt.act != nil {
			tt.act(d)
		}
		if todo := d.press(tt.key); todo != nil {
			t.Errorf("%s: %v is done", tt.key, todo)
		}
		d.wants(tt.key+": ", tt.want)
	}
}

// TestKeyForAnother has a key not answer a question that came in the place of
// the one that it was meant for.
func TestKeyForAnother(t *testing.T) {
	d := busy(t, 80, 24)
	d.ask(curlAsks(t), pythonAsks(t))
	if todo := d.happen(pressed{"a"}); todo != nil {
		t.Fatalf("a question that has just come is answered: %v", todo)
	}
	d.now = d.now.Add(glance)
	d.happen(changed{Change{Question: curlAsks(t), Closed: "answered elsewhere"}})
	if todo := d.happen(pressed{"a"}); todo != nil {
		t.Fatalf("another question is answered: %v", todo)
	}
	d.wants("look, then press again", "python3 wants")
	d.now = d.now.Add(glance)
	wantAnswer(t, d.happen(pressed{"a"}), Decision{ID: "0002", Verdict: rules.Allow, Scope: notifier.Host})

	// Whoever goes to a question has seen it.
	d = busy(t, 80, 24)
	d.ask(curlAsks(t), pythonAsks(t))
	d.happen(pressed{"n"})
	wantAnswer(t, d.happen(pressed{"a"}), Decision{ID: "0002", Verdict: rules.Allow, Scope: notifier.Host})
}

// TestSummaryAsSeen answers what was on the screen, not what came since.
func TestSummaryAsSeen(t *testing.T) {
	d := busy(t, 80, 24)
	d.ask(firefoxAsks(t, 5))
	d.now = d.now.Add(glance)
	d.update(d.now, changed{Change{Question: firefoxAsks(t, 9)}}) // and is not drawn
	wantAnswer(t, d.update(d.now, pressed{"a"}), Decision{ID: "0003", Verdict: rules.Allow, Scope: notifier.Listed, Through: 5})
}

// TestSummarized does not show what a summary shows.
func TestSummarized(t *testing.T) {
	d := busy(t, 80, 24)
	q := curlAsks(t)
	q.Summarized = "0003"
	d.ask(q, firefoxAsks(t, 5))
	if len(d.asked) != 1 || d.asked[0].ID != "0003" {
		t.Errorf("%d questions are shown", len(d.asked))
	}
	q.Summarized = ""
	d.ask(q)
	if len(d.asked) != 2 {
		t.Errorf("%d questions are shown after the review", len(d.asked))
	}
}

// TestSelection keeps what is selected, wherever that goes.
func TestSelection(t *testing.T) {
	d := newDesk(t, 80, 24)
	flows := manyFlows(500)
	d.put(Connections, Contents{Flows: flows})
	d.press("PgDn", "PgDn", "PgDn", "Up")
	l := &d.lists[Connections]
	id, line := l.id, l.at-l.top
	slices.Reverse(flows)
	flows = append([]Flow{{ID: "new", App: "aaa"}}, flows...)
	d.put(Connections, Contents{Flows: flows})
	if r, _ := l.selected(); l.id != id || r.id != id || l.at-l.top != line {
		t.Errorf("selected %s on line %d, want %s on line %d", r.id, l.at-l.top, id, line)
	}
	d.press("o")
	if r, _ := l.selected(); r.id != id {
		t.Errorf("sorted: selected %s, want %s", r.id, id)
	}
	d.put(Connections, Contents{Flows: slices.DeleteFunc(flows, func(f Flow) bool { return f.ID == id })})
	if r, ok := l.selected(); !ok || l.id != r.id {
		t.Errorf("gone: selected %q, row %q", l.id, r.id)
	}
	d.put(Connections, Contents{})
	if todo := d.press("x", "K", "Enter", "Down", "PgUp", "End", "x"); todo != nil {
		t.Errorf("of nothing: %v", todo)
	}
	d.put(Connections, Contents{Flows: flows[:3]})
	d.wants("aaa (1)")
}

// TestHistoryStaysOnTop shows what is new, unless one is reading.
func TestHistoryStaysOnTop(t *testing.T) {
	d := busy(t, 80, 24)
	d.press("3")
	events := append(testEvents(), Event{Time: noon, App: "wget", Dest: "tcp://new.example:80", Verdict: "deny"})
	d.put(History, Contents{Events: events})
	if d.lists[History].at != 0 {
		t.Error("the newest is not selected")
	}
	d.press("Down")
	id := d.lists[History].id
	events = append(events, Event{Time: noon.Add(time.Second), App: "wget", Dest: "tcp://newer.example:80", Verdict: "deny"})
	d.put(History, Contents{Events: events})
	if l := &d.lists[History]; l.id != id || l.at != 2 {
		t.Errorf("%s is selected, want %s", l.id, id)
	}
}

func TestConfirm(t *testing.T) {
	for _, tt := range []struct {
		keys string
		want string
	}{
		{"Down x", "tui.end"},
		{"K", "tui.stop"},
		{"4 K", "tui.stop"},
		{"2 x", "tui.remove"},
	} {
		d := busy(t, 80, 24)
		if todo := d.press(strings.Fields(tt.keys)...); todo != nil {
			t.Errorf("%s: done without a question: %v", tt.keys, todo)
		}
		for _, no := range []string{"q", "a", "Enter", "x", "K", "Esc"} {
			if todo := d.press(no); todo != nil {
				t.Errorf("%s %s: %v is done", tt.keys, no, todo)
			}
		}
		if d.mode != normal {
			t.Errorf("%s: Esc does not go back", tt.keys)
		}
		todo := d.press(append(strings.Fields(tt.keys), "y")...)
		if len(todo) != 1 || fmt.Sprintf("%T", todo[0]) != tt.want {
			t.Errorf("%s y: %v, want %s", tt.keys, todo, tt.want)
		}
	}
}

// TestConfirmSame ends what was asked about, though something else has its place
// by then.
func TestConfirmSame(t *testing.T) {
	d := busy(t, 80, 24)
	d.press("Down", "x")
	d.put(Connections, Contents{Flows: testFlows()[3:]})
	if todo := d.press("y"); len(todo) != 1 || todo[0].(end).ID != "1" {
		t.Errorf("%v is done", todo)
	}
}

func TestFilter(t *testing.T) {
	d := busy(t, 80, 24)
	d.press("/", "q", "Backspace", "F", "I", "R", "E", "Space", "4", "4", "3")
	d.wants("filter: FIRE 443", "3 of 5", "alive.github.com")
	if strings.Contains(d.text(), "node") {
		t.Error("what does not match is shown")
	}
	d.press("Enter")
	if d.mode != normal || d.lists[Connections].filter != "FIRE 443" {
		t.Error("Enter does not keep the filter")
	}
	d.press("2")
	d.wants("@all")
	d.press("1", "Esc")
	d.wants("node")
	d.happen(pasted{"D a\x1b[2J"})
	d.wants("what is pasted does nothing")
	d.press("/")
	d.happen(pasted{"no\nde"})
	d.wants("filter: no de")
	d.press("Ctrl-U")
	d.happen(pasted{strings.Repeat("y", 1000)})
	if n := len(d.lists[Connections].filter); n != maxFilter {
		t.Errorf("filter of %d characters", n)
	}
	d.press("Esc")
	if d.lists[Connections].filter != "" || d.mode != normal {
		t.Error("Esc keeps the filter")
	}
}

func TestMouse(t *testing.T) {
	d := busy(t, 80, 24)
	at := func(text string) clicked {
		t.Helper()
		for y, line := range d.lines() {
			if x := strings.Index(line, text); x >= 0 {
				return clicked{x, y}
			}
		}
		t.Fatalf("no %q on the screen", text)
		return clicked{}
	}
	d.happen(at("127.0.0.1:8080"))
	if f, ok := d.flow(); !ok || f.ID != "4" {
		t.Error("a click does not select")
	}
	d.happen(at("x end"))
	d.wants("end the connection of npm (pid 1200): 127.0.0.1:8080?")
	if todo := d.happen(at("y yes")); len(todo) != 1 {
		t.Errorf("y is clicked, %v is done", todo)
	}
	d.happen(at("firefox (3)"), at("firefox (3)"))
	if d.folded["firefox"] != true {
		t.Error("a click on an app does not fold it")
	}
	d.happen(at("3 history"))
	if d.view != History {
		t.Error("a click on a tab does not show it")
	}
	d.happen(pressed{"/"}, at("2 rules"))
	if d.view != History || d.lists[History].filter != "" {
		t.Error("a click on a tab is taken for text")
	}
	d.happen(pressed{"Esc"}, wheeled{3})
	if d.lists[History].at != 3 {
		t.Error("the wheel does not scroll")
	}
	d.ask(curlAsks(t), pythonAsks(t))
	d.happen(at("n: python3 wants"))
	if d.chosen != "0002" {
		t.Error("a click on a question does not choose it")
	}
	wantAnswer(t, d.happen(at("A always")), Decision{ID: "0002", Verdict: rules.Allow, Lifetime: rules.Lifetime{Kind: rules.Always}, Scope: notifier.Host})
	if todo := d.happen(clicked{79, 0}, clicked{-1, 500}); todo != nil {
		t.Errorf("a click on nothing: %v", todo)
	}
}

// TestAway keeps what was there while the daemon is away, and asks anew when it
// is back.
func TestAway(t *testing.T) {
	d := busy(t, 80, 24)
	d.ask(curlAsks(t))
	d.happen(lost{fmt.Errorf("connect: %w", errAway)})
	d.wants("NOT CONNECTED", "the daemon has gone", "curl wants", "alive.github.com")
	if todo := d.happen(ticked{}); todo != nil {
		t.Errorf("while it is away: %v", todo)
	}
	todo := d.happen(connected{})
	if !slices.Contains(todo, command(look{Connections})) {
		t.Errorf("when it is back: %v", todo)
	}
	if len(d.asked) != 0 {
		t.Error("a question is left of the daemon before")
	}
	d.ask(curlAsks(t))
	d.wants("1 question", "curl wants")
}

// TestLooks looks at what is on the screen every second, at what is counted now
// and then, and never twice at once.
func TestLooks(t *testing.T) {
	d := newDesk(t, 80, 24)
	n := map[View]int{}
	for range 20 {
		d.now = d.now.Add(time.Second)
		for _, c := range d.happen(ticked{}) {
			v := c.(look).view
			n[v]++
			if n[v] != 7 {
				d.put(v, Contents{})
			}
		}
	}
	if n[Connections] != 7 || n[Jails] != 7 || n[Rules]+n[History] != 0 {
		t.Errorf("looks: %v", n)
	}
	d.view, d.looking = History, [views]bool{}
	clear(n)
	for range 20 {
		d.now = d.now.Add(time.Second)
		for _, c := range d.happen(ticked{}) {
			n[c.(look).view]++
			d.put(c.(look).view, Contents{})
		}
	}
	if n[Connections] != 4 || n[Jails] != 20 || n[Rules] != 0 || n[History] != 7 {
		t.Errorf("looks while the history is shown: %v", n)
	}
}

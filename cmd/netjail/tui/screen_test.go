package tui

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

var updating = flag.Bool("update", false, "write the screens in testdata anew")

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// desk is a model on a simulated screen, at a time of its own.
type desk struct {
	*model
	t   testing.TB
	s   tcell.SimulationScreen
	now time.Time
}

func newDesk(t testing.TB, width, height int) *desk {
	t.Helper()
	d := &desk{model: newModel(noon), t: t, s: tcell.NewSimulationScreen("UTF-8"), now: noon}
	if err := d.s.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.s.Fini)
	d.resize(width, height)
	d.happen(connected{})
	for v := range views {
		d.looking[v] = false
	}
	return d
}

func (d *desk) resize(width, height int) {
	d.s.SetSize(width, height)
	d.s.Show()
	d.happen(resized{width, height})
}

// happen lets events come, with what they make of the screen, and returns what
// is to be done about the last of them.
func (d *desk) happen(events ...event) (todo []command) {
	for _, ev := range events {
		todo = d.update(d.now, ev)
		f := draw(d.model, d.s)
		d.s.Show()
		d.update(d.now, drawn{f})
	}
	return todo
}

// press presses keys, each long enough after what came before.
func (d *desk) press(keys ...string) (todo []command) {
	for _, k := range keys {
		d.now = d.now.Add(time.Second)
		todo = d.happen(pressed{k})
	}
	return todo
}

func (d *desk) put(v View, c Contents) { d.happen(looked{view: v, contents: c}) }

func (d *desk) ask(questions ...notifier.Question) {
	for _, q := range questions {
		d.happen(changed{Change{Question: q}})
	}
}

// lines are what is on the screen, without blanks at the ends.
func (d *desk) lines() []string {
	w, h := d.s.Size()
	lines := make([]string, h)
	for y := range h {
		var b strings.Builder
		for x := 0; x < w; {
			text, _, width := d.s.Get(x, y)
			b.WriteString(text)
			x += width
		}
		lines[y] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

func (d *desk) text() string { return strings.Join(d.lines(), "\n") + "\n" }

func (d *desk) wants(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if !strings.Contains(d.text(), text) {
			d.t.Errorf("the screen lacks %q:\n%s", text, d.text())
		}
	}
}

// golden compares the screen with a file.
func (d *desk) golden(name string) {
	d.t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *updating {
		if err := os.WriteFile(path, []byte(d.text()), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	if got := d.text(); got != string(want) {
		d.t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func dest(t testing.TB, s string) rules.Destination {
	t.Helper()
	d, err := rules.ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// curlAsks is a question about a name.
func curlAsks(t testing.TB) notifier.Question {
	return notifier.Question{
		ID: "0001", App: "curl", Exe: "/usr/bin/curl", PID: 4242, Command: "curl -s https://api.example.org/v1", Chain: []string{"bash", "curl"},
		Op: rules.Connect, Dest: dest(t, "tcp://api.example.org:443"), Wider: dest(t, "tcp://.example.org:443"),
		Addr: netip.MustParseAddr("93.184.216.34"), Names: []string{"api.example.org", "edge.example.net"}, Waiting: 2,
		Opened: noon, Deadline: noon.Add(58 * time.Second), About: notifier.About{Package: "curl", Origin: notifier.FromPackage},
	}
}

// pythonAsks is a question about an address without a name.
func pythonAsks(t testing.TB) notifier.Question {
	return notifier.Question{
		ID: "0002", App: "python3", Exe: "/home/ada/bin/python3", PID: 4243, Command: "python3 sync.py",
		Op: rules.Send, Dest: dest(t, "udp://203.0.113.9:6881"), Addr: netip.MustParseAddr("203.0.113.9"), Waiting: 1,
		Opened: noon.Add(time.Second), Deadline: noon.Add(59 * time.Second), About: notifier.About{Origin: notifier.FromHome},
	}
}

// firefoxAsks is a summary of several questions.
func firefoxAsks(t testing.TB, hosts int) notifier.Question {
	q := notifier.Question{ID: "0003", App: "firefox", Waiting: hosts, Opened: noon.Add(2 * time.Second), Deadline: noon.Add(40 * time.Second)}
	for i := range hosts {
		q.Items = append(q.Items, notifier.Item{
			ID: fmt.Sprint("i", i), Number: i + 1, Op: rules.Connect, Dest: dest(t, fmt.Sprintf("tcp://cdn%d.example.com:443", i+1)), Waiting: 1,
		})
	}
	return q
}

func testFlows() []Flow {
	local := netip.MustParseAddrPort("192.0.2.17:51234")
	ap := netip.MustParseAddrPort
	return []Flow{
		{ID: "1", App: "firefox", Jail: "j1", Network: "tcp", Local: local, Remote: ap("140.82.112.25:443"), Names: []string{"alive.github.com", "live.github.com"},
			State: "ESTABLISHED", PID: 811, Program: "firefox", Since: noon.Add(-3 * time.Hour), Sent: 12_345, Received: 3_456_789, Known: true},
		{ID: "2", App: "firefox", Jail: "j1", Network: "udp", Local: local, Remote: ap("[2001:db8::7]:443"), Names: []string{"r4---sn-4g5e6nzl.googlevideo.example"},
			State: "ESTABLISHED", PID: 811, Program: "firefox", Since: noon.Add(-90 * time.Second)},
		{ID: "3", App: "firefox", Jail: "j1", Network: "tcp", Local: local, Remote: ap("203.0.113.80:8443"),
			State: "SYN-SENT", PID: 902, Program: "Socket Process", Since: noon.Add(-2 * time.Second), Known: true},
		{ID: "4", App: "npm", Jail: "j2", Network: "tcp", Local: ap("127.0.0.1:40000"), Remote: ap("127.0.0.1:8080"),
			State: "CLOSE-WAIT", PID: 1200, Program: "node", Since: noon.Add(-26 * time.Hour), Sent: 999, Received: 999_499, Known: true},
		{ID: "5", App: "npm", Jail: "j3", Network: "tcp", Local: ap("0.0.0.0:3000"), State: "LISTEN", PID: 1300, Program: "node", Since: noon.Add(-9 * time.Minute), Known: true},
	}
}

func testRules() []Rule {
	return []Rule{
		{ID: "a1", App: "@all", Verdict: "deny", Dest: "tcp://.tracker.example", Lifetime: "always", Where: "~/.config/netjail/rules/all.toml:3"},
		{ID: "b2", App: "curl", Verdict: "allow", Dest: "tcp://api.example.org:443", Lifetime: "always", By: "desktop", Where: "~/.config/netjail/rules/curl.toml:12", Note: "for work"},
		{ID: "c3", App: "firefox", Verdict: "allow", Dest: "tcp://.github.com:443", Lifetime: "for 59m", By: "terminal"},
		{ID: "d4", App: "npm", Verdict: "ask", Dest: "tcp://registry.example:443", Lifetime: "until exit", By: "cli"},
	}
}

func testEvents() []Event {
	return []Event{
		{Time: noon.Add(-30 * time.Hour), App: "curl", Op: "connect", Dest: "tcp://api.example.org:443", Verdict: "allow", By: "desktop", Lifetime: "always", Names: []string{"api.example.org"}},
		{Time: noon.Add(-time.Hour), App: "npm", Op: "connect", Dest: "tcp://registry.example:443", Verdict: "deny", By: "nobody", Why: "nobody answered in time"},
		{Time: noon.Add(-time.Hour), App: "npm", Op: "connect", Dest: "tcp://registry.example:443", Verdict: "deny", By: "nobody", Why: "nobody answered in time"},
		{Time: noon.Add(-time.Minute), App: "firefox", Op: "look up", Dest: "tcp://ads.tracker.example", Verdict: "deny", By: "no question", Why: "a rule in all.toml:3"},
	}
}

func testJails() []Jail {
	return []Jail{
		{ID: "j1", App: "firefox", Guard: "landlock", Command: "firefox --new-window", Supervisor: 800, Started: noon.Add(-4 * time.Hour)},
		{ID: "j2", App: "npm", Guard: "landlock", Command: "npm test", Supervisor: 1190, Started: noon.Add(-27 * time.Hour)},
		{ID: "j3", App: "npm", Guard: "none", Command: "npm start", Supervisor: 1290, Started: noon.Add(-10 * time.Minute)},
	}
}

// busy is a desk with something in each view.
func busy(t testing.TB, width, height int) *desk {
	d := newDesk(t, width, height)
	d.put(Connections, Contents{Flows: testFlows()})
	d.put(Rules, Contents{Rules: testRules()})
	d.put(History, Contents{Events: testEvents()})
	d.put(Jails, Contents{Jails: testJails()})
	return d
}

func TestScreens(t *testing.T) {
	for _, tt := range []struct {
		name          string
		width, height int
		act           func(d *desk)
	}{
		{"connections", 80, 24, func(d *desk) { d.press("Down", "Down") }},
		{"wide", 130, 30, func(d *desk) { d.press("Down") }},
		{"folded", 80, 24, func(d *desk) { d.press("Enter") }},
		{"bytes", 80, 24, func(d *desk) { d.press("o") }},
		{"rules", 80, 24, func(d *desk) { d.press("2", "Down") }},
		{"history", 80, 24, func(d *desk) { d.press("3") }},
		{"jails", 80, 24, func(d *desk) { d.press("4") }},
		{"question", 80, 24, func(d *desk) { d.ask(curlAsks(t)) }},
		{"domain", 80, 24, func(d *desk) { d.ask(curlAsks(t)); d.press("s") }},
		{"address", 80, 24, func(d *desk) { d.ask(pythonAsks(t)) }},
		{"summary", 80, 24, func(d *desk) { d.ask(firefoxAsks(t, 14)) }},
		{"questions", 80, 24, func(d *desk) { d.ask(curlAsks(t), pythonAsks(t), firefoxAsks(t, 14)); d.press("n") }},
		{"questions-high", 100, 50, func(d *desk) { d.ask(curlAsks(t), pythonAsks(t), firefoxAsks(t, 14)) }},
		{"small", 40, 10, func(d *desk) { d.ask(curlAsks(t)) }},
		{"too-small", 38, 9, func(d *desk) { d.ask(curlAsks(t)) }},
		{"filter", 80, 24, func(d *desk) { d.press("/", "g", "i", "t") }},
		{"filter-none", 80, 24, func(d *desk) { d.press("/", "z", "z", "Enter") }},
		{"end", 80, 24, func(d *desk) { d.press("Down", "x") }},
		{"stop", 80, 24, func(d *desk) { d.press("4", "K") }},
		{"disabled", 80, 24, func(d *desk) { d.press("a") }},
		{"help", 80, 24, func(d *desk) { d.press("?") }},
		{"help-narrow", 60, 20, func(d *desk) { d.press("?", "Space") }},
		{"away", 80, 24, func(d *desk) { d.ask(curlAsks(t)); d.happen(lost{errAway}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := busy(t, tt.width, tt.height)
			tt.act(d)
			d.golden(tt.name)
		})
	}
}

func TestEmptyScreen(t *testing.T) {
	d := newDesk(t, 80, 24)
	for v := range views {
		d.put(v, Contents{})
		d.press(string(rune('1' + v)))
		d.looking[v] = false
		d.wants(d.empty())
		if d.empty() == "" {
			t.Errorf("%v: nothing is said of an empty list", v)
		}
	}
	d.golden("empty")
}

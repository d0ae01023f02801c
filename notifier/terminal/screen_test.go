package terminal

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

var update = flag.Bool("update", false, "write what is drawn to testdata")

// TestRender compares questions as terminals of several sizes show them with
// files that a person has read.
func TestRender(t *testing.T) {
	now := time.Now()
	address := testQuestion()
	address.Deadline, address.Waiting = now.Add(time.Minute), 2

	background := testQuestion()
	background.App, background.Title, background.Deadline = "npm", "Node packages", now.Add(time.Minute)
	background.Package, background.Origin = "curl", notifier.FromPackage
	background.Chain = []string{"npm", "node", "dash", "curl"}
	background.Note = "200 names below example.org were looked up within minutes, and names carry data out"

	named, list := namedQuestion(), summaryQuestion(12)
	named.Deadline, list.Deadline = now.Add(time.Minute), now.Add(42*time.Second)
	long := summaryQuestion(3)
	long.App, long.Items[1].Dest.Host.Name = strings.Repeat("fire", 7), strings.Repeat("label.", 12)+"example"

	for _, c := range []struct {
		name string
		q    notifier.Question
		view view
	}{
		{"address", address, view{scope: notifier.Host}},
		{"background", background, view{scope: notifier.Host}},
		{"named", named, view{scope: notifier.Host}},
		{"domain", named, view{scope: notifier.Domain}},
		{"anything", named, view{scope: notifier.Anything, help: true}},
		{"summary", list, view{scope: notifier.Listed}},
		{"long", long, view{scope: notifier.Listed}},
	} {
		var b strings.Builder
		for _, size := range []size{{120, 24}, {100, 24}, {80, 24}, {50, 24}, {30, 24}, {20, 10}} {
			c.view.size, c.view.now = size, now
			fmt.Fprintf(&b, "== %d columns, %d rows%s%s\n", size.width, size.height, c.view.render(c.q), cursor)
		}
		file := filepath.Join("testdata", c.name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != string(want) {
			t.Errorf("%s:\ngot %s\nwant %s", file, got, want)
		}
	}
}

// namedQuestion has every scope.
func namedQuestion() notifier.Question {
	q := testQuestion()
	q.Dest, q.Wider = mustParse("tcp://www.example.org:80"), mustParse("tcp://.example.org:80")
	q.Addr, q.Names = netip.MustParseAddr("192.0.2.7"), []string{"www.example.org"}
	return q
}

// summaryQuestion lists n hosts.
func summaryQuestion(n int) notifier.Question {
	q := notifier.Question{ID: "1", App: "firefox", Waiting: n + 2}
	for i := range n {
		q.Items = append(q.Items, notifier.Item{Number: i + 1, Dest: mustParse(fmt.Sprintf("tcp://h%02d.cdn.example:443", i+1))})
	}
	return q
}

func mustParse(text string) rules.Destination {
	d, err := rules.ParseDestination(text)
	if err != nil {
		panic(err)
	}
	return d
}

// TestRenderChanged: that the program has changed comes first, and is what is
// left of the line on a narrow screen.
func TestRenderChanged(t *testing.T) {
	now := time.Now()
	q := testQuestion()
	q.Deadline = now.Add(time.Minute)
	q.Changed = time.Date(2026, 11, 3, 12, 0, 0, 0, time.Local)
	q.Package, q.Origin = "libcurl-and-all-its-friends", notifier.FromPackage
	q.Chain = []string{"npm", "node", "dash", "curl"}
	for width, want := range map[int]string{
		80: "\n  changed since you last allowed it on 2026-11-03 · package libcurl-and-all-its…\n",
		50: "\n  changed since you last allowed it on 2026-11-03…\n",
		20: "\n  changed since you…\n",
	} {
		if got := (view{size: size{width, 24}, scope: notifier.Host, now: now}).render(q); !strings.Contains(got, want) {
			t.Errorf("%d columns:\ngot %s\nwant it to have %s", width, got, want)
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

// TestRenderFits: at any width, with any text from a program, no line is too
// long, no escape sequence is cut or there where there should be none, and what
// the answer is about is there.
func TestRenderFits(t *testing.T) {
	q := testQuestion()
	q.App = strings.Repeat("日本", 40)
	q.Command = strings.Repeat("\x1b[31m\n\u202e界x ", 100)
	q.Names = []string{strings.Repeat("n", 300), "b.example"}
	q.Title, q.Package, q.Origin, q.Note = q.Command, q.Command, notifier.FromPackage, q.Command
	q.Chain = []string{q.Command, q.Command, q.Command}
	q.Changed = time.Now()
	list := summaryQuestion(40)
	list.App, list.Title = q.App, q.Title
	list.Items[0].Dest.Host.Name = strings.Repeat("\x1b[31mn", 100)
	for width := range 200 {
		for _, c := range []struct {
			q     notifier.Question
			scope notifier.Scope
			want  []string
		}{
			{q, notifier.Host, []string{"connectto192.0.2.7port443", "tcp://192.0.2.7:443", "[s]about:", "(192.0.2.7)", "[A]", "[D]", "[h]", "norulewritten"}},
			{q, notifier.Anything, []string{"(anything)", "allow@any", "--for1h"}},
			{list, notifier.Listed, []string{"wants40morehosts", "[a]allowallonce", "[e]allowall", "[d]denyallonce", "[E]denyall", "[r]reviewonebyone", "more"}},
		} {
			v := view{size: size{width, 24}, color: true, scope: c.scope, now: time.Now()}
			got := v.render(c.q)
			plain := escapes.ReplaceAllString(got, "")
			if strings.Contains(plain, "\x1b") || strings.Count(got, bold) != strings.Count(got, reset) || !strings.Contains(got, bold) {
				t.Fatalf("%d columns: broken escape sequences in %q", width, got)
			}
			if v.color = false; v.render(c.q) != plain {
				t.Fatalf("%d columns: without colour it is another text", width)
			}
			for line := range strings.SplitSeq(plain, "\n") {
				if n := columns(line); n > max(width, minWidth) {
					t.Fatalf("%d columns: %d in line %q", width, n, line)
				}
			}
			whole := regexp.MustCompile(`\s+`).ReplaceAllString(plain, "")
			for _, want := range c.want {
				if !strings.Contains(whole, want) {
					t.Fatalf("%d columns: %q is missing in\n%s", width, want, got)
				}
			}
		}
	}
}

// TestSummaryHeight: a list takes what the height leaves, and says what it left
// out.
func TestSummaryHeight(t *testing.T) {
	q := summaryQuestion(12)
	for height := range 40 {
		v := view{size: size{80, height}, scope: notifier.Listed, now: time.Now()}
		got := v.render(q)
		rows := strings.Count(got, "\n") - 1 + 1 // not the empty line above, but the cursor's
		hosts := strings.Count(got, ".cdn.example")
		if rows > max(height, 9) {
			t.Errorf("%d rows: %d are drawn\n%s", height, rows, got)
		}
		if more := strings.Contains(got, fmt.Sprintf("\n  and %d more\n", 12-hosts)); hosts == 0 || more == (hosts == 12) {
			t.Errorf("%d rows: %d hosts and the rest are listed: %v\n%s", height, hosts, more, got)
		}
		if hosts < 12 && rows < height {
			t.Errorf("%d rows: %d are used for %d hosts", height, rows, hosts)
		}
	}
}

// TestChoose: each key does what is said beside it.
func TestChoose(t *testing.T) {
	named, list, local := namedQuestion(), summaryQuestion(2), testQuestion()
	local.Dest = mustParse("unix:/run/x")
	for _, c := range []struct {
		q     notifier.Question
		scope notifier.Scope
		keys  string
		want  []string
	}{
		{named, notifier.Host, "aehAdEHD\x04", []string{
			"allow once tcp://www.example.org:80, allowed www.example.org once, no rule written",
			"allow exit tcp://www.example.org:80, allowed www.example.org until curl exits",
			"allow 1h tcp://www.example.org:80, allowed www.example.org for 1 hour, rule written",
			"allow always tcp://www.example.org:80, allowed www.example.org always, rule written",
			"deny once tcp://www.example.org:80, denied www.example.org once, no rule written",
			"deny exit tcp://www.example.org:80, denied www.example.org until curl exits",
			"deny 1h tcp://www.example.org:80, denied www.example.org for 1 hour, rule written",
			"deny always tcp://www.example.org:80, denied www.example.org always, rule written",
			"deny once tcp://www.example.org:80, denied www.example.org once, no rule written",
		}},
		{named, notifier.Domain, "AH\x04", []string{
			"allow always tcp://.example.org:80, allowed .example.org always, rule written",
			"deny 1h tcp://.example.org:80, denied .example.org for 1 hour, rule written",
			"deny once tcp://.example.org:80, denied .example.org once, no rule written",
		}},
		{named, notifier.Anything, "e", []string{"allow exit @any, allowed anything until curl exits"}},
		{named, notifier.Address, "D", []string{"deny always tcp://192.0.2.7:80, denied 192.0.2.7 always, rule written"}},
		{local, notifier.Host, "a", []string{"allow once unix:/run/x, allowed unix:/run/x once, no rule written"}},
		{list, notifier.Listed, "aedE\x04r", []string{
			"allow once all through 2, allowed all once, no rule written",
			"allow exit all through 2, allowed all until firefox exits",
			"deny once all through 2, denied all once, no rule written",
			"deny exit all through 2, denied all until firefox exits",
			"deny once all through 2, denied all once, no rule written",
			"review all through 2, each is asked by itself",
		}},
	} {
		for i, key := range []byte(c.keys) {
			got := "nothing"
			if choice, ok := choose(c.q, c.scope, key); ok {
				a := choice.Answer
				got = fmt.Sprintf("%v %v %v, %s", a.Verdict, a.Lifetime, a.Dest, done(c.q, choice))
				if a.Review {
					got = fmt.Sprintf("review all through %d, %s", a.Through, done(c.q, choice))
				} else if c.q.Summary() {
					got = fmt.Sprintf("%v %v all through %d, %s", a.Verdict, a.Lifetime, a.Through, done(c.q, choice))
				}
			}
			if got != c.want[i] {
				t.Errorf("%s, %s, %q: got %s, want %s", c.q.Headline(), c.scope, key, got, c.want[i])
			}
		}
		for key := range byte(255) {
			if _, ok := choose(c.q, c.scope, key); ok && !strings.ContainsRune("aehAdEHD\x04", rune(key)) && (key != 'r' || !c.q.Summary()) {
				t.Errorf("%s: %q answers", c.q.Headline(), key)
			}
		}
	}
	for _, key := range "hHAD" {
		if _, ok := choose(list, notifier.Listed, byte(key)); ok {
			t.Errorf("a list is decided by %q", key)
		}
	}
}

// TestNextScope goes once around.
func TestNextScope(t *testing.T) {
	local := testQuestion()
	local.Dest = mustParse("unix:/run/x")
	for _, c := range []struct {
		q    notifier.Question
		want string
	}{
		{namedQuestion(), "host domain any address host"},
		{testQuestion(), "host any host"},
		{local, "host host"},
		{summaryQuestion(2), "all all"},
	} {
		s := firstScope(c.q)
		got := string(s)
		for range c.q.Scopes() {
			s = nextScope(c.q, s)
			got += " " + string(s)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.q.Headline(), got, c.want)
		}
	}
}

func TestStroke(t *testing.T) {
	cases := []struct {
		name   string
		bursts []string
		want   string // the keys that count
	}{
		{"keys", []string{"a", "D"}, "aD"},
		{"enter", []string{"a\r", "\n", "d\n", "\r\n"}, "a\nd\n"},
		{"beyond ASCII", []string{"é", "é\r", "éa", "日", "a\xc3", "\x80a", "d"}, "\xc3\xc3\xe6d"},
		{"two at once", []string{"ad", "a"}, "a"},
		{"arrows", []string{"\x1b[A", "\x1bOA", "\x1b[1;5D", "d"}, "d"},
		{"arrow in parts", []string{"\x1b", "[", "A", "d"}, "d"},
		{"arrow and key", []string{"\x1b[Aa", "d"}, "d"},
		{"alt", []string{"\x1ba", "d"}, "d"},
		{"two escapes", []string{"\x1b\x1b[A", "d"}, "d"},
		{"paste", []string{"\x1b[200~a", "A", "a\x1b[201~", "d"}, "d"},
		{"paste of an escape", []string{"\x1b[200~", "\x1b[A", "A", "\x1b[201~", "d"}, "d"},
		{"long parameters", []string{"\x1b[" + strings.Repeat("1;", 100) + "A", "d"}, "d"},
		{"nothing", []string{"", "d"}, "d"},
	}
	for _, c := range cases {
		var k keys
		got := ""
		for _, b := range c.bursts {
			if key, ok := k.stroke([]byte(b)); ok {
				got += string([]byte{key})
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzStroke(f *testing.F) {
	f.Add([]byte("\x1b[A"))
	f.Add([]byte("a\r"))
	f.Fuzz(func(t *testing.T, burst []byte) {
		var k keys
		key, ok := k.stroke(burst)
		alone := strings.Trim(string(burst), "\r\n")
		_, size := utf8.DecodeRuneInString(alone)
		want := size == len(alone) && alone != "\x1b" && len(burst) > 0
		if ok != want || ok && alone != "" && alone[0] != key || ok && alone == "" && key != keyEnter {
			t.Errorf("%q: got %q, %v", burst, key, ok)
		}
		if len(k.param) > maxParam {
			t.Errorf("%q: %d bytes of parameters kept", burst, len(k.param))
		}
	})
}

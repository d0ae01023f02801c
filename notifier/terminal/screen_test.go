package terminal

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
)

func TestRender(t *testing.T) {
	now := time.Now()
	q := testQuestion()
	q.Deadline = now.Add(time.Minute)
	q.Waiting = 2
	cases := map[int]string{
		120: `
netjail: curl wants to connect to 192.0.2.7 port 443 (https, tcp)
  internet · name unknown · /usr/bin/curl (pid 1234): curl http://x
  2 calls wait for the answer
  [a] allow once  [e] allow until curl exits  [A] allow always: netjail rules add curl allow tcp://192.0.2.7:443
  [d] deny once   [D] deny always             denied in 60 s if you do not answer, no rule written
> `,
		80: `
netjail: curl wants to connect to 192.0.2.7 port 443 (https, tcp)
  internet · name unknown · /usr/bin/curl (pid 1234): curl http://x
  2 calls wait for the answer
  [a] allow once  [e] allow until curl exits  [A] allow always
  [d] deny once   [D] deny always
  always writes: netjail rules add curl allow tcp://192.0.2.7:443 (or deny)
  denied in 60 s if you do not answer, no rule written
> `,
		30: `
netjail: curl wants to connect
    to 192.0.2.7 port 443
    (https, tcp)
  internet · name unknown
  /usr/bin/curl (pid 1234): c…
  2 calls wait for the answer
  [a] allow once
  [e] allow until curl exits
  [A] allow always
  [d] deny once
  [D] deny always
  always writes: netjail rules
    add curl allow
    tcp://192.0.2.7:443 (or
    deny)
  denied in 60 s if you do not
    answer, no rule written
> `,
	}
	for width, want := range cases {
		if got := render(q, width, false, now) + cursor; got != want {
			t.Errorf("%d columns:\ngot %s\nwant %s", width, got, want)
		}
	}
}

// TestRenderBackground has one line more, about where the program is from.
func TestRenderBackground(t *testing.T) {
	now := time.Now()
	q := testQuestion()
	q.App, q.Title, q.Deadline = "npm", "Node packages", now.Add(time.Minute)
	q.Package, q.Origin = "curl", notifier.FromPackage
	q.Chain = []string{"npm", "node", "dash", "curl"}
	cases := map[int]string{
		80: `
netjail: npm (Node packages) wants to connect to 192.0.2.7 port 443 (https, tcp)
  internet · name unknown · /usr/bin/curl (pid 1234): curl http://x
  package curl · npm > node > dash > curl
  [a] allow once  [e] allow until npm exits  [A] allow always
  [d] deny once   [D] deny always
  always writes: netjail rules add npm allow tcp://192.0.2.7:443 (or deny)
  denied in 60 s if you do not answer, no rule written
> `,
		30: `
netjail: npm (Node packages)
    wants to connect to
    192.0.2.7 port 443 (https,
    tcp)
  internet · name unknown
  /usr/bin/curl (pid 1234): c…
  package curl · npm > node >…
  [a] allow once
  [e] allow until npm exits
  [A] allow always
  [d] deny once
  [D] deny always
  always writes: netjail rules
    add npm allow
    tcp://192.0.2.7:443 (or
    deny)
  denied in 60 s if you do not
    answer, no rule written
> `,
	}
	for width, want := range cases {
		if got := render(q, width, false, now) + cursor; got != want {
			t.Errorf("%d columns:\ngot %s\nwant %s", width, got, want)
		}
	}
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
		if got := render(q, width, false, now); !strings.Contains(got, want) {
			t.Errorf("%d columns:\ngot %s\nwant it to have %s", width, got, want)
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

// TestRenderFits: at any width, with any text from a program, no line is too
// long, no escape sequence is cut, and what the answer is about is there.
func TestRenderFits(t *testing.T) {
	q := testQuestion()
	q.App = strings.Repeat("日本", 40)
	q.Command = strings.Repeat("\x1b[31m\n\u202e界x ", 100)
	q.Names = []string{strings.Repeat("n", 300), "b.example"}
	q.Title, q.Package, q.Origin = q.Command, q.Command, notifier.FromPackage
	q.Chain = []string{q.Command, q.Command, q.Command}
	q.Changed = time.Now()
	for width := range 200 {
		got := render(q, width, true, time.Now())
		plain := escapes.ReplaceAllString(got, "")
		if strings.Contains(plain, "\x1b") || strings.Count(got, bold) != strings.Count(got, reset) {
			t.Fatalf("%d columns: broken escape sequences in %q", width, got)
		}
		for line := range strings.SplitSeq(plain, "\n") {
			if n := columns(line); n > max(width, minWidth) {
				t.Fatalf("%d columns: %d in line %q", width, n, line)
			}
		}
		whole := regexp.MustCompile(`\s+`).ReplaceAllString(plain, "")
		for _, want := range []string{"connectto192.0.2.7port443", "tcp://192.0.2.7:443", "[A]allowalways", "norulewritten"} {
			if !strings.Contains(whole, want) {
				t.Fatalf("%d columns: %q is missing in\n%s", width, want, got)
			}
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
		{"enter", []string{"a\r", "\n", "d\n"}, "ad"},
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
				got += string(key)
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
		if alone := strings.TrimRight(strings.TrimLeft(string(burst), "\r\n"), "\r\n"); ok != (len(alone) == 1 && alone[0] != keyESC) || ok && alone[0] != key {
			t.Errorf("%q: got %q, %v", burst, key, ok)
		}
		if len(k.param) > maxParam {
			t.Errorf("%q: %d bytes of parameters kept", burst, len(k.param))
		}
	})
}

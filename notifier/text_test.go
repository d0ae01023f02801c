package notifier

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/netjail/netjail/rules"
)

func TestHeadline(t *testing.T) {
	cases := []struct {
		op   rules.Op
		dest string
		want string
	}{
		{rules.Connect, "tcp://192.0.2.7:443", "curl wants to connect to 192.0.2.7 port 443 (https, tcp)"},
		{rules.Connect, "tcp://[2001:db8::1]:4444", "curl wants to connect to 2001:db8::1 port 4444 (tcp)"},
		{rules.Send, "udp://192.0.2.7:443", "curl wants to send to 192.0.2.7 port 443 (http/3, udp)"},
		{rules.Send, "udp://192.0.2.7:53", "curl wants to send to 192.0.2.7 port 53 (domain, udp)"},
		{rules.Send, "icmp://192.0.2.7", "curl wants to send to 192.0.2.7 (icmp)"},
		{rules.Send, "udp://192.0.2.7", "curl wants to send to 192.0.2.7, any port (udp)"},
		{rules.Connect, "example.org:80,443", "curl wants to connect to example.org port 80,443"},
		{rules.Connect, "unix:/run/x.sock", "curl wants to connect to unix:/run/x.sock"},
		{rules.Listen, "listen+tcp://0.0.0.0:8080", "curl wants to listen on 0.0.0.0 port 8080 (http-alt, tcp)"},
	}
	for _, c := range cases {
		q := Question{App: "curl", Op: c.op, Dest: dest(t, c.dest)}
		if got := q.Headline(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.dest, got, c.want)
		}
	}
}

func TestWhere(t *testing.T) {
	cases := []struct {
		op    rules.Op
		dest  string
		names []string
		want  string
	}{
		{rules.Connect, "192.0.2.7:443", nil, "internet · name unknown"},
		{rules.Connect, "192.168.1.1:443", []string{"nas.lan", "evil\x1b[2J"}, "LAN · known as nas.lan, evil\ufffd[2J"},
		{rules.Connect, "127.0.0.1:1", nil, "localhost · name unknown"},
		{rules.Connect, "169.254.169.254:80", nil, "cloud metadata, hands out credentials · name unknown"},
		{rules.Connect, "example.org:80", nil, "looked up by curl"},
		{rules.Connect, "unix:/run/x", nil, "local socket"},
		{rules.Listen, "listen+tcp://[::]:80", nil, "every network interface"},
		{rules.Listen, "listen+tcp://127.0.0.1:80", nil, "localhost"},
	}
	for _, c := range cases {
		q := Question{App: "curl", Op: c.op, Dest: dest(t, c.dest), Names: c.names}
		if got := q.Where(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.dest, got, c.want)
		}
	}
}

// TestKnown: how each name is known.
func TestKnown(t *testing.T) {
	cases := []struct {
		dest                  string
		names, hosts, aliases []string
		want                  string
	}{
		{"a.example:80", []string{"a.example"}, nil, nil, "looked up by curl"},
		{"a.example:80", []string{"a.example", "b.example"}, nil, nil, "looked up by curl · also known as b.example"},
		{"a.example:80", []string{"a.example"}, []string{"a.example"}, nil, "named in /etc/hosts"},
		{"a.example:80", []string{"a.example"}, nil, []string{"c.cdn.example", "edge.example"}, "looked up by curl · by way of c.cdn.example, edge.example"},
		{"192.0.2.7:80", []string{"a.example"}, nil, []string{"c.example"}, "known as a.example · by way of c.example"},
		{"192.0.2.7:80", nil, nil, []string{"c.example"}, "name unknown"},
	}
	for _, c := range cases {
		q := Question{App: "curl", Dest: dest(t, c.dest), Names: c.names, Hosts: c.hosts, Aliases: c.aliases}
		if got := q.known(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.dest, got, c.want)
		}
	}
}

func TestDetails(t *testing.T) {
	q := question(t, "curl", https)
	q.Exe, q.PID, q.Command, q.Waiting = "/usr/bin/curl", 1234, "curl -O\nhttp://x", 3
	q.Deadline = time.Now().Add(time.Minute)
	want := []string{
		"internet · name unknown",
		"/usr/bin/curl (pid 1234): curl -O http://x",
		"3 calls wait for the answer",
		"denied in 60 s if you do not answer, no rule written",
		"always writes: netjail rules add curl allow tcp://192.0.2.7:443",
	}
	if got := q.Details(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestClean(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"plain", "curl -O x", "curl -O x"},
		{"accents", "żółw 日本", "żółw 日本"},
		{"white space", "a\nb\r\tc\u00a0d\u2028e", "a b  c d e"},
		{"escape", "\x1b[2J\x9b\x07", "\ufffd[2J\ufffd\ufffd"},
		{"c1", "a\u009bb", "a\ufffdb"},
		{"bidi", "a\u202egpj.exe\u2066\u200f", "a\ufffdgpj.exe\ufffd\ufffd"},
		{"zero width", "pay\u200bpal\u200d\ufeff\u2060\u00ad", "pay\ufffdpal\ufffd\ufffd\ufffd\ufffd"},
		{"blank letters", "a\u3164\u115f\u2800\u034f\ufe0f\U000e0041", "a\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"},
		{"private", "\ue000\U0010ffff", "\ufffd\ufffd"},
		{"invalid", "a\xff\xc3(", "a\ufffd\ufffd("},
		{"marks", "a" + strings.Repeat("\u0301", 50) + "b", "a" + strings.Repeat("\u0301", 4) + "b"},
		{"long", strings.Repeat("é", 50), strings.Repeat("é", 29) + "…"},
	}
	for _, c := range cases {
		if got := Clean(c.in, 30); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := Clean("abc", 0); got != "" {
		t.Errorf("max 0: got %q, want nothing", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\u202e\xff\x1b[0m\u0301", 5)
	f.Fuzz(func(t *testing.T, s string, max int) {
		got := Clean(s, max%1000)
		if n := utf8.RuneCountInString(got); !utf8.ValidString(got) || n > maxRunes(max%1000) {
			t.Fatalf("Clean(%q, %d) = %q: %d characters", s, max%1000, got, n)
		}
		for _, r := range got {
			if r < ' ' || r == 0x7f || blank(r) {
				t.Fatalf("Clean(%q) = %q keeps %U", s, got, r)
			}
		}
		if again := Clean(got, max%1000); again != got {
			t.Fatalf("Clean(%q) = %q, again %q", s, got, again)
		}
	})
}

func maxRunes(max int) int {
	if max < 0 {
		return 0
	}
	return max
}

func TestShellWord(t *testing.T) {
	cases := map[string]string{
		"curl":            "curl",
		"tcp://[::1]:443": "'tcp://[::1]:443'",
		"it's":            `'it'\''s'`,
		"":                "''",
		"a\x1b'\u202e\"":  `$'a\x1b\'\u202e"'`,
		"unix:/tmp/a b;c": "'unix:/tmp/a b;c'",
	}
	for in, want := range cases {
		if got := ShellWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestDone(t *testing.T) {
	cases := map[string]Answer{
		"denied once, no rule written": {},
		"allowed until the app exits":  {Verdict: rules.Allow, Lifetime: rules.Lifetime{Kind: rules.UntilExit}},
		"allowed always, rule written": {Verdict: rules.Allow, Lifetime: rules.Lifetime{Kind: rules.Always}},
		"denied for 1h":                {Lifetime: rules.Lifetime{Kind: rules.For, For: time.Hour}},
	}
	for want, a := range cases {
		if got := a.Done(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

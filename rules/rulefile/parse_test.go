package rulefile

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

const good = `# Rules of firefox. Edit freely: netjail keeps comments and order.

[[rule]]
allow = "tcp://192.0.2.7:443"
note = "intranet"
by = "prompt"
created = 2026-11-22T10:00:00Z

[[rule]] # the guest network
"deny" = '@lan'  # all of it
exe = "/usr/bin/x"
local = true
answer = "refused"
expires = 2026-12-01 02:00:00+02:00
enabled = false

  [[ rule ]]
  note = """
two
lines"""
  ask = "@any"
  enabled = true
`

func dest(t testing.TB, s string) rules.Destination {
	t.Helper()
	d, err := rules.ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustParse(t testing.TB, app, text string) *File {
	t.Helper()
	f, err := Parse(FileName(app), app, []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return f
}

func TestParse(t *testing.T) {
	want := []rules.Rule{
		{
			App: "firefox", Verdict: rules.Allow, Dest: dest(t, "tcp://192.0.2.7:443"), Note: "intranet", By: "prompt",
			Created: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Source: rules.Source{File: "firefox.toml", Line: 3},
		},
		{
			App: "firefox", Verdict: rules.Deny, Dest: dest(t, "@lan"), Exe: "/usr/bin/x", Disabled: true, Local: true, Refuse: true,
			Expires: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Source: rules.Source{File: "firefox.toml", Line: 9},
		},
		{
			App: "firefox", Verdict: rules.Ask, Dest: dest(t, "@any"), Note: "two\nlines",
			Source: rules.Source{File: "firefox.toml", Line: 17},
		},
	}
	for _, text := range []string{good, strings.ReplaceAll(good, "\n", "\r\n"), strings.TrimRight(good, "\n")} {
		f := mustParse(t, "firefox", text)
		got := f.Rules()
		got[2].Note = strings.ReplaceAll(got[2].Note, "\r\n", "\n")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v\nwant\n%+v", got, want)
		}
		if string(f.Bytes()) != text {
			t.Errorf("Bytes: got %q, want %q", f.Bytes(), text)
		}
	}
}

func TestParseEmpty(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# only a comment", "# one\r\n# two\r\n"} {
		f := mustParse(t, "", text)
		if len(f.Rules()) != 0 || string(f.Bytes()) != text || f.App() != "" || f.Name() != "@all.toml" {
			t.Errorf("%q: got %+v", text, f)
		}
	}
}

// Each case goes behind a good file: the error must name the line in the
// whole, and the same text with the fix must parse.
func TestParseErrors(t *testing.T) {
	const rule = "[[rule]]\nallow = \"a.org\"\n"
	long := strings.Repeat("x", maxLine)
	for _, tc := range []struct {
		name, bad, fixed string
		line             int
		want             string
	}{
		{"unknown key", rule + "alow = 1\n", rule + "note = \"1\"\n", 3, `unknown key`},
		{"dotted key", rule + "allow.x = \"a\"\n", rule, 3, "unknown key"},
		{"unknown table", rule + "[rule.x]\n", rule, 3, `"rule.x"`},
		{"unknown array", rule + "[[rules]]\n", rule + rule, 3, `"rules"`},
		{"table, not array", "[rule]\nallow = \"a.org\"\n", rule, 1, "[[rule]]"},
		{"no verdict", rule + "[[rule]]\nnote = \"x\"\n", rule + rule, 3, "without allow"},
		{"no verdict, more follow", "[[rule]]\nnote = \"x\"\n" + rule, rule + rule, 1, "without allow"},
		{"empty rule", "[[rule]]\n", rule, 1, "without allow"},
		{"two verdicts", rule + "deny = \"b.org\"\n", rule, 3, "allow and deny"},
		{"duplicate key", rule + "allow = \"b.org\"\n", rule, 3, "duplicate key"},
		{"duplicate quoted key", rule + "\"allow\" = \"b.org\"\n", rule, 3, "duplicate key"},
		{"destination", "[[rule]]\n\nallow = \"*\"\n", rule, 3, `destination "*"`},
		{"no destination", "[[rule]]\nallow = \"\"\n", rule, 2, "empty"},
		{"list of destinations", "[[rule]]\nallow = [\"a.org\"]\n", rule, 2, "string"},
		{"type of verdict", "[[rule]]\nallow = true\n", rule, 2, "string"},
		{"type of exe", rule + "exe = 1\n", rule + "exe = \"/x\"\n", 3, "string"},
		{"relative exe", rule + "exe = \"x\"\n", rule + "exe = \"/x\"\n", 3, "absolute"},
		{"NUL in exe", rule + `exe = "/x\u0000"` + "\n", rule + "exe = \"/x\"\n", 3, "absolute"},
		{"type of note", rule + "note = 1\n", rule + "note = \"1\"\n", 3, "string"},
		{"type of by", rule + "by = {}\n", rule + "by = \"me\"\n", 3, "string"},
		{"type of enabled", rule + "enabled = \"no\"\n", rule + "enabled = false\n", 3, "true or false"},
		{"type of expires", rule + "expires = \"2026-01-01\"\n", rule + "expires = 2026-01-01T00:00:00Z\n", 3, "date"},
		{"local date", rule + "expires = 2026-01-01\n", rule + "expires = 2026-01-01T00:00Z\n", 3, "zone"},
		{"local date-time", rule + "expires = 2026-01-01T00:00:00\n", rule + "expires = 2026-01-01T00:00:00.5z\n", 3, "zone"},
		{"no such day", rule + "created = 2026-02-30T00:00:00Z\n", rule + "created = 2026-02-28T00:00:00Z\n", 3, "date"},
		{"zero date", rule + "expires = 0001-01-01T00:00:00Z\n", rule + "expires = 0001-01-02T00:00:00Z\n", 3, "date"},
		{"zero date in a zone", rule + "expires = 0001-01-01T01:00:00+01:00\n", rule, 3, "date"},
		{"half-written string", rule + "note = \"ha", rule + "note = \"ha\"", 3, ""},
		{"half-written key", rule + "no", rule + "note=\"\"", 3, ""},
		{"half-written header", rule + "[[ru", rule, 3, ""},
		{"half-written lines", rule + "note = \"\"\"\na\nb", rule + "note = \"\"\"\na\nb\"\"\"", 5, ""},
		{"not TOML", rule + "allow tcp://a.org\n", rule, 3, ""},
		{"bad escape", rule + "note = \"\\q\"\n", rule + "note = \"\\\\q\"\n", 3, ""},
		{"lone CR", rule + "note = \"a\"\rby = \"b\"\n", rule + "note = \"a\"\r\nby = \"b\"\n", 3, ""},
		{"NUL", rule + "# \x00\n", rule + "# \n", 3, "NUL"},
		{"not UTF-8", rule + "# \xff\n", rule + "# é\n", 3, "UTF-8"},
		{"control character", rule + "# \x01\n", rule + "# \n", 3, ""},
		{"long line", rule + "# " + long + "\n", rule + "# " + long[:maxLine-3] + "\n", 3, "64 KiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mustParse(t, "firefox", good+tc.fixed)
			_, err := Parse("firefox.toml", "firefox", []byte(good+tc.bad))
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.File != "firefox.toml" || e.Line != strings.Count(good, "\n")+tc.line || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want line %d and %q", err, strings.Count(good, "\n")+tc.line, tc.want)
			}
			if e.Unwrap() == nil || strings.ContainsAny(err.Error(), "\n\x00\x01") || len(err.Error()) > 400 {
				t.Errorf("bad error text %q", err)
			}
		})
	}
	if _, err := Parse("x", "x", []byte("allow = \"a.org\"\n[[rule]]\n")); err == nil || err.Error() != `x:1: key "allow" before the first [[rule]]` {
		t.Errorf("key before the first rule: got %v", err)
	}
}

func TestParseLimits(t *testing.T) {
	line := strings.Repeat("#", 1023) + "\n"
	if _, err := Parse("x", "x", []byte(strings.Repeat(line, maxFile/1024))); err != nil {
		t.Errorf("4 MiB: %v", err)
	}
	_, err := Parse("x", "x", []byte(strings.Repeat(line, maxFile/1024)+"#"))
	if err == nil || err.Error() != "x: larger than 4 MiB" {
		t.Errorf("larger: got %v", err)
	}
	if _, err := Parse("x", "../x", nil); err == nil {
		t.Error("bad app name: got nil, want an error")
	}
}

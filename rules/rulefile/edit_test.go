package rulefile

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

const handWritten = `# My rules.

# Work: do not touch
[[rule]]
allow   = "TCP://Example.org:443" # spelled my way
# inside
expires = 2026-12-01T00:00:00Z # until the fair
note = "mine"

# Home
[[rule]]
deny = "@lan"

# Last
[[rule]]
ask = "@any"
# the end
`

func at(day int) time.Time { return time.Date(2026, 12, day, 0, 0, 0, 0, time.UTC) }

func TestAdd(t *testing.T) {
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(handWritten) }
	example := dest(t, "tcp://example.org:443")
	for _, tc := range []struct {
		name string
		text string
		rule rules.Rule
		want string
	}{
		{
			"first", "", rules.Rule{Verdict: rules.Allow, Dest: example, By: "prompt", Created: at(1)},
			"# Rules of curl. Edit freely: netjail keeps comments and order.\n\n[[rule]]\nallow = \"tcp://example.org:443\"\n" +
				"by = \"prompt\"\ncreated = 2026-12-01T00:00:00Z\n",
		},
		{
			"appended", handWritten, rules.Rule{Verdict: rules.Deny, Dest: example, Exe: "/x", Note: "a \"b\"\n\u202e\U000e0001", Expires: at(2).Add(1), Disabled: true},
			handWritten + "\n[[rule]]\ndeny = \"tcp://example.org:443\"\nexe = \"/x\"\nnote = \"a \\\"b\\\"\\u000A\\u202E\\U000E0001\"\n" +
				"expires = 2026-12-02T00:00:00Z\nenabled = false\n",
		},
		{
			"no newline at the end", "[[rule]]\nask = \"@any\"", rules.Rule{Verdict: rules.Deny, Dest: example},
			"[[rule]]\nask = \"@any\"\n\n[[rule]]\ndeny = \"tcp://example.org:443\"\n",
		},
		{
			"blank line at the end", "[[rule]]\nask = \"@any\"\n\n", rules.Rule{Verdict: rules.Deny, Dest: example},
			"[[rule]]\nask = \"@any\"\n\n[[rule]]\ndeny = \"tcp://example.org:443\"\n",
		},
		{
			"CRLF", "# x\r\n", rules.Rule{Verdict: rules.Deny, Dest: example},
			"# x\r\n\r\n[[rule]]\r\ndeny = \"tcp://example.org:443\"\r\n",
		},
		{
			"same rule", handWritten, rules.Rule{Verdict: rules.Allow, Dest: example, Expires: at(1)}, handWritten,
		},
		{
			"other verdict", handWritten, rules.Rule{Verdict: rules.Deny, Dest: example, Expires: at(1)},
			replace("allow   = ", "deny   = "),
		},
		{
			"other lifetime", handWritten, rules.Rule{Verdict: rules.Allow, Dest: example, Expires: at(2)},
			replace("expires = 2026-12-01T00:00:00Z #", "expires = 2026-12-02T00:00:00Z #"),
		},
		{
			"always", handWritten, rules.Rule{Verdict: rules.Allow, Dest: example},
			replace("expires = 2026-12-01T00:00:00Z # until", "# until"),
		},
		{
			"limited and disabled", handWritten, rules.Rule{Verdict: rules.Deny, Dest: dest(t, "@lan"), Expires: at(3), Disabled: true},
			replace("deny = \"@lan\"\n", "deny = \"@lan\"\nexpires = 2026-12-03T00:00:00Z\nenabled = false\n"),
		},
		{
			"enabled again", "[[rule]]\n\tenabled = false\n\tdeny = \"@lan\"", rules.Rule{Verdict: rules.Ask, Dest: dest(t, "@lan"), Note: "n"},
			"[[rule]]\n\task = \"@lan\"\n\tnote = \"n\"\n",
		},
		{
			"further ones go", "[[rule]]\nallow = \"@lan\"\n\n# two\n[[rule]]\ndeny = \"@lan\"\n\n[[rule]]\nask = \"@any\"\n",
			rules.Rule{Verdict: rules.Ask, Dest: dest(t, "@lan")},
			"[[rule]]\nask = \"@lan\"\n\n# two\n\n[[rule]]\nask = \"@any\"\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := mustParse(t, "curl", tc.text)
			tc.rule.App = "curl"
			g, err := f.Add(tc.rule)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(g.Bytes()); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if string(f.Bytes()) != tc.text {
				t.Error("the file itself changed")
			}
			if again, err := g.Add(tc.rule); err != nil || string(again.Bytes()) != tc.want {
				t.Errorf("added again: got %v\n%s\nwant no change", err, again.Bytes())
			}
		})
	}
}

func TestAddEveryApp(t *testing.T) {
	g, err := mustParse(t, "", "").Add(rules.Rule{Dest: dest(t, "@lan")})
	if err != nil {
		t.Fatal(err)
	}
	want := "# Rules of every app. Edit freely: netjail keeps comments and order.\n\n[[rule]]\ndeny = \"@lan\"\n"
	if string(g.Bytes()) != want {
		t.Errorf("got\n%s\nwant\n%s", g.Bytes(), want)
	}
}

func TestAddErrors(t *testing.T) {
	f := mustParse(t, "curl", handWritten)
	good := rules.Rule{App: "curl", Dest: dest(t, "b.org")}
	if _, err := f.Add(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*rules.Rule){
		"other app":      func(r *rules.Rule) { r.App = "wget" },
		"every app":      func(r *rules.Rule) { r.App = "" },
		"jail":           func(r *rules.Rule) { r.Jail = "1" },
		"run":            func(r *rules.Rule) { r.Run = true },
		"verdict":        func(r *rules.Rule) { r.Verdict = 9 },
		"no destination": func(r *rules.Rule) { r.Dest = rules.Destination{} },
		"not canonical":  func(r *rules.Rule) { r.Dest.Host.Name = "B.org" },
		"relative exe":   func(r *rules.Rule) { r.Exe = "x" },
		"exe not UTF-8":  func(r *rules.Rule) { r.Exe = "/\xff" },
		"note not UTF-8": func(r *rules.Rule) { r.Note = "\xff" },
		"long note":      func(r *rules.Rule) { r.Note = strings.Repeat("x", maxLine) },
		"far date":       func(r *rules.Rule) { r.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := good
		spoil(&r)
		if g, err := f.Add(r); err == nil {
			t.Errorf("%s: got\n%s\nwant an error", name, g.Bytes())
		}
	}
	if string(f.Bytes()) != handWritten {
		t.Error("the file changed")
	}
}

func TestRemove(t *testing.T) {
	for _, tc := range []struct {
		name string
		text string
		gone rules.Rule
		want string
	}{
		{
			"first", handWritten, rules.Rule{Verdict: rules.Allow, Dest: dest(t, "tcp://example.org:443")},
			"# My rules.\n\n# Work: do not touch\n\n# Home\n[[rule]]\ndeny = \"@lan\"\n\n# Last\n[[rule]]\nask = \"@any\"\n# the end\n",
		},
		{
			"last", handWritten, rules.Rule{Verdict: rules.Ask, Dest: dest(t, "@any")},
			strings.Replace(handWritten, "[[rule]]\nask = \"@any\"\n", "", 1),
		},
		{
			"between blank lines", "[[rule]]\nask = \"@any\"\n\n[[rule]]\ndeny = \"@lan\"\n\n[[rule]]\nask = \"@lan\"\n", rules.Rule{Dest: dest(t, "@lan")},
			"[[rule]]\nask = \"@any\"\n\n[[rule]]\nask = \"@lan\"\n",
		},
		{"only one", "[[rule]]\ndeny = \"@lan\"", rules.Rule{Dest: dest(t, "@lan")}, ""},
		{
			"several", "[[rule]]\ndeny = \"@lan\"\n\n[[rule]]\ndeny = \"@LAN\"\n\n# c\n", rules.Rule{Dest: dest(t, "@lan")},
			"# c\n",
		},
		{
			"no blank lines", "[[rule]]\nask = \"@any\"\n[[rule]]\ndeny = \"@lan\"\n[[rule]]\nask = \"@lan\"\n", rules.Rule{Dest: dest(t, "@lan")},
			"[[rule]]\nask = \"@any\"\n[[rule]]\nask = \"@lan\"\n",
		},
		{
			"value of many lines", "[[rule]]\ndeny = \"@lan\"\nnote = '''\n\n[[rule]]\n''' # c\n\n# d\n", rules.Rule{Dest: dest(t, "@lan")},
			"# d\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := mustParse(t, "curl", tc.text)
			tc.gone.App = "curl"
			g, found, err := f.Remove(tc.gone.ID())
			if err != nil || !found {
				t.Fatalf("got %v, %v, want found", found, err)
			}
			if got := string(g.Bytes()); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if _, found, err := g.Remove(tc.gone.ID()); found || err != nil {
				t.Errorf("removed again: got %v, %v, want not found", found, err)
			}
		})
	}
}

func TestAddThenRemove(t *testing.T) {
	for _, text := range []string{good, handWritten, "# c\n", "[[rule]]\nask = \"@any\"\n"} {
		f := mustParse(t, "curl", text)
		r := rules.Rule{App: "curl", Dest: dest(t, "new.example.org")}
		g, err := f.Add(r)
		if err != nil {
			t.Fatal(err)
		}
		h, found, err := g.Remove(r.ID())
		if err != nil || !found || string(h.Bytes()) != text {
			t.Errorf("got %v, %v\n%s\nwant\n%s", found, err, h.Bytes(), text)
		}
	}
}

// An edit that gives other rules than it should must not be returned.
func TestEditIsChecked(t *testing.T) {
	f := mustParse(t, "curl", handWritten)
	if _, err := f.edited([]byte(handWritten), f.Rules()); err != nil {
		t.Fatal(err)
	}
	if g, err := f.edited([]byte(handWritten), f.Rules()[1:]); err == nil {
		t.Errorf("got %v, want an error", g.Rules())
	}
	if g, err := f.edited([]byte("[["), nil); err == nil {
		t.Errorf("got %v, want an error", g.Rules())
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good), "x.org")
	f.Add([]byte(handWritten), "tcp://example.org:443")
	f.Add([]byte("[[rule]]\ndeny = \"@lan\""), "@lan")
	f.Add([]byte("[[rule]]\r\ndeny = \"@lan\" # x\r\nenabled=false"), "@lan")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		file, err := Parse("curl.toml", "curl", data)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without text")
			}
			return
		}
		again, err := Parse("curl.toml", "curl", file.Bytes())
		if err != nil || !reflect.DeepEqual(again.Rules(), file.Rules()) {
			t.Fatalf("reparsed: %v, got %+v, want %+v", err, again.Rules(), file.Rules())
		}
		d, err := rules.ParseDestination(text)
		if err != nil {
			return
		}
		r := rules.Rule{App: "curl", Verdict: rules.Ask, Dest: d, Expires: at(1)}
		fresh := !slices.ContainsFunc(file.Rules(), func(o rules.Rule) bool { return o.Dest == d && o.Exe == "" })
		added, err := file.Add(r)
		if err != nil {
			t.Fatalf("Add: %v", err)
		}
		removed, found, err := added.Remove(r.ID())
		if err != nil || !found {
			t.Fatalf("Remove: %v, %v", found, err)
		}
		if fresh && !slices.EqualFunc(removed.Rules(), file.Rules(), sameRule) {
			t.Fatalf("got %+v, want %+v", removed.Rules(), file.Rules())
		}
	})
}

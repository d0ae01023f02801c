package rulefile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

func randomRule(t *testing.T, r *rand.Rand) rules.Rule {
	t.Helper()
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	scheme, ports := pick("", "tcp://", "udp://"), pick("", ":443", ":80,443", ":1-1023")
	host := pick("example.org", "*.example.org", ".a.b.example.org", "192.0.2.7", "10.0.0.0/8", "[2001:db8::1]", "[2001:db8::/32]", "@any", "@lan", "xn--bcher-kva.example")
	dest := scheme + host + ports
	if r.IntN(8) == 0 {
		dest = pick("unix:/run/x y.sock", "unix:@abstract%00name", "listen://127.0.0.1:8080", "listen+udp://@any:53", "icmp://@internet")
	}
	if strings.HasPrefix(dest, "unix:") {
		dest = strings.ReplaceAll(dest, " ", "%20")
	}
	d, err := rules.ParseDestination(dest)
	if err != nil {
		t.Fatal(err)
	}
	at := func() time.Time {
		if r.IntN(2) == 0 {
			return time.Time{}
		}
		return time.Unix(r.Int64N(4e9), 0).UTC()
	}
	return rules.Rule{
		App: pick("", "curl", "fire+fox", "a.b-c_d"), Verdict: rules.Verdict(r.IntN(3)), Dest: d, Exe: pick("", "", "/usr/bin/x", "/opt/\u00e9 \"q\"/y\\z"),
		Expires: at(), Created: at(), Disabled: r.IntN(4) == 0, Local: r.IntN(4) == 0, Refuse: r.IntN(4) == 0,
		Note: pick("", "plain", "quo\"te\\ \t\n\x1b[2J \u202e", "\u65e5\u672c"), By: pick("", "cli", "prompt", "import"),
	}
}

// TestExportReadsBack: whatever the rules, what is exported is read back to the
// same, and so is what is appended to a file.
func TestExportReadsBack(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 500 {
		list := make([]rules.Rule, r.IntN(20))
		for i := range list {
			list[i] = randomRule(t, r)
		}
		data, err := Export(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseExport("x", data)
		if err != nil || !slices.EqualFunc(again, list, sameRule) {
			t.Fatalf("read back %v\n%+v\nwant\n%+v\n%s", err, again, list, data)
		}
		if second, err := Export(again); err != nil || string(second) != string(data) {
			t.Fatalf("exported again: %v\n%s\nwant\n%s", err, second, data)
		}
		own := slices.DeleteFunc(slices.Clone(list), func(r rules.Rule) bool { return r.App != "curl" })
		f, err := Parse("curl.toml", "curl", []byte("# mine\n"))
		if err != nil {
			t.Fatal(err)
		}
		if f, err = f.Append(own...); err != nil || !slices.EqualFunc(f.Rules(), own, sameRule) || !strings.HasPrefix(string(f.Bytes()), "# mine\n") {
			t.Fatalf("appended %v\n%s", err, f.Bytes())
		}
	}
}

func TestExportLeavesOut(t *testing.T) {
	d, _ := rules.ParseDestination("@any")
	data, err := Export([]rules.Rule{{App: "a", Dest: d, Jail: "j", Run: true}, {App: "b", Dest: d}})
	if err != nil || strings.Contains(string(data), `"a"`) || !strings.Contains(string(data), `"b"`) {
		t.Errorf("got %v\n%s", err, data)
	}
	if _, err := Export([]rules.Rule{{App: "../x", Dest: d}}); err == nil {
		t.Error("an app that is none is exported")
	}
}

func TestParseExportRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"[[rule]]\nallow = \"@any\"\n":                        "x:1: a rule without app",
		"[[rule]]\napp = \"a\"\n":                             "x:1: a rule without allow",
		"[[rule]]\napp = \"../a\"\nallow = \"@any\"\n":        `x:2: key "app"`,
		"[[rule]]\napp = \"\"\nallow = \"@any\"\n":            "no app",
		"[[rule]]\napp = \"a\"\napp = \"b\"\nallow = \"x.y\"": "duplicate key",
		"[[rule]]\napp = 1\nallow = \"@any\"\n":               "want a string",
		"app = \"a\"\n":                                       "before the first",
	} {
		if list, err := ParseExport("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", text, list, err, want)
		}
	}
	// The file of one app has no such key.
	if _, err := Parse("a.toml", "a", []byte("[[rule]]\napp = \"a\"\nallow = \"@any\"\n")); err == nil {
		t.Error("app is a key of a rule file")
	}
}

func TestEnable(t *testing.T) {
	const text = "# head\n[[rule]]\nallow = \"a.org\" # one\nenabled = false # off\n\n[[rule]]\ndeny = \"b.org\"\n\n[[rule]]\nallow = \"a.org\"\nnote = \"twice\"\n"
	f, err := Parse("x.toml", "x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	id := f.Rules()[0].ID()
	off, found, err := f.Enable(id, false)
	if want := text + "enabled = false\n"; err != nil || !found || string(off.Bytes()) != want {
		t.Errorf("off: %v\n%s\nwant\n%s", err, off.Bytes(), want)
	}
	on, found, err := off.Enable(id, true)
	if want := strings.Replace(text, "enabled = false # off\n", "# off\n", 1); err != nil || !found || string(on.Bytes()) != want {
		t.Errorf("on: %v\n%s\nwant\n%s", err, on.Bytes(), want)
	}
	if g, found, err := f.Enable("00000000", true); found || err != nil || g != f {
		t.Errorf("another id: %v, %v", found, err)
	}
}

func TestDiff(t *testing.T) {
	for _, tc := range []struct{ old, text, want string }{
		{"a\n", "a\n", ""},
		{"", "a\n", "--- o\n+++ n\n@@ -0,0 +1,1 @@\n+a\n"},
		{"a\n", "", "--- o\n+++ n\n@@ -1,1 +0,0 @@\n-a\n"},
		{"a\nb\nc\n", "a\nB\nc\n", "--- o\n+++ n\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		{"a", "a\n", "--- o\n+++ n\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "--- o\n+++ n\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -7,3 +8,4 @@\n 7\n 8\n 9\n+10\n"},
	} {
		if got := Diff("o", "n", []byte(tc.old), []byte(tc.text)); got != tc.want {
			t.Errorf("%q to %q: got\n%s\nwant\n%s", tc.old, tc.text, got, tc.want)
		}
	}
}

// TestDiffApplies: what is taken and given gives the new text, in any case.
func TestDiffApplies(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for n := range 2000 {
		random := func() []string {
			list := make([]string, r.IntN(30))
			for i := range list {
				list[i] = fmt.Sprintln(r.IntN(6))
			}
			return list
		}
		a, b := random(), random()
		if n == 0 { // more than is searched for
			for i := range 2000 {
				a, b = append(a, fmt.Sprintln(i)), append(b, fmt.Sprintln(-i))
			}
		}
		var got []string
		at := 0
		for _, e := range changes(a, b) {
			got = append(got, a[at:e.a]...)
			got = append(got, b[e.b:e.bEnd]...)
			at = e.aEnd
		}
		if got = append(got, a[at:]...); !slices.Equal(got, b) {
			t.Fatalf("%d: %q to %q gives %q", n, a, b, got)
		}
	}
}

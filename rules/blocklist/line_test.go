package blocklist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// read returns what a list says: names, @names, and how many were skipped.
func read(text string) (said string, err error) {
	var b Builder
	if err := b.read(strings.NewReader(text), Source{File: "list"}); err != nil {
		return "", err
	}
	var words []string
	for rest := b.blob; len(rest) > 0; {
		name := string(rest[recordHead : recordHead+int(rest[0])])
		if rest[1]&exceptionBit != 0 {
			name = "@" + name
		}
		words = append(words, name)
		rest = rest[recordHead+int(rest[0]):]
	}
	if n := b.sources[0].Skipped; n > 0 {
		words = append(words, fmt.Sprintf("-%d", n))
	}
	return strings.Join(words, " "), nil
}

func TestLines(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"names", "ads.example\nb.example\n", "ads.example b.example"},
		{"no newline at the end", "ads.example", "ads.example"},
		{"CRLF", "ads.example\r\nb.example\r\n", "ads.example b.example"},
		{"BOM", "\ufeffads.example\n", "ads.example"},
		{"BOM before a remark", "\ufeff# list\nads.example\n", "ads.example"},
		{"case, dot, spaces", " \tADS.Example. \n", "ads.example"},
		{"remarks", "# a\n! b\n\n  # c\nads.example # d\nb.example#e\n## f\n", "ads.example b.example"},
		{"wildcards", "*.ads.example\n.b.example\n", "ads.example b.example"},
		{"underscore, hyphens", "_x-.ads--.example", "_x-.ads--.example"},
		{"addresses", "192.0.2.1\n2001:db8::1\n192.0.2.0/24\nads.example", "ads.example -3"},
		{"odd names", "a..example\n" + strings.Repeat("x", 64) + ".example\n-.1\nads.example", "ads.example -3"},
		{"too long", strings.Repeat("abc.", 64) + "example\nads.example", "ads.example -1"},

		{"hosts", "0.0.0.0 ads.example\n127.0.0.1\tb.example c.example\n:: d.example\n::1  e.example", "ads.example b.example c.example d.example e.example"},
		{"hosts remarks", "0.0.0.0 ads.example # x\n0.0.0.0 b.example ## y\n0.0.0.0 c.example#z", "ads.example b.example c.example"},
		{"hosts own names", "127.0.0.1 localhost localhost.localdomain local\n::1 ip6-localhost\nfe80::1%lo0 localhost\n255.255.255.255 broadcasthost\n0.0.0.0 0.0.0.0\n0.0.0.0 ads.example", "ads.example -7"},
		{"hosts mappings", "192.168.1.2 nas.example\n0.0.0.0 ads.example", "ads.example -1"},
		{"hosts odd names", "0.0.0.0 a..b\n0.0.0.0 ads.example", "ads.example -1"},
		{"hosts wildcard is none", "0.0.0.0 *.ads.example b.example", "b.example -1"},

		{"adblock", "[Adblock Plus 2.0]\n! Title: x\n||ads.example^\n||b.example\n||c.example^|\n||*.d.example^", "ads.example b.example c.example d.example"},
		{"adblock options", "||a.example^$third-party\n||b.example^$important,all\n||c.example^$doc\n||d.example^$script\n||e.example^$domain=x.example", "a.example b.example c.example -2"},
		{"adblock exceptions", "@@||a.example^\n@@||b.example^$important\n@@||c.example^$document\n@@|https://d.example^\n@@/x/", "@a.example @b.example -3"},
		{"adblock remark", "||ads.example^ # why", "ads.example"},
		{"adblock top level", "||zip^", "zip"},
		{"adblock own name", "||localhost^\n||ads.example^", "ads.example -1"},
		{"adblock paths and ports", "||a.example/ads\n||a.example:80^\n||a*.example^\n||192.0.2.1^\n||[2001:db8::1]^\n||a.example^b\n||ads.example^", "ads.example -6"},
		{"cosmetic", "##.ad\nx.example##.ad > b\nx.example,y.example#@#.ad\nx.example#?#a b\n~x.example#$#c\nads.example", "ads.example -4"},
		{"patterns", "/ads/*\n/^ad[0-9]+ x/\n|https://x.example/\n://ads.\n-ad-*.gif\n&adurl=\nhttps://x.example/a.js\nads.example", "ads.example -7"},
		{"for browsers", "[Adblock Plus]\n*$csp=worker-src 'none',domain=x.example\n-adbanner-\nads.example", "ads.example -2"},
		{"all at once", "0.0.0.0 a.example\nb.example\n||c.example^\n@@||d.example^", "a.example b.example c.example @d.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := read(tc.text)
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestBroken(t *testing.T) {
	good := "ads.example\n"
	for _, tc := range []struct{ name, text, want string }{
		{"HTML", "<!DOCTYPE html>\n<html>", `list:1: "<!DOCTYPE html>" is no line of`},
		{"HTML in a word", good + "</html>\n", `list:2: "</html>" is no line`},
		{"prose", good + "\n404: Not Found\n", `list:3: "404: Not Found" is no line`},
		{"a word", good + "Forbidden\n", `list:2: "Forbidden" is no line of a hosts file, a list of names or an adblock list: no dot in it`},
		{"JSON", "{\"error\":\"x.y\"}\n", "list:1: "},
		{"binary", "\x7fELF\x00\x01", "list:1: not text"},
		{"UTF-16", "\xff\xfea\x00.\x00", "list:1: not text"},
		{"latin-1", good + "b\xfccher.example", "list:2: not text"},
		{"old Mac", "a.example\rb.example", "list:1: not text"},
		{"two names", good + "a.example b.example", "list:2: "},
		{"address list of dnsmasq with spaces", good + "server = /a.example/", "list:2: "},
		{"long line", good + "# " + strings.Repeat("x", maxLine), "list:2: a line longer than"},
		{"long text is clipped", strings.Repeat("y ", 500), "yy\" is no line"},
		{"empty", "", "list: no name in it"},
		{"remarks only", "# nothing\n! here\n", "list: no name in it"},
		{"nothing to take", "192.0.2.1\n/ads/\n##.ad\n", "list: no name in it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := strings.Replace(tc.want, "yy", strings.Repeat("y ", 30)+"...", 1)
			_, err := read(tc.text)
			var at *Error
			if !errors.As(err, &at) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an *Error with %q", err, want)
			}
		})
	}
}

// TestBuilderKeeps: a list that is broken leaves those before it as they were.
func TestBuilderKeeps(t *testing.T) {
	var b Builder
	if err := b.read(strings.NewReader("a.example\n"), Source{File: "good"}); err != nil {
		t.Fatal(err)
	}
	if err := b.read(strings.NewReader("b.example\n<html>\n"), Source{File: "bad"}); err == nil {
		t.Fatal("no error")
	}
	m := b.Build()
	if m.header.names != 1 || len(m.sources) != 1 {
		t.Errorf("got %d names of %d lists, want 1 of 1", m.header.names, len(m.sources))
	}
}

func TestAdd(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "no such file or directory"},
		{dir, "not a regular file"},
		{os.DevNull, "not a regular file"},
	} {
		var b Builder
		if err := b.Add(tc.path); err == nil || err.Error() != tc.path+": "+tc.want {
			t.Errorf("got %v, want %s: %s", err, tc.path, tc.want)
		}
	}
	var b Builder
	for i := range MaxSources {
		if err := b.read(strings.NewReader("a.example"), Source{}); err != nil {
			t.Fatalf("list %d: %v", i, err)
		}
	}
	if err := b.read(strings.NewReader("a.example"), Source{}); err == nil {
		t.Errorf("more than %d lists are taken", MaxSources)
	}
}

func TestParseName(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"Example.ORG.", "example.org"},
		{"localhost", "localhost"},
		{"", ""}, {".", ""}, {"a..b", ""}, {"192.0.2.1", ""}, {"a b.example", ""}, {"a/b", ""},
	} {
		got, err := ParseName(tc.in)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("ParseName(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"0.0.0.0 ads.example\n", "||ads.example^$third-party\n@@||x.example^\n", "bücher.example\r\n", "\ufeff# x\n*.a.b\n",
		"[Adblock Plus 2.0]\nx##y\n-ad-", "<html>", "\x00", "192.0.2.0/24\na..b\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b Builder
		err := b.read(strings.NewReader(text), Source{File: "list"})
		if err != nil {
			if len(b.blob) != 0 || b.count != 0 || len(b.sources) != 0 {
				t.Fatalf("after %v it holds %q", err, b.blob)
			}
			return
		}
		// What was taken is a name, and one that is found again.
		var names []string
		excepted := make(map[string]bool)
		for rest := b.blob; len(rest) > 0; {
			name := string(rest[recordHead : recordHead+int(rest[0])])
			if back, err := ParseName(name); err != nil || back != name {
				t.Fatalf("%q was taken, and is %q, %v", name, back, err)
			}
			names = append(names, name)
			excepted[name] = excepted[name] || rest[1]&exceptionBit != 0
			rest = rest[recordHead+int(rest[0]):]
		}
		l := compiled(t, b.Build())
		for _, name := range names {
			if entry, source, blocked := l.Lookup(name); entry == "" || source != "list" || blocked && excepted[name] {
				t.Fatalf("%q: got %q, %q, %v", name, entry, source, blocked)
			}
		}
	})
}

package notifier

import (
	"strings"
	"testing"
)

func TestBackground(t *testing.T) {
	cases := []struct {
		name  string
		about About
		chain []string
		want  string
	}{
		{"nothing", About{}, []string{"curl"}, ""},
		{"package", About{Package: "curl", Origin: FromPackage}, nil, "package curl"},
		{"home", About{Origin: FromHome}, nil, "no package, in your home directory"},
		{"no package", About{Origin: FromNone}, []string{"x"}, "no package"},
		{"replaced", About{Origin: Replaced}, nil, "not the file that has this name now"},
		{"unknown origin", About{Origin: "moon"}, nil, ""},
		{"chain", About{}, []string{"npm", "node", "sh", "curl"}, "npm > node > sh > curl"},
		{"both", About{Package: "curl", Origin: FromPackage}, []string{"sh", "curl"}, "package curl · sh > curl"},
		{"one that looks like two", About{}, []string{"sh > curl", "evil"}, "sh \ufffd curl > evil"},
		{"hostile", About{Package: "a\x1b[2J", Origin: FromPackage}, []string{"a\u202eb\n", "c"}, "package a\ufffd[2J · a\ufffdb  > c"},
		{"long", About{}, append(make([]string, 100), strings.Repeat("x", 100)), " >  >  >  >  >  >  > "},
	}
	for _, c := range cases {
		q := Question{App: "app", About: c.about, Chain: c.chain}
		if got := q.Background(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestTitle(t *testing.T) {
	cases := []struct{ app, title, want string }{
		{"firefox-esr", "Firefox ESR", "firefox-esr (Firefox ESR) wants to connect to 192.0.2.7 port 443 (https, tcp)"},
		{"chromium", "Chromium", "chromium wants to connect to 192.0.2.7 port 443 (https, tcp)"},
		{"x", "", "x wants to connect to 192.0.2.7 port 443 (https, tcp)"},
		{"x", "\x1b]0;\u202e", "x (\ufffd]0;\ufffd) wants to connect to 192.0.2.7 port 443 (https, tcp)"},
	}
	for _, c := range cases {
		q := question(t, c.app, https)
		q.Title = c.title
		if got := q.Headline(); got != c.want {
			t.Errorf("%s, %q:\n got %q\nwant %q", c.app, c.title, got, c.want)
		}
	}
}

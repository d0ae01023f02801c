package notifier

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
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

// TestChanged shows the day of the person's own clock.
func TestChanged(t *testing.T) {
	zone := time.Local
	defer func() { time.Local = zone }()
	last := time.Date(2026, 11, 3, 23, 30, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		hours int
		want  string
	}{
		"London": {0, "changed since you last allowed it on 2026-11-03"},
		"Paris":  {1, "changed since you last allowed it on 2026-11-04"},
	} {
		time.Local = time.FixedZone(name, c.hours*3600)
		q := Question{App: "app", About: About{Changed: last}}
		if got := q.Background(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
		q.Package, q.Origin, q.Chain = "curl", FromPackage, []string{"sh", "curl"}
		if got, want := q.Background(), c.want+" · package curl · sh > curl"; got != want {
			t.Errorf("%s, first of all:\n got %q\nwant %q", name, got, want)
		}
	}
}

// TestAboutJSON: a question crosses sockets, and says nothing of a change if
// there is none.
func TestAboutJSON(t *testing.T) {
	last := time.Date(2026, 11, 3, 23, 30, 0, 0, time.UTC)
	for want, about := range map[string]About{
		`{}`:                                 {},
		`{"changed":"2026-11-03T23:30:00Z"}`: {Changed: last},
		`{"package":"curl","origin":"package","changed":"2026-11-03T23:30:00Z"}`: {Package: "curl", Origin: FromPackage, Changed: last},
	} {
		data, err := json.Marshal(about)
		if err != nil || string(data) != want {
			t.Errorf("got %s, %v, want %s", data, err, want)
		}
		var got About
		if err := json.Unmarshal(data, &got); err != nil || got != about {
			t.Errorf("back: got %+v, %v, want %+v", got, err, about)
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

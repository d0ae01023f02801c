package desktop

import (
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
)

func TestBuild(t *testing.T) {
	now := time.Now()
	q := question(t)
	q.Deadline = now.Add(time.Minute)

	n := build(q, parseAbilities(everything, ""), menu{}, "", now)
	if got, want := n.summary, "curl wants to connect to 192.0.2.7 port 443 (https, tcp)"; got != want {
		t.Errorf("summary: got %q, want %q", got, want)
	}
	if !strings.Contains(n.body, "curl &lt;b&gt;&amp;amp;&lt;/b&gt;") || strings.Contains(n.body, "<") {
		t.Errorf("body with markup is not escaped:\n%s", n.body)
	}
	for _, want := range []string{"internet", "/usr/bin/curl (pid 1234)", "no rule written", "netjail rules add curl allow tcp://192.0.2.7:443"} {
		if !strings.Contains(n.body, want) {
			t.Errorf("body lacks %q:\n%s", want, n.body)
		}
	}
	if got, want := labels(n.buttons), "Allow always, Allow once, Deny, More…"; got != want {
		t.Errorf("buttons: got %s, want %s", got, want)
	}
	if n.timeout != 0 {
		t.Errorf("timeout with persistence: got %d, want 0", n.timeout)
	}
	if got := n.hints["urgency"].Value(); got != urgencyCritical {
		t.Errorf("urgency: got %v, want %v", got, urgencyCritical)
	}

	if n.icon != noIcon {
		t.Errorf("icon of an app without one: got %q, want %q", n.icon, noIcon)
	}

	q.Title, q.Icon, q.Chain = "<i>cURL", "web-browser", []string{"sh", "curl"}
	q.Origin = notifier.FromHome
	n = build(q, parseAbilities([]string{"body", "icon-multi"}, ""), menu{}, "", now)
	if got, want := n.icon, "web-browser"; got != want {
		t.Errorf("icon: got %q, want %q", got, want)
	}
	if _, ok := n.hints["desktop-entry"]; ok {
		t.Error("the notification says that it is the app's own")
	}
	if want := "curl (‹i›cURL) wants"; !strings.HasPrefix(n.summary, want) {
		t.Errorf("summary: got %q, want %q", n.summary, want)
	}
	if want := "\nno package, in your home directory · sh › curl\n"; !strings.Contains(n.body, want) {
		t.Errorf("body lacks %q:\n%s", want, n.body)
	}
	if strings.ContainsAny(n.body, "<>&") || !strings.Contains(n.body, "curl ‹b›＆amp;‹/b›") {
		t.Errorf("body without markup:\n%s", n.body)
	}
	if len(n.buttons) != 0 || !strings.HasSuffix(n.body, "\nanswer with: netjail answer 0123abcd allow") {
		t.Errorf("without buttons: got %q and the body\n%s", labels(n.buttons), n.body)
	}
	if n.timeout != 60000 {
		t.Errorf("timeout: got %d, want 60000", n.timeout)
	}
}

// TestAbilities: a server gets what it says it can show, and no more.
func TestAbilities(t *testing.T) {
	q := question(t)
	q.Icon = "web-browser"
	for _, c := range []struct {
		name, server string
		caps         []string
		buttons      string
		icon         string
		resident     bool
		reply        bool
		summary      string // its end
	}{
		{"nothing", "", nil, "", "", false, false, " · answer with: netjail answer 0123abcd allow"},
		{"body", "", []string{"body"}, "", "", false, false, "tcp)"},
		{"a line to type in but no buttons", "", []string{"body", "inline-reply"}, "", "", false, false, "tcp)"},
		{"icons", "", []string{"body", "icon-static"}, "", "web-browser", false, false, "tcp)"},
		{"everything", "Plasma", everything, "Allow always, Allow once, Deny, More…", "web-browser", false, true, "tcp)"},
		{"GNOME", "gnome-shell", buttonsAndMarkup, "Allow always, Deny, More…", "", true, false, "tcp)"},
		{"GNOME's old one", "Notification Daemon", buttonsAndMarkup, "Allow always, Allow once, Deny, More…", "", false, false, "tcp)"},
	} {
		n := build(q, parseAbilities(c.caps, c.server), menu{}, "", time.Now())
		_, reply := n.hints["x-kde-reply-placeholder-text"]
		if labels(n.buttons) != c.buttons || n.icon != c.icon || n.hints["resident"].Value() != c.resident || reply != c.reply {
			t.Errorf("%s: got %q, icon %q, hints %v, want %+v", c.name, labels(n.buttons), n.icon, n.hints, c)
		}
		if !strings.HasSuffix(n.summary, c.summary) {
			t.Errorf("%s: got the summary %q, want %q in the end", c.name, n.summary, c.summary)
		}
	}
}

func TestRandomKey(t *testing.T) {
	if a, b := randomKey(), randomKey(); a == b || len(a) < 26 {
		t.Errorf("keys %q, %q: want two different ones of 128 bits", a, b)
	}
}

func TestUnixName(t *testing.T) {
	cases := map[string]string{
		"unix:path=/run/user/0/bus":          "/run/user/0/bus",
		"unix:abstract=/tmp/dbus-x,guid=012": "@/tmp/dbus-x",
		"unix:guid=1,path=/a%20b":            "/a b",
		"unix:tmpdir=/tmp":                   "",
		"unix:path=":                         "",
		"tcp:path=/x":                        "",
		"":                                   "",
	}
	for in, want := range cases {
		if got := unixName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

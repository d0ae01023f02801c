package desktop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
)

func TestBuild(t *testing.T) {
	now := time.Now()
	q := question(t)
	q.Deadline = now.Add(time.Minute)
	keys := 0
	key := func() string { keys++; return fmt.Sprint("k", keys) }

	n := build(q, parseCapabilities(buttonsAndMarkup), now, key)
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
	if got, want := fmt.Sprint(n.actions), "[k1 Allow always k2 Allow once k3 Deny]"; got != want || len(n.answers) != 3 {
		t.Errorf("actions: got %s and %d answers, want %s", got, len(n.answers), want)
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
	n = build(q, parseCapabilities([]string{"body"}), now, key)
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
	if n.actions != nil || len(n.answers) != 0 {
		t.Errorf("actions without buttons: got %q", n.actions)
	}
	if n.timeout != 60000 {
		t.Errorf("timeout: got %d, want 60000", n.timeout)
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

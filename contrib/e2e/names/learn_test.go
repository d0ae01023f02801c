package names

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// allowed finds what a learned file allows.
var allowed = regexp.MustCompile(`(?m)^allow = "(.*)"(?:\nlocal = (true))?$`)

// learn learns from a command in a run that must come to the same as without
// netjail, and returns the file with what it allows.
func (x *trial) learn(t *testing.T, bare outcome, args ...string) (file string, dests []string) {
	t.Helper()
	file = filepath.Join(x.h.Dir, "learned.toml")
	os.Remove(file)
	got := x.observe(t, x.h.Command(slices.Concat([]string{"learn", "-o", file, "--"}, args)...))
	same(t, got, bare)
	if strings.Contains(got.Stderr, "netjail: denied") {
		t.Errorf("stderr:\n%s", got.Stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range allowed.FindAllStringSubmatch(string(text), -1) {
		if m[2] != "" {
			m[1] += " local"
		}
		dests = append(dests, m[1])
	}
	return file, dests
}

// TestLearn learns from a run, and makes it again under what was learned: it
// comes to the same, and something else is refused.
func TestLearn(t *testing.T) {
	e2etest.Need(t, "curl")
	e2etest.Need(t, "dig")
	const other = "www.search.org"
	for _, tt := range []struct {
		name   string
		args   []string
		config string // of the resolver
		want   []string
	}{
		{name: "names", args: visits("a.example.org", "b.example.org"), want: []string{"tcp://a.example.org:80", "tcp://b.example.org:80"}},
		{name: "a domain", args: visits("a.example.org", "one.example.org", "b.example.org"), want: []string{"tcp://.example.org:80"}},
		{name: "names of one address", args: visits("one.example.org", "two.example.org"), want: []string{"tcp://one.example.org:80", "tcp://two.example.org:80"}},
		{name: "an alias", args: visits("alias.example.org"), want: []string{"tcp://alias.example.org:80"}},
		{name: "IPv6", args: visits("six.example.org"), want: []string{"tcp://six.example.org:80"}},
		{name: "an address", args: visits("198.51.100.1"), want: []string{"tcp://198.51.100.1:80"}},
		{name: "an address that has a name later", args: visits("198.51.100.1", "a.example.org"), want: []string{"tcp://a.example.org:80", "tcp://198.51.100.1:80"}},
		{name: "a public name of the LAN", args: visits("inside.example.org"), want: []string{"tcp://inside.example.org:80 local"}},
		{name: "a public name of this machine", args: visits("home.example.org"), want: []string{"tcp://home.example.org:80 local", "tcp://127.0.0.1:80"}},
		{name: "a search list", args: visits("www"), config: "search example.com search.org\n", want: []string{"tcp://www.search.org:80"}},
		{name: "a lookup", args: []string{"dig", "+short", "_sip._tcp.example.org", "SRV"}, want: []string{"udp://_sip._tcp.example.org:53"}},
		{name: "a lookup, and its host", args: []string{"sh", "-c", "dig +short _sip._tcp.example.org SRV; curl -s http://a.example.org/"},
			want: []string{"udp://_sip._tcp.example.org:53", "tcp://a.example.org:80"}},
		{name: "musl", args: []string{muslClient(t), "fetch", "a.example.org", "80"}, want: []string{"tcp://a.example.org:80"}},
		{name: "Go", args: []string{goClient(t), "fetch", "a.example.org", "80"}, want: []string{"tcp://a.example.org:80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, "/etc/resolv.conf", resolvConf+tt.config)
			x := newTrial(t)
			bare := x.bare(t, tt.args...)
			bare.succeeded(t)
			file, got := x.learn(t, bare, tt.args...)
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(tt.want)); !slices.Equal(got, want) {
				t.Errorf("learned %q, want %q", got, want)
			}
			again := x.jailed(t, []string{"--rules", file}, tt.args...)
			if again.Stdout != bare.Stdout || again.Code != 0 || !slices.Equal(again.arrived, bare.arrived) {
				t.Errorf("again: code %d, arrived at %q, stdout:\n%s\nstderr:\n%s", again.Code, again.arrived, again.Stdout, again.Stderr)
			}
			if tt.config == "" {
				same(t, again, bare)
				again.hinted(t, tt.args[0])
			}
			refused := x.jailed(t, []string{"--rules", file, "--deny", "tcp://" + other + ":80"}, visits(other)...)
			refused.printed(t, lines(other+" failed"))
			refused.onlyArrived(t)
		})
	}
	t.Run("another host", func(t *testing.T) {
		x := newTrial(t)
		file, _ := x.learn(t, x.bare(t, visits("a.example.org")...), visits("a.example.org")...)
		got := x.jailed(t, []string{"--rules", file}, visits("a.example.org", "b.example.org", other)...)
		got.printed(t, lines("hello", "b.example.org failed", other+" failed"))
		got.onlyAsked(t, "a.example.org")
		got.hinted(t, "sh", "look up b.example.org", "look up "+other)
	})
}

package ruling

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/blocklist"
)

var now = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

// listed returns blocklists of these lines.
func listed(t *testing.T, lines string) *blocklist.List {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "ads")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	var b blocklist.Builder
	if err := b.Add(file); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "db")
	if err := b.Build().Save(db); err != nil {
		t.Fatal(err)
	}
	l, err := blocklist.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func force(t *testing.T, list *blocklist.List, texts ...string) *Force {
	t.Helper()
	var all []rules.Rule
	for _, text := range texts {
		verdict, dest, _ := strings.Cut(text, " ")
		v, err := rules.ParseVerdict(verdict)
		if err != nil {
			t.Fatal(err)
		}
		d, err := rules.ParseDestination(dest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rules.Rule{App: "app", Verdict: v, Dest: d})
	}
	return &Force{Set: rules.NewSet(all), List: list}
}

func request(op rules.Op, proto rules.Proto, addr string, names ...string) *rules.Request {
	return &rules.Request{App: "app", Op: op, Proto: proto, Addr: netip.MustParseAddrPort(addr), Names: names}
}

func TestDecide(t *testing.T) {
	list := listed(t, "ads.example\n")
	server, kept := Place{Server: true}, Place{Reserved: func(by *rules.Rule) bool { return by == nil }}
	for _, tc := range []struct {
		f     *Force
		r     *rules.Request
		at    Place
		want  rules.Verdict
		cause Cause
	}{
		{force(t, nil), request(rules.Connect, rules.TCP, "192.0.2.7:443", "ads.example"), Place{}, rules.Ask, ByRules},
		{force(t, list), request(rules.Connect, rules.TCP, "192.0.2.7:443", "x.ads.example"), Place{}, rules.Deny, ByBlocklist},
		{force(t, list, "allow @any"), request(rules.Connect, rules.TCP, "192.0.2.7:443", "ads.example"), Place{}, rules.Deny, ByBlocklist},
		{force(t, list, "allow @internet"), request(rules.Connect, rules.TCP, "192.0.2.7:443", "ads.example"), Place{}, rules.Deny, ByBlocklist},
		{force(t, list, "allow ads.example"), request(rules.Connect, rules.TCP, "192.0.2.7:443", "ads.example"), Place{}, rules.Allow, ByRules},
		{force(t, list, "deny @any"), request(rules.Connect, rules.TCP, "192.0.2.7:443", "ads.example"), Place{}, rules.Deny, ByRules},
		{force(t, nil), request(rules.Send, rules.UDP, "192.0.2.1:53"), server, rules.Allow, ByResolver},
		{force(t, nil, "deny @any"), request(rules.Send, rules.UDP, "192.0.2.1:53"), server, rules.Deny, ByRules},
		{force(t, nil), request(rules.Send, rules.UDP, "192.0.2.1:53"), Place{}, rules.Ask, ByRules},
		{force(t, nil), request(rules.Listen, rules.UDP, "0.0.0.0:40000"), Place{}, rules.Allow, ByReceiver},
		{force(t, nil), request(rules.Listen, rules.UDP, "0.0.0.0:40"), Place{}, rules.Ask, ByRules},
		{force(t, nil, "ask listen://"), request(rules.Listen, rules.UDP, "0.0.0.0:40000"), Place{}, rules.Ask, ByRules},
		{force(t, nil), request(rules.Connect, rules.UDP, "192.0.2.7:0"), Place{}, rules.Deny, ByPort},
		{force(t, nil), request(rules.Connect, rules.ICMP, "192.0.2.7:0"), Place{}, rules.Ask, ByRules},
		{force(t, nil), request(rules.Connect, rules.TCP, "169.254.169.254:80"), Place{}, rules.Deny, ByRules},
		{force(t, nil), &rules.Request{App: "app", Unix: "/run/docker.sock"}, kept, rules.Deny, ByReserve},
		{force(t, nil), &rules.Request{App: "app", Unix: "/run/x"}, Place{}, rules.Allow, ByRules},
		{force(t, nil, "allow unix:/run/x"), &rules.Request{App: "app", Unix: "/run/x"}, kept, rules.Allow, ByRules},
		{&Force{}, request(rules.Connect, rules.TCP, "192.0.2.7:443"), Place{}, rules.Deny, ByRules},
	} {
		d := tc.f.Decide(tc.r, tc.at, now)
		if d.Verdict != tc.want || d.Cause != tc.cause || d.Why == "" {
			t.Errorf("%+v: got %v %q by %d, want %v by %d", tc.r, d.Verdict, d.Why, d.Cause, tc.want, tc.cause)
		}
		if x := tc.f.Explain(tc.r, tc.at, now); x.Ruling != d {
			t.Errorf("%+v: explained %+v, decided %+v", tc.r, x.Ruling, d)
		}
	}
}

// TestExplainAgainstDecide: what is explained is what is decided, of thousands
// of sets.
func TestExplainAgainstDecide(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	list := listed(t, "a.org\n@@||x.a.org^\n")
	dests := []string{"a.org", "*.a.org", ".a.org:443", "@any", "@any:443", "tcp://@internet", "192.0.2.7", "192.0.2.0/24",
		"@lan", "10.0.0.0/8:53", "@localhost", "unix:/x", "listen://", "listen://127.0.0.1:8080", "169.254.169.254"}
	addrs := []string{"192.0.2.7:443", "10.0.0.1:53", "127.0.0.1:8080", "169.254.169.254:80", "0.0.0.0:9000", "198.51.100.1:0", "[2001:db8::1]:443"}
	blocked := 0
	for range 4000 {
		var texts []string
		for range r.IntN(8) {
			texts = append(texts, []string{"allow ", "deny ", "ask "}[r.IntN(3)]+dests[r.IntN(len(dests))])
		}
		f := force(t, []*blocklist.List{nil, list}[r.IntN(2)], texts...)
		for range 10 {
			q := request(rules.Op(r.IntN(3)), rules.Proto(1+r.IntN(3)), addrs[r.IntN(len(addrs))])
			if q.Op != rules.Listen {
				q.Names = [][]string{nil, {"a.org"}, {"x.a.org"}, {"x.a.org", "y.a.org"}}[r.IntN(4)]
			}
			if r.IntN(8) == 0 {
				q = &rules.Request{App: "app", Unix: "/x"}
			}
			reserved := r.IntN(2) == 0
			at := Place{Server: r.IntN(2) == 0, Reserved: func(by *rules.Rule) bool { return reserved && by == nil }}
			d, x := f.Decide(q, at, now), f.Explain(q, at, now)
			if x.Ruling != d {
				t.Fatalf("%v, %+v: explained %+v, decided %+v", texts, q, x.Ruling, d)
			}
			if slices.ContainsFunc(x.Lost, func(l rules.Lost) bool { return l.Reason == rules.Blocked }) {
				blocked++
			}
			if slices.ContainsFunc(x.Lost, func(l rules.Lost) bool { return l.Rule == d.Rule }) {
				t.Fatalf("%v, %+v: the rule that decided lost", texts, q)
			}
		}
	}
	if blocked == 0 {
		t.Error("no rule lost to a blocklist: the test is too thin")
	}
}

func TestSockets(t *testing.T) {
	var s Sockets
	dir := t.TempDir()
	for _, name := range []string{"daemon", "denied", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	s.Look([]string{path("denied")}, path("daemon"))
	if err := os.Rename(path("denied"), path("renamed")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"daemon": true, "renamed": true, "other": false} {
		f, ok := FileAt(path(name))
		if got := s.Reserved(f, []string{path("denied")}, nil); !ok || got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if f, _ := FileAt(path("renamed")); s.Reserved(f, nil, nil) {
		t.Error("a socket that no rule denies any more is kept")
	}
	if _, ok := FileAt(path("nothing")); ok {
		t.Error("there is a file where there is none")
	}
}

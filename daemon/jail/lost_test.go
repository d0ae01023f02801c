package jail

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/flows"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/blocklist"
)

// some are rules for curl: "VERDICT DESTINATION", with "off", "expired" or "for 1h" behind.
func some(t testing.TB, texts ...string) (list []rules.Rule) {
	t.Helper()
	for _, text := range texts {
		fields := strings.Fields(text)
		r := rules.Rule{App: "curl", Verdict: map[string]rules.Verdict{"allow": rules.Allow, "deny": rules.Deny, "ask": rules.Ask}[fields[0]]}
		var err error
		if r.Dest, err = rules.ParseDestination(fields[1]); err != nil {
			t.Fatal(err)
		}
		switch strings.Join(fields[2:], " ") {
		case "off":
			r.Disabled = true
		case "expired":
			r.Expires = time.Now().Add(-time.Minute)
		case "for 1h":
			r.Expires = time.Now().Add(time.Hour)
		}
		list = append(list, r)
	}
	return list
}

func forceOf(list []rules.Rule) *force {
	f := &force{Force: ruling.Force{Set: rules.NewSet(list)}, rules: list, all: list}
	f.done = func() { f.calls.Add(-1) }
	return f
}

// TestLost has rules before and now, and the names of an address.
func TestLost(t *testing.T) {
	const removed, changed = "the rule that allowed it was removed", "the rule that allowed it was changed"
	tests := []struct {
		name     string
		was, now []string // rules
		names    []string // of 192.0.2.1
		want     string   // destination: why; "": it stays
	}{
		{name: "nothing was decided", now: []string{"allow 192.0.2.2"}},
		{name: "as it was", was: []string{"allow 192.0.2.1"}, now: []string{"allow 192.0.2.1"}},
		{name: "removed", was: []string{"allow 192.0.2.1"}, want: "tcp://192.0.2.1:443: " + removed},
		{name: "another removed", was: []string{"allow 192.0.2.1", "allow 192.0.2.2"}, now: []string{"allow 192.0.2.1"}},
		{name: "a wider one is left", was: []string{"allow 192.0.2.1", "allow @internet"}, now: []string{"allow @internet"}},
		{name: "disabled", was: []string{"allow 192.0.2.1"}, now: []string{"allow 192.0.2.1 off"}, want: "tcp://192.0.2.1:443: " + changed},
		{name: "another port is left", was: []string{"allow 192.0.2.1:80,443"}, now: []string{"allow 192.0.2.1:80"}, want: "tcp://192.0.2.1:443: " + removed},
		{name: "denied, was asked", now: []string{"deny 192.0.2.1"}, want: "tcp://192.0.2.1:443: denied by a rule"},
		{name: "denied, was allowed", was: []string{"allow @internet"}, now: []string{"allow @internet", "deny 192.0.2.1"}, want: "tcp://192.0.2.1:443: denied by a rule"},
		{name: "denied, but for this", now: []string{"deny @internet", "allow 192.0.2.1"}},
		{name: "denied as before", was: []string{"deny @internet"}, now: []string{"deny 192.0.2.1"}},
		{name: "to be asked about", was: []string{"allow @any"}, now: []string{"allow @any", "ask 192.0.2.1"}, want: "tcp://192.0.2.1:443: to be asked about, by a rule"},
		{name: "expired and gone", was: []string{"allow 192.0.2.1 expired"}},
		{name: "expired, and a denial below", was: []string{"allow 192.0.2.1 expired", "deny @internet"}, now: []string{"deny @internet"}},
		{name: "removed in its time", was: []string{"allow 192.0.2.1 for 1h"}, want: "tcp://192.0.2.1:443: " + removed},
		{name: "by name", was: []string{"allow a.example.com"}, names: []string{"a.example.com"}, want: "tcp://a.example.com:443: " + removed},
		{name: "by name, and it stays", was: []string{"allow a.example.com", "allow b.example.com"}, now: []string{"allow a.example.com"}, names: []string{"a.example.com"}},
		{name: "another name was never decided about", was: []string{"allow a.example.com"}, names: []string{"b.example.com", "a.example.com"}, want: "tcp://a.example.com:443: " + removed},
		{name: "allowed once by one name, by a rule by another", was: []string{"allow a.example.com"}, now: []string{"allow a.example.com"}, names: []string{"b.example.com", "a.example.com"}},
		{name: "one name is denied", was: []string{"allow a.example.com"}, now: []string{"allow a.example.com", "deny .b.example"}, names: []string{"a.example.com", "x.b.example"}, want: "tcp://x.b.example:443: denied by a rule"},
		{name: "a name in a blocklist", now: []string{"allow @any", "list"}, was: []string{"allow @any"}, names: []string{"ads.example.net"}, want: "tcp://ads.example.net:443: ads.example.net is in the blocklist "},
		{name: "a name in a blocklist, named by a rule", now: []string{"allow ads.example.net", "list"}, was: []string{"allow ads.example.net"}, names: []string{"ads.example.net"}},
		{name: "metadata", was: []string{"allow 192.0.2.1", "allow 169.254.169.254"}, now: []string{"allow 192.0.2.1"}},
	}
	list := openList(t, "ads.example.net")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old, now := forceOf(some(t, tt.was...)), (*force)(nil)
			if n := len(tt.now); n > 0 && tt.now[n-1] == "list" {
				now = forceOf(some(t, tt.now[:n-1]...))
				now.List, now.path = list, "list"
			} else {
				now = forceOf(some(t, tt.now...))
			}
			r := rules.Request{App: "curl", Proto: rules.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:443"), Names: tt.names}
			l, ok := now.lost([]*force{old}, &r, ruling.Place{}, time.Now(), false)
			got := ""
			if ok {
				got = l.dest.String() + ": " + l.why
			}
			if got != tt.want && !(strings.HasSuffix(tt.want, " ") && strings.HasPrefix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if ok && !old.narrows(now, time.Now()) {
				t.Error("lost, and the rules are said to refuse no more than before")
			}
		})
	}
	t.Run("between", func(t *testing.T) { // a rule that came and went
		none, between := forceOf(nil), forceOf(some(t, "allow 192.0.2.1"))
		r := rules.Request{App: "curl", Proto: rules.TCP, Addr: netip.MustParseAddrPort("192.0.2.1:443")}
		if _, ok := none.lost([]*force{forceOf(nil), between}, &r, ruling.Place{}, time.Now(), false); !ok {
			t.Error("it stays")
		}
	})
}

func openList(t *testing.T, names ...string) *blocklist.List {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/ads.txt", []byte(strings.Join(names, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b blocklist.Builder
	if err := b.Add(dir + "/ads.txt"); err != nil {
		t.Fatal(err)
	}
	if err := b.Build().Save(dir + "/list"); err != nil {
		t.Fatal(err)
	}
	list, err := blocklist.Open(dir + "/list")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestNarrows(t *testing.T) {
	tests := []struct {
		name     string
		was, now []string
		want     bool
	}{
		{"nothing", nil, nil, false},
		{"one more is allowed", []string{"allow a.example"}, []string{"allow b.example", "allow a.example"}, false},
		{"a denial is gone", []string{"deny a.example"}, nil, false},
		{"one less is allowed", []string{"allow a.example", "allow b.example"}, []string{"allow b.example"}, true},
		{"disabled", []string{"allow a.example"}, []string{"allow a.example off"}, true},
		{"one that was disabled is gone", []string{"allow a.example off"}, nil, false},
		{"expired", []string{"allow a.example expired"}, nil, false},
		{"denied", nil, []string{"deny a.example"}, true},
		{"asked about", nil, []string{"ask a.example"}, true},
	}
	for _, tt := range tests {
		if got := forceOf(some(t, tt.was...)).narrows(forceOf(some(t, tt.now...)), time.Now()); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
	listed := forceOf(nil)
	listed.path = "list"
	if !forceOf(nil).narrows(listed, time.Now()) || listed.narrows(forceOf(nil), time.Now()) {
		t.Error("a blocklist that comes narrows, and one that goes does not")
	}
}

// TestOpened makes requests of flows. Names count that have ceased to.
func TestOpened(t *testing.T) {
	p := newTestPolicy(t)
	now := time.Now()
	p.dns.known.Used = func(netip.Addr) bool { return true }
	p.dns.known.Take([]names.Lease{lease(netip.MustParseAddr("192.0.2.1"), "old.example.com", now.Add(-time.Minute))}, now)
	tests := []struct {
		name string
		flow flows.Flow
		want string // operation, protocol, address; "": none
		as   []string
	}{
		{"tcp", flows.Flow{Network: "tcp", State: flows.StateEstablished, Remote: netip.MustParseAddrPort("192.0.2.1:443")}, "connect tcp 192.0.2.1:443", []string{"old.example.com"}},
		{"udp", flows.Flow{Network: "udp", State: flows.StateEstablished, Remote: netip.MustParseAddrPort("192.0.2.2:443")}, "connect udp 192.0.2.2:443", nil},
		{"connecting", flows.Flow{Network: "tcp", State: flows.StateSynSent, Remote: netip.MustParseAddrPort("192.0.2.2:443")}, "connect tcp 192.0.2.2:443", nil},
		{"no port", flows.Flow{Network: "udp", State: flows.StateEstablished, Remote: netip.MustParseAddrPort("192.0.2.2:0")}, "", nil},
		{"listener", flows.Flow{Network: "tcp", State: flows.StateListen, Local: netip.MustParseAddrPort("[::]:80"), Remote: netip.MustParseAddrPort("[::]:0")}, "listen tcp [::]:80", nil},
		{"udp that receives", flows.Flow{Network: "udp", State: flows.StateUnconnected, Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0")}, "listen udp 0.0.0.0:80", nil},
	}
	for _, tt := range tests {
		r, ok := p.opened(&tt.flow, func(int) string { return "/bin/x" })
		got := ""
		if ok {
			got = r.Op.String() + " " + r.Proto.String() + " " + r.Addr.String()
		}
		if got != tt.want || ok && (r.App != "curl" || r.Exe != "/bin/x" || strings.Join(r.Names, " ") != strings.Join(tt.as, " ")) {
			t.Errorf("%s: got %q, names %q, app %s, executable %s", tt.name, got, r.Names, r.App, r.Exe)
		}
	}
	led, err := p.dns.resolver.AddrFor("udp", netip.MustParseAddr("192.0.2.53"))
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := p.opened(&flows.Flow{Network: "udp", State: flows.StateEstablished, Remote: led}, func(int) string { return "" }); ok {
		t.Errorf("led to the resolver: got %+v", r)
	}
}

// TestLostListener: what receives over UDP is lost only if a rule allowed it.
func TestLostListener(t *testing.T) {
	allow, deny, none := forceOf(some(t, "allow listen+udp://:5000")), forceOf(some(t, "deny listen+udp://")), forceOf(nil)
	r := rules.Request{App: "curl", Op: rules.Listen, Proto: rules.UDP, Addr: netip.MustParseAddrPort("0.0.0.0:5000")}
	for _, tt := range []struct {
		name     string
		was, now *force
		want     bool
	}{{"denied, asked for by nobody", none, deny, false}, {"denied, was allowed", allow, deny, true}, {"as it was", allow, allow, false}} {
		if _, got := tt.now.lost([]*force{tt.was}, &r, ruling.Place{}, time.Now(), true); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

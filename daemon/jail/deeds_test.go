package jail

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

// ear hears reports.
type ear struct {
	mu   sync.Mutex
	list []api.Report
}

func (e *ear) hear(r api.Report) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, r)
	return nil
}

func (e *ear) heard() []api.Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// newHeard returns a policy whose reports the test hears.
func newHeard(t *testing.T, allow ...string) (*policy, *ear) {
	p, e := newTestPolicy(t, allow...), new(ear)
	p.deeds.tell = e.hear
	return p, e
}

// lines are what reports say, in any order.
func lines(list []api.Report) (out []string) {
	for _, r := range list {
		for _, e := range r.Events {
			out = append(out, fmt.Sprintf("%s %s %s %d %s", e.What, e.Dest, e.Verdict, e.Count, e.Why))
		}
	}
	slices.Sort(out)
	return out
}

// TestDeeds counts what a rule allows, what is refused with a line and without
// one, and names that are not looked up.
func TestDeeds(t *testing.T) {
	p, ear := newHeard(t, "192.0.2.0/24:443", "udp://192.0.2.53:53")
	started := time.Now()
	for range 3 {
		for _, addr := range []string{"192.0.2.1:443", "192.0.2.2:443"} {
			if v := p.Check(call(t, addr)); v != interpose.Allow {
				t.Fatalf("%s: %v", addr, v)
			}
		}
		c := call(t, "198.51.100.1:443")
		v := p.Check(c)
		if v == interpose.Wait { // to be told of
			v = p.Decide(t.Context(), c)
		}
		if v != interpose.Deny {
			t.Fatalf("refused: %v", v)
		}
		p.reportLookup(t.Context(), rules.Destination{Host: rules.Host{Kind: rules.HostName, Name: "example.org"}}, grounds{why: "so"})
		p.reportLookup(t.Context(), rules.Destination{Host: rules.Host{Kind: rules.HostName, Name: "1.2.0.192.in-addr.arpa"}}, grounds{why: "so"})
	}
	// None of these is worth a line of the history.
	quiet := call(t, "198.51.100.1:0")
	local := &interpose.Call{TID: os.Getpid(), Op: interpose.Connect, Network: interpose.Unix, Path: "@abstract"}
	port := &interpose.Call{TID: os.Getpid(), Op: interpose.Listen, Network: interpose.UDP, Addr: netip.MustParseAddrPort("0.0.0.0:5000")}
	for _, c := range []*interpose.Call{quiet, local, port} {
		p.Check(c)
	}
	p.deeds.flush(true)
	want := []string{
		"connect tcp://192.0.2.1:443 allow 3 allowed by --allow 192.0.2.0/24:443",
		"connect tcp://192.0.2.2:443 allow 3 allowed by --allow 192.0.2.0/24:443",
		"connect tcp://198.51.100.1:443 deny 3 nobody has decided, and nobody is to be asked",
		"look up example.org deny 3 so",
	}
	if got := lines(ear.heard()); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ear.heard()[0].Events {
		if e.First.Before(started) || e.Time.Before(e.First) || e.Time.After(time.Now()) {
			t.Errorf("%v: from %v to %v", e.Dest, e.First, e.Time)
		}
		if e.What == "connect" && (e.Exe != exe || e.PID != os.Getpid() || e.Addr.String() != e.Dest.Host.String()) {
			t.Errorf("%v: %+v", e.Dest, e)
		}
	}
	p.deeds.flush(true)
	if list := ear.heard(); len(list) != 1 {
		t.Errorf("told again: %+v", list[1:])
	}
}

// TestDeedsNamed: what is allowed is told of by the name that was looked up.
func TestDeedsNamed(t *testing.T) {
	p, ear := newHeard(t, "a.example.com", "b.example.com")
	now := time.Now()
	for _, name := range []string{"a.example.com", "b.example.com"} {
		p.dns.known.Take([]names.Lease{{Addr: netip.MustParseAddr("192.0.2.1"), Name: name, Seen: now, Until: now.Add(time.Minute)}}, now)
	}
	if v := p.Check(call(t, "192.0.2.1:443")); v != interpose.Allow {
		t.Fatal(v)
	}
	p.deeds.flush(true)
	e := ear.heard()[0].Events[0]
	if e.Dest.Host.Kind != rules.HostName || !strings.HasSuffix(e.Dest.Host.Name, ".example.com") || len(e.Names) != 2 || e.Addr.String() != "192.0.2.1" {
		t.Errorf("got %+v", e)
	}
}

// TestDeedsGoOn: what goes on for long is told of less and less often, and
// nothing of it is lost. What is new is told at once.
func TestDeedsGoOn(t *testing.T) {
	p := newTestPolicy(t, "192.0.2.0/24:443")
	d := &p.deeds
	key := row{what: "connect", allow: true}
	start := time.Now()
	calls, told, events := 0, 0, 0
	for second := range 600 {
		now := start.Add(time.Duration(second) * time.Second)
		d.add(key, &tally{count: 2, first: now}, now)
		calls += 2
		for _, e := range d.due(now, false) {
			told += e.Count
			events++
		}
	}
	if events < 10 || events > 16 {
		t.Errorf("ten minutes make %d events, want about 14", events)
	}
	d.add(row{what: "send"}, &tally{count: 1, first: start}, start.Add(600*time.Second))
	if list := d.due(start.Add(600*time.Second), false); len(list) == 0 || !slices.ContainsFunc(list, func(e api.HistoryEvent) bool { return e.What == "send" }) {
		t.Errorf("new: %+v", list)
	}
	for _, e := range d.due(start.Add(601*time.Second), true) {
		told += e.Count
	}
	if told != calls {
		t.Errorf("told of %d calls, want %d", told, calls)
	}
	d.due(start.Add(time.Hour), false)
	if len(d.rows) != 0 {
		t.Errorf("%d rows are kept for ever", len(d.rows))
	}
}

// TestDeedsKept: what the daemon does not hear is told later.
func TestDeedsKept(t *testing.T) {
	p, ear := newHeard(t, "192.0.2.0/24:443")
	p.deeds.tell = func(api.Report) error { return errors.New("gone") }
	for range 2 {
		p.Check(call(t, "192.0.2.1:443"))
		p.deeds.flush(true)
	}
	p.deeds.tell = ear.hear
	p.deeds.flush(true)
	if got := lines(ear.heard()); len(got) != 1 || !strings.Contains(got[0], "allow 2 ") {
		t.Errorf("got %q", got)
	}
}

// TestDeedsBounded: there is an end to what is remembered, and what is beyond
// it is counted.
func TestDeedsBounded(t *testing.T) {
	p, ear := newHeard(t, "@any")
	const more = 7
	p.deeds.flushing.Lock() // however long it takes
	for i := range maxDeeds + more {
		if v := p.Check(call(t, fmt.Sprintf("192.0.%d.%d:443", i>>8, i&255))); v != interpose.Allow {
			t.Fatal(v)
		}
	}
	p.deeds.flushing.Unlock()
	p.deeds.flush(true)
	events, lost := 0, 0
	for _, r := range ear.heard() {
		events += len(r.Events)
		lost += r.Lost
	}
	if events != maxDeeds || lost != more {
		t.Errorf("%d events and %d lost, want %d and %d", events, lost, maxDeeds, more)
	}
	if n := len(ear.heard()); n < 2 {
		t.Errorf("%d reports: too long for one message", n)
	}
}

// TestDeedsByThemselves: they are told without anybody's doing, soon.
func TestDeedsByThemselves(t *testing.T) {
	p := newTestPolicy(t, "192.0.2.0/24:443")
	c := make(chan api.Report, 10)
	p.deeds.tell = func(r api.Report) error { c <- r; return nil }
	p.Check(call(t, "192.0.2.1:443"))
	select {
	case r := <-c:
		if len(r.Events) != 1 {
			t.Errorf("got %+v", r)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing is told")
	}
}

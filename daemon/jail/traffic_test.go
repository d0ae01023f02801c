package jail

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/flows"
	"github.com/netjail/netjail/daemon/names"
)

// lease is what a Map takes of one name.
func lease(addr netip.Addr, name string, until time.Time) names.Lease {
	return names.Lease{Addr: addr, Name: name, Seen: until.Add(-time.Minute), Until: until}
}

// TestUses looks at what is in use when it is asked, once in a while.
func TestUses(t *testing.T) {
	used, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	looks := make(chan bool, 10)
	done := make(chan struct{})
	var u uses
	u.look = func() {
		looks <- true
		u.note(map[netip.Addr]bool{used: true}, time.Now())
		done <- struct{}{}
	}
	if !u.has(used) || !u.has(other) {
		t.Error("before it is known an address is not in use")
	}
	<-done
	for range 3 {
		if !u.has(used) || u.has(other) {
			t.Error("it is known and not said")
		}
	}
	u.mu.Lock()
	u.until = time.Now()
	u.mu.Unlock()
	u.has(used)
	<-done
	if n := len(looks); n != 2 {
		t.Errorf("looked %d times, want twice", n)
	}
}

// TestNameKept has a connection that outlives the answer that led to it. The
// jail is this process's.
func TestNameKept(t *testing.T) {
	s, err := newSupervisor(Config{App: "app", Runtime: t.TempDir()}, "jail", nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.traffic.uses.look = func() {
		list, err := s.traffic.lister.List([]int{os.Getpid()}, time.Now())
		if err != nil {
			t.Error(err)
		}
		s.traffic.note(list.Flows)
	}
	open, closed := netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("127.0.0.78")
	now := time.Now()
	dns := &s.policy.dns
	dns.known.Take([]names.Lease{lease(open, "open.example", now.Add(-time.Second)), lease(closed, "closed.example", now.Add(-time.Second))}, now)
	shown := func(addr netip.Addr, now time.Time) []names.Name { return dns.known.Known(addr, now) }
	shown(open, now)
	s.traffic.uses.look()
	later := now.Add(time.Minute) // it is due again
	if got := shown(open, later); !slices.Equal(got, []names.Name{{Name: "open.example"}}) {
		t.Errorf("an address in use: got %v", got)
	}
	if got := shown(closed, later); got != nil {
		t.Errorf("an address that is not: got %v", got)
	}
	if got, _ := dns.of(open); slices.Contains(got, "open.example") {
		t.Errorf("%q counts", got)
	}
	f := flows.Flow{Network: "tcp", Remote: netip.AddrPortFrom(open, 1)}
	if got := s.traffic.describe(&f, make(map[netip.Addr][]string)).Names; !slices.Equal(got, []string{"open.example"}) {
		t.Errorf("the list shows %q", got)
	}
	c.Close()
	l.Close()
	s.traffic.uses.look()
	if got := shown(open, later.Add(time.Minute)); got != nil {
		t.Errorf("closed: got %v", got)
	}
}

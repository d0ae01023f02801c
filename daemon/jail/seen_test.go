package jail

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// seenCall is one that this process makes.
func seenCall() *interpose.Call { return &interpose.Call{TID: os.Getpid()} }

func seenRequest(i int, names ...string) *rules.Request {
	addr := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
	return &rules.Request{App: "app", Proto: rules.TCP, Addr: netip.AddrPortFrom(addr, 443), Names: names}
}

func TestSeen(t *testing.T) {
	var s Seen
	for i := range 3 {
		s.note(seenRequest(1, "a.example.org"), seenCall(), noon.Add(time.Duration(i)*time.Minute))
	}
	s.note(seenRequest(1, "b.example.org", "a.example.org"), seenCall(), noon)
	own := seenRequest(2, "host", "c.example.org")
	own.Own = 1
	s.note(own, seenCall(), noon)
	s.note(seenRequest(2), seenCall(), noon)
	s.found("_sip._tcp.example.org", noon)
	s.found("_sip._tcp.example.org", noon)
	s.end(func(a netip.Addr) ([]string, int) {
		if a == seenRequest(1).Addr.Addr() {
			return []string{"hosted", "late.example.org"}, 1
		}
		return nil, 0
	}, true)

	got := s.Sight()
	if len(got.Seen) != 2 || len(got.Found) != 1 || got.Found[0].Count != 2 || !s.Left() {
		t.Fatalf("got %+v", got)
	}
	for _, o := range got.Seen {
		names, n, bare := []string{"hosted", "a.example.org", "b.example.org", "late.example.org"}, 4, false
		if o.Addr == own.Addr {
			names, n, bare = []string{"host", "c.example.org"}, 2, true
		}
		if !slices.Equal(o.Names, names) || o.Own != 1 || o.Count != n || o.Bare != bare || len(o.Programs) != 1 {
			t.Errorf("got %+v, want the names %q, %d calls", o, names, n)
		}
		if n == 4 && (o.First != noon || o.Last.Before(noon)) {
			t.Errorf("from %v to %v", o.First, o.Last)
		}
	}
}

// TestSeenBounds has a program that goes everywhere, with every name there is.
func TestSeenBounds(t *testing.T) {
	var s Seen
	for i := range maxSeen + 100 {
		s.note(seenRequest(i, "a.example.org"), seenCall(), noon)
		s.found(fmt.Sprint(i), noon)
	}
	for i := range 2 * maxSeenName {
		s.note(seenRequest(0, fmt.Sprint(i)), seenCall(), noon)
	}
	got := s.Sight()
	if len(got.Seen) != maxSeen || len(got.Found) != maxSeen || s.More() != 100 {
		t.Errorf("%d destinations, %d names, %d calls more", len(got.Seen), len(got.Found), s.More())
	}
	for _, o := range got.Seen {
		if len(o.Names) > maxSeenName {
			t.Errorf("%d names of %v", len(o.Names), o.Addr)
		}
	}
}

func BenchmarkSeen(b *testing.B) {
	var s Seen
	r, c := seenRequest(1, "a.example.org", "b.example.org"), seenCall()
	for b.Loop() {
		s.note(r, c, noon)
	}
}

// TestSeenAllocates nothing for what is known already.
func TestSeenAllocates(t *testing.T) {
	var s Seen
	r, c := seenRequest(1, "a.example.org", "b.example.org"), seenCall()
	if n := testing.AllocsPerRun(100, func() { s.note(r, c, noon) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNoSeen: a run that is not watched costs nothing, and does not fail.
func TestNoSeen(t *testing.T) {
	var s *Seen
	s.note(seenRequest(1), seenCall(), noon)
	s.end(nil, false)
}

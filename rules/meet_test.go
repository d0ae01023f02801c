package rules

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestMeets: rules that speak of one request meet, and the one that precedes the
// other decides.
func TestMeets(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	dests := randomDestinations(t)
	met, apart, first := 0, 0, 0
	for range 200000 {
		a, b := randomRule(r, dests), randomRule(r, dests)
		for _, o := range []*Rule{&a, &b} {
			o.App, o.Exe, o.Disabled, o.Expires, o.Dest.Proto = pick(r, "", "a"), pick(r, "", "/x"), false, time.Time{}, AnyProto
		}
		q := randomRequest(r)
		q.App, q.Exe = "a", "/x"
		if len(q.Names) > 1 {
			q.Names = q.Names[:1]
		}
		by := len(q.Names) - 1
		if !a.Dest.Host.Meets(b.Dest.Host) {
			apart++
		}
		if a.Dest.Host.Meets(b.Dest.Host) != b.Dest.Host.Meets(a.Dest.Host) {
			t.Fatalf("%s and %s: not the same both ways", a.Dest, b.Dest)
		}
		if !speaks(q, &a, by, epoch) || !speaks(q, &b, by, epoch) {
			continue
		}
		met++
		if !a.Dest.Host.Meets(b.Dest.Host) || !a.Dest.Ports.Meets(b.Dest.Ports) {
			t.Fatalf("%s and %s both speak of %+v, and do not meet", a.Dest, b.Dest, q)
		}
		if a.Precedes(&b) {
			first++
			s := NewSet([]Rule{b, a})
			if d := s.Decide(q, epoch); d.Rule != nil && d.Rule != &s.rules[1] {
				t.Fatalf("%s precedes %s, which decides about %+v", show(&a), show(&b), q)
			}
			if b.Precedes(&a) {
				t.Fatalf("%s and %s precede each other", show(&a), show(&b))
			}
		}
	}
	if met < 500 || apart < 500 || first < 100 {
		t.Errorf("%d met, %d are apart, %d precede: the test is too thin", met, apart, first)
	}
}

package jail

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"testing"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

// newTestPolicy returns the policy of a jail with these rules, whose daemon is
// not there.
func newTestPolicy(t testing.TB, allow ...string) *policy {
	t.Helper()
	cfg := Config{App: "curl", Runtime: t.TempDir()}
	for _, text := range allow {
		d, err := rules.ParseDestination(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Rules = append(cfg.Rules, api.FromRule(&rules.Rule{App: cfg.App, Verdict: rules.Allow, Dest: d, By: "flag"}))
	}
	s, err := newSupervisor(cfg, "j", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.policy.take(api.Snapshot{}); err != nil {
		t.Fatal(err)
	}
	return s.policy
}

func call(t testing.TB, addr string) *interpose.Call {
	t.Helper()
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return &interpose.Call{TID: os.Getpid(), Op: interpose.Connect, Network: interpose.TCP, Addr: a}
}

// BenchmarkCheck decides about calls that a rule allows, and about one that was
// refused and told of before.
func BenchmarkCheck(b *testing.B) {
	p := newTestPolicy(b, "192.0.2.0/24:443")
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("allowed/%d", n), func(b *testing.B) {
			var calls []*interpose.Call
			for i := range n {
				calls = append(calls, call(b, fmt.Sprintf("192.0.2.%d:443", i+1)))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if v := p.Check(calls[i%n]); v != interpose.Allow {
					b.Fatal(v)
				}
			}
		})
	}
	b.Run("allowed/first", func(b *testing.B) {
		c := call(b, "192.0.2.1:443")
		for b.Loop() {
			p.deeds.mu.Lock()
			clear(p.deeds.counts)
			p.deeds.mu.Unlock()
			if v := p.Check(c); v != interpose.Allow {
				b.Fatal(v)
			}
		}
	})
	b.Run("refused", func(b *testing.B) {
		c := call(b, "198.51.100.1:443")
		if v := p.Decide(b.Context(), c); v != interpose.Deny {
			b.Fatal(v)
		}
		b.ReportAllocs()
		for b.Loop() {
			if v := p.Check(c); v != interpose.Deny {
				b.Fatal(v)
			}
		}
	})
}

// BenchmarkNote is what the history adds to a call that was noted before.
func BenchmarkNote(b *testing.B) {
	p := newTestPolicy(b, "192.0.2.0/24:443")
	c := call(b, "192.0.2.1:443")
	f := p.inForce.Load()
	r := p.request(f, c)
	v, why := p.decide(f, c, &r)
	b.ReportAllocs()
	for b.Loop() {
		p.note(c, &r, v, why)
	}
}

package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// bigSet has 10,000 rules of one app: names, wildcards, addresses, and
// prefixes of many lengths in both families.
func bigSet(t testing.TB) *Set {
	var list []Rule
	for i := range 2000 {
		a := netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 1})
		list = append(list,
			rule(t, Allow, fmt.Sprintf("tcp://host%d.example.org:443", i)),
			rule(t, Allow, fmt.Sprintf("*.zone%d.example.org:443", i)),
			rule(t, Allow, fmt.Sprintf("tcp://%s:443", a)),
			rule(t, Deny, fmt.Sprintf("%s/%d", a, 9+i%23)),
			rule(t, Deny, fmt.Sprintf("2001:db8:%x::/%d", i, 40+i%80)),
		)
	}
	return NewSet(append(list, rule(t, Allow, "@lan"), rule(t, Ask, "@any", everyApp)))
}

var benchRequests = []struct {
	name string
	q    *Request
	want Verdict
}{
	{"name", request(Connect, TCP, "192.0.2.7:443", "host1234.example.org"), Allow},
	{"wildcard", request(Connect, TCP, "192.0.2.7:443", "a.b.zone1234.example.org"), Allow},
	{"address", request(Connect, TCP, "11.1.2.1:443"), Allow},
	{"prefix", request(Connect, TCP, "11.1.2.9:443"), Deny},
	{"prefix6", request(Connect, TCP, "[2001:db8:105::7]:443"), Deny},
	{"class", request(Connect, TCP, "10.1.2.3:443"), Allow},
	{"any", request(Connect, TCP, "192.0.2.7:443", "www.example.com"), Ask},
	{"any6", request(Connect, TCP, "[2001:db9::7]:443", "www.example.com"), Ask},
	{"deep", request(Connect, TCP, "192.0.2.7:443", strings.Repeat("a.", 120)+"example.com"), Ask},
	{"names", request(Connect, TCP, "192.0.2.7:443", "host1.example.org", "host2.example.org", "host3.example.org"), Allow},
}

func TestDecideDoesNotAllocate(t *testing.T) {
	s := bigSet(t)
	for _, tc := range benchRequests {
		if got := s.Decide(tc.q, epoch); got.Verdict != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got.Verdict, tc.want)
		}
		if n := testing.AllocsPerRun(100, func() { s.Decide(tc.q, epoch) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", tc.name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	s := bigSet(b)
	for _, tc := range benchRequests {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(tc.q, epoch)
			}
		})
	}
}

// BenchmarkDecideFew decides by as many rules as most programs have.
func BenchmarkDecideFew(b *testing.B) {
	s := NewSet(bigSet(b).Rules()[:10])
	for _, tc := range benchRequests {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(tc.q, epoch)
			}
		})
	}
}

func BenchmarkNewSet(b *testing.B) {
	list := bigSet(b).Rules()
	for b.Loop() {
		NewSet(list)
	}
}

package names

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestMeter(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 60)+".", 3)
	tests := []struct {
		name string
		ask  func(i int) Query
		n    int // how many pass
		over string
	}{
		{"new names", func(i int) Query { return Query{Name: fmt.Sprintf("d%d.evil.org", i), Type: 1} }, maxDistinct, "evil.org"},
		{"long names", func(i int) Query { return Query{Name: fmt.Sprintf("%03d.%sevil.co.uk", i, long), Type: 1} }, 88, "evil.co.uk"},
		{"names with dots in labels", func(i int) Query { return Query{Name: fmt.Sprintf(`d%d\.\..evil.org`, i), Type: 1} }, maxDistinct, "evil.org"},
		{"many domains", func(i int) Query { return Query{Name: fmt.Sprintf("d%d.org", i), Type: 1} }, maxEverywhere, "."},
		{"one name in changing case", func(i int) Query { return Query{Name: "twentyfourletters.evil.org", Type: 1, spelling: 24} }, 5455, "evil.org"},
		{"changing types", func(i int) Query { return Query{Name: "evil.org", Type: uint16(i)} }, 0, "evil.org"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m Meter
			n := 0
			var domain string
			for over := false; n < 100000; n++ {
				q := tt.ask(n)
				if domain, over = m.Over(q.Name, epoch); over {
					break
				}
				m.Count(q, epoch)
			}
			if domain != tt.over || tt.n > 0 && n != tt.n || n > 10000 {
				t.Errorf("got %q after %d, want %q after %d", domain, n, tt.over, tt.n)
			}
			if _, over := m.Over("www.debian.org", epoch); over != (tt.over == ".") {
				t.Errorf("another domain: got %v", over)
			}
			if _, over := m.Over(tt.ask(n).Name, epoch.Add(window+time.Second)); over {
				t.Error("still over when the window has passed")
			}
		})
	}
}

// TestMeterNormal: what people do all day is not over a limit.
func TestMeterNormal(t *testing.T) {
	var m Meter
	now := epoch
	ask := func(name string) {
		t.Helper()
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS} {
			if domain, over := m.Over(name, now); over {
				t.Fatalf("%s: %s is over: %+v", name, domain, m.Usage(name, now))
			}
			m.Count(Query{Name: name, Type: typ}, now)
		}
	}
	for i := range 20000 { // a loop of requests without a cache, npm, apt
		now = now.Add(60 * time.Millisecond)
		ask([]string{"registry.packages.example", "deb.mirror.example", "security.mirror.example"}[i%3])
	}
	for i := range 100 { // a page of much variety each six seconds
		now = now.Add(6 * time.Second)
		for j := range 20 {
			ask(fmt.Sprintf("cdn%d.site%d.example%d.com", j%5, i, j))
		}
		ask(fmt.Sprintf("rr%d---sn-abcdef.googlevideo.com", i))
		ask(fmt.Sprintf("d%d.cloudfront.net", i)) // each is a customer
	}
	if u := m.Usage("registry.packages.example", epoch.Add(20*time.Minute)); u.Names > 1 {
		t.Errorf("got %+v", u)
	}
}

func BenchmarkMeter(b *testing.B) {
	var m Meter
	for b.Loop() {
		m.Over("www.example.org", epoch)
		m.Count(Query{Name: "www.example.org", Type: 1}, epoch)
	}
}

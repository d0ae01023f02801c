package names

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func recordOf(name string, ttl time.Duration, list ...string) answer {
	a := answer{name: name, ttl: ttl}
	for _, s := range list {
		a.addrs = append(a.addrs, netip.MustParseAddr(s))
	}
	return a
}

func TestMapRecord(t *testing.T) {
	const addr = "198.51.100.1"
	tests := []struct {
		name    string
		ask     string
		typ     uint16
		records []string
		names   map[string]string // by address
	}{
		{"one", "www.example.org", dns.TypeA, []string{"www.example.org. 60 A " + addr},
			map[string]string{addr: "www.example.org"}},
		{"another case", "wWw.Example.org", dns.TypeA, []string{"www.eXample.org. 60 A " + addr},
			map[string]string{addr: "www.example.org"}},
		{"a chain across domains", "www.example.org", dns.TypeA,
			[]string{"edge.cdn.net. 60 A " + addr, "x.cdn.net. 60 CNAME edge.cdn.net.", "www.example.org. 60 CNAME x.cdn.net."},
			map[string]string{addr: "www.example.org"}},
		{"a loop", "a.org", dns.TypeA, []string{"a.org. 60 CNAME b.org.", "b.org. 60 CNAME a.org.", "b.org. 60 A " + addr},
			map[string]string{addr: "a.org"}},
		{"an alias of itself", "a.org", dns.TypeA, []string{"a.org. 60 CNAME a.org."}, nil},
		{"records of others", "a.org", dns.TypeA, []string{"a.org. 60 A " + addr, "bank.org. 60 A 198.51.100.2", "c.org. 60 CNAME bank.org."},
			map[string]string{addr: "a.org", "198.51.100.2": ""}},
		{"another type", "a.org", dns.TypeA, []string{"a.org. 60 AAAA 2001:db8::1"}, map[string]string{"2001:db8::1": ""}},
		{"anything", "a.org", dns.TypeANY, []string{"a.org. 60 AAAA 2001:db8::1", "a.org. 60 A " + addr, `a.org. 60 TXT "x"`},
			map[string]string{"2001:db8::1": "a.org", addr: "a.org"}},
		{"v4-mapped", "a.org", dns.TypeAAAA, []string{"a.org. 60 AAAA ::ffff:" + addr}, map[string]string{addr: "a.org"}},
		{"hints", "a.org", dns.TypeHTTPS, []string{"a.org. 60 HTTPS 1 . alpn=h3 ipv4hint=" + addr + ",198.51.100.9 ipv6hint=2001:db8::1"},
			map[string]string{"2001:db8::1": "a.org", addr: "a.org", "198.51.100.9": "a.org"}},
		{"hints for a port", "_8443._https.a.org", dns.TypeHTTPS, []string{"_8443._https.a.org. 60 HTTPS 1 a.org. ipv4hint=" + addr},
			map[string]string{addr: "a.org"}},
		{"this machine", "rebind.org", dns.TypeA, []string{"rebind.org. 60 A 127.0.0.1", "rebind.org. 60 A 0.0.0.0", "rebind.org. 60 A " + addr},
			map[string]string{"127.0.0.1": "rebind.org", "0.0.0.0": "", addr: "rebind.org"}},
		{"an unknown type beside", "a.org", dns.TypeA, []string{`a.org. 60 TYPE65280 \# 3 010203`, "a.org. 60 A " + addr},
			map[string]string{addr: "a.org"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := query(t, tt.ask, tt.typ)
			m := new(dns.Msg).SetReply(unpack(t, raw))
			for _, s := range tt.records {
				rr, err := dns.NewRR(s)
				if err != nil {
					t.Fatal(err)
				}
				m.Answer = append(m.Answer, rr)
			}
			// What comes beside the answer names nothing.
			for _, s := range []string{tt.ask + ". 60 A 203.0.113.1", "bank.org. 60 A 203.0.113.1"} {
				rr, err := dns.NewRR(s)
				if err != nil {
					t.Fatal(err)
				}
				m.Extra, m.Ns = append(m.Extra, rr), append(m.Ns, rr)
			}
			m.Compress = true
			reply, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			var known Map
			if err := known.Record(raw, reply, epoch); err != nil {
				t.Fatal(err)
			}
			check := func(addr, want string) {
				t.Helper()
				var list []string
				if want != "" {
					list = []string{want}
				}
				if got := known.Names(netip.MustParseAddr(addr), epoch); !slices.Equal(got, list) {
					t.Errorf("%s: got %q, want %q", addr, got, list)
				}
			}
			for addr, want := range tt.names {
				check(addr, want)
			}
			check("203.0.113.1", "")
		})
	}
}

func TestMapKnown(t *testing.T) {
	var m Map
	a := recordOf("www.example.org", 0, "198.51.100.1")
	a.aliases = []string{"x.cdn.net", "www.example.org"}
	m.record(a, epoch)
	m.record(recordOf("other.org", 0, "::ffff:198.51.100.1"), epoch.Add(time.Second))
	addr := netip.MustParseAddr("198.51.100.1")
	want := []Name{{"other.org", false, true}, {"www.example.org", false, true}, {"x.cdn.net", true, true}}
	if got := m.Known(addr, epoch.Add(time.Second)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := m.Names(addr, epoch), []string{"other.org", "www.example.org"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMapTTL: an address moves on after a short time to live, which programs
// may not notice; and nothing is believed forever.
func TestMapTTL(t *testing.T) {
	tests := []struct{ ttl, want time.Duration }{
		{0, minTTL}, {time.Minute, minTTL}, {time.Hour, time.Hour}, {100 * time.Hour, maxTTL},
	}
	addr := netip.MustParseAddr("198.51.100.1")
	for _, tt := range tests {
		var m Map
		m.record(recordOf("a.org", tt.ttl, addr.String()), epoch)
		m.record(recordOf("a.org", tt.ttl, "198.51.100.2"), epoch)
		if got := m.Names(addr, epoch.Add(tt.want-1)); len(got) != 1 {
			t.Errorf("%s: got %q just before %s", tt.ttl, got, tt.want)
		}
		if got := m.Names(addr, epoch.Add(tt.want)); got != nil {
			t.Errorf("%s: got %q at %s", tt.ttl, got, tt.want)
		}
		m.record(recordOf("a.org", 0, addr.String()), epoch.Add(time.Second))
		if got := m.Names(addr, epoch.Add(tt.want-1)); len(got) != 1 {
			t.Errorf("%s: a shorter time took the name away", tt.ttl)
		}
	}
}

// TestMapUsed: a connection outlives the answer that led to it. Its names do not
// count any more, and are shown until it is closed.
func TestMapUsed(t *testing.T) {
	addr, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	used := map[netip.Addr]bool{addr: true}
	asked := 0
	m := Map{Used: func(a netip.Addr) bool { asked++; return used[a] }}
	m.record(recordOf("a.org", 0, "::ffff:"+addr.String()), epoch)
	m.record(recordOf("b.org", 0, other.String()), epoch)
	known := func(addr netip.Addr, now time.Time, want ...Name) {
		t.Helper()
		if got := m.Known(addr, now); !slices.Equal(got, want) {
			t.Errorf("%s after %v: got %v, want %v", addr, now.Sub(epoch), got, want)
		}
	}
	before := epoch.Add(minTTL - 1)
	known(addr, before, Name{Name: "a.org", Live: true})
	known(other, before, Name{Name: "b.org", Live: true})
	if asked != 0 {
		t.Errorf("asked %d times while nothing was due", asked)
	}
	for _, later := range []time.Duration{minTTL, minTTL + 2*putOff, maxTTL} {
		known(addr, epoch.Add(later), Name{Name: "a.org"})
		known(other, epoch.Add(later))
		if got := m.Names(addr, epoch.Add(later)); got != nil {
			t.Errorf("%q counts after %v", got, later)
		}
	}
	asked = 0
	known(addr, epoch.Add(maxTTL+putOff-1), Name{Name: "a.org"})
	if asked != 0 {
		t.Errorf("asked %d times soon after", asked)
	}
	// The other supervisor of the jail finds the same.
	heir := Map{Used: m.Used}
	heir.Take(m.Leases(epoch.Add(maxTTL)), epoch.Add(maxTTL))
	if got, want := heir.Known(addr, epoch.Add(maxTTL)), []Name{{Name: "a.org"}}; !slices.Equal(got, want) {
		t.Errorf("handed over: got %v, want %v", got, want)
	}
	used[addr] = false
	known(addr, epoch.Add(maxTTL+putOff))
	if len(m.hosts) != 0 || len(m.pairs) != 0 || len(m.queue) != 0 {
		t.Errorf("closed: %d hosts, %d pairs, %d due", len(m.hosts), len(m.pairs), len(m.queue))
	}
	// Asked for again it is as new.
	m.record(recordOf("a.org", 0, addr.String()), epoch.Add(2*maxTTL))
	known(addr, epoch.Add(2*maxTTL), Name{Name: "a.org", Live: true})
}

// TestMapUsedRoom: what is in use only makes room before all else does.
func TestMapUsedRoom(t *testing.T) {
	m := Map{Used: func(netip.Addr) bool { return true }}
	for i, addr := range addrs(maxPairs + 100) {
		m.record(answer{name: "a.org", addrs: []netip.Addr{addr}}, epoch.Add(time.Duration(i)*30*time.Millisecond))
	}
	if len(m.queue) != maxPairs || len(m.pairs) != maxPairs || len(m.hosts) != maxPairs {
		t.Errorf("got %d due, %d pairs, %d hosts, want %d", len(m.queue), len(m.pairs), len(m.hosts), maxPairs)
	}
}

func TestMapBounds(t *testing.T) {
	var m Map
	for i := range maxNames * 2 {
		m.record(recordOf(fmt.Sprintf("n%d.org", i), time.Duration(i)*time.Minute, "198.51.100.1"), epoch)
	}
	if got := m.Names(netip.MustParseAddr("198.51.100.1"), epoch); len(got) != maxNames || slices.Contains(got, "n5.org") {
		t.Errorf("got %d names of one address, want %d", len(got), maxNames)
	}
	list := addrs(maxPairs + 100)
	for i, addr := range list {
		m.record(answer{name: "a.org", addrs: []netip.Addr{addr}}, epoch.Add(time.Duration(i)))
	}
	if len(m.queue) != maxPairs || len(m.pairs) != maxPairs {
		t.Errorf("got %d, %d pairs, want %d", len(m.queue), len(m.pairs), maxPairs)
	}
	n := 0
	for addr, h := range m.hosts {
		n += len(h.entries)
		for i, e := range h.entries {
			if e.slot != i || e.addr != addr || m.queue[e.place] != e {
				t.Fatalf("%v is out of place", e)
			}
		}
	}
	if n != maxPairs {
		t.Errorf("hosts have %d names, want %d", n, maxPairs)
	}
	if got := m.Names(list[len(list)-1], epoch); len(got) != 1 {
		t.Errorf("the latest has names %q", got)
	}
	m.record(recordOf("a.org", 0, "203.0.113.1"), epoch.Add(maxTTL*2))
	if len(m.pairs) != 1 || len(m.hosts) != 1 {
		t.Errorf("later: %d pairs, %d hosts, want 1", len(m.pairs), len(m.hosts))
	}
}

func TestMapUnknownAllocs(t *testing.T) {
	var m Map
	m.record(recordOf("a.org", 0, "198.51.100.1"), epoch)
	addr := netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { m.Names(addr, epoch) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func BenchmarkMapRecordFull(b *testing.B) {
	var m Map
	list := addrs(60000)
	i := 0
	for b.Loop() {
		m.record(answer{name: "a.org", addrs: list[i%len(list):][:1]}, epoch)
		i++
	}
}

// TestLeases: a Map that takes another's leases knows what that one knew.
func TestLeases(t *testing.T) {
	var a, b Map
	now := time.Now()
	addr := netip.MustParseAddr("198.51.100.7")
	a.mu.Lock()
	a.put(pair{addr, "a.org", false}, now, now.Add(time.Hour))
	a.put(pair{addr, "b.org", false}, now.Add(time.Second), now.Add(time.Hour))
	a.put(pair{addr, "alias.org", true}, now, now.Add(time.Hour))
	a.put(pair{addr, "old.org", false}, now, now.Add(time.Minute))
	a.mu.Unlock()
	then := now.Add(2 * time.Minute)
	leases := append(a.Leases(then), Lease{Addr: addr, Name: "for-ever.org", Seen: now, Until: now.Add(1000 * time.Hour)})
	b.Take(leases, then)
	want := a.Names(addr, then)
	if got := b.Names(addr, then); !slices.Equal(got, want) || len(got) != 2 {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := b.Names(addr, now.Add(2*time.Hour)); len(got) != 0 {
		t.Errorf("after they ended: got %v, want none", got)
	}
}

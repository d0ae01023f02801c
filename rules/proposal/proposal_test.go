package proposal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

var start = time.Date(2026, 11, 25, 22, 10, 0, 0, time.UTC)

// domainOf knows suffixes of two labels below uk, and one that is a company's.
func domainOf(name string) (string, bool) {
	suffix := 1
	for _, s := range []string{"co.uk", "pages.example"} {
		if strings.HasSuffix(name, "."+s) {
			suffix = 2
		}
	}
	labels := strings.Split(name, ".")
	if len(labels) <= suffix {
		return "", false
	}
	return strings.Join(labels[len(labels)-suffix-1:], "."), true
}

// obs makes an observation of "op proto addr name,name" by curl, count times.
func obs(count int, text string) Observation {
	f := append(strings.Fields(text), "")
	o := Observation{Programs: []string{"curl"}, Count: count, First: start, Last: start.Add(time.Duration(count-1) * time.Minute)}
	if err := o.Op.UnmarshalText([]byte(f[0])); err != nil {
		panic(err)
	}
	if strings.HasPrefix(f[1], "unix:") {
		o.Unix = strings.TrimPrefix(f[1], "unix:")
		return o
	}
	if err := o.Proto.UnmarshalText([]byte(f[1])); err != nil {
		panic(err)
	}
	o.Addr = netip.MustParseAddrPort(f[2])
	for name := range strings.SplitSeq(f[3], ",") {
		own := strings.HasSuffix(name, "!")
		if name = strings.TrimSuffix(name, "!"); own {
			o.Own++
		}
		if name != "" {
			o.Names = append(o.Names, name)
		}
	}
	return o
}

func (s *Sight) lines(t *testing.T) []string {
	t.Helper()
	p := s.Propose(start)
	if len(p.Unmet) > 0 {
		t.Errorf("unmet: %v", p.Unmet)
	}
	var list []string
	for _, r := range p.Add {
		local := ""
		if r.Local {
			local = " local"
		}
		if r.App != s.App || r.Verdict != rules.Allow {
			t.Errorf("a rule of %q that says %v", r.App, r.Verdict)
		}
		list = append(list, fmt.Sprintf("%s%s # %s", r.Dest, local, r.Note))
	}
	return list
}

const at = "25 Nov 2026 22:10"

func TestPropose(t *testing.T) {
	for _, tc := range []struct {
		name string
		seen []Observation
		want []string
	}{
		{"a name", []Observation{obs(3, "connect tcp 192.0.2.7:443 a.example.org")},
			[]string{"tcp://a.example.org:443 # 3 connects by curl, " + at + " to 22:12"}},
		{"ports of a host", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org"), obs(1, "connect tcp 192.0.2.8:80 a.example.org")},
			[]string{"tcp://a.example.org:80,443 # 2 connects by curl, " + at}},
		{"tcp and udp alike", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org"), obs(2, "send udp 192.0.2.7:443 a.example.org")},
			[]string{"a.example.org:443 # 1 connect, 2 sends by curl, " + at + " to 22:11"}},
		{"two hosts of a domain", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org"), obs(1, "connect tcp 192.0.2.8:443 b.example.org")},
			[]string{"tcp://a.example.org:443 # 1 connect by curl, " + at, "tcp://b.example.org:443 # 1 connect by curl, " + at}},
		{"three hosts of a domain", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org"), obs(1, "connect tcp 192.0.2.8:443 b.example.org"),
			obs(2, "connect tcp 192.0.2.9:443 example.org")},
			[]string{"tcp://.example.org:443 # for a.example.org, b.example.org, example.org; 4 connects by curl, " + at + " to 22:11"}},
		{"three hosts, used otherwise", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org"), obs(1, "connect tcp 192.0.2.8:443 b.example.org"),
			obs(1, "connect tcp 192.0.2.9:80 c.example.org")},
			[]string{"tcp://a.example.org:443 # 1 connect by curl, " + at, "tcp://b.example.org:443 # 1 connect by curl, " + at,
				"tcp://c.example.org:80 # 1 connect by curl, " + at}},
		{"three registrants below a public suffix", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.pages.example"),
			obs(1, "connect tcp 192.0.2.8:443 b.pages.example"), obs(1, "connect tcp 192.0.2.9:443 c.pages.example")},
			[]string{"tcp://a.pages.example:443 # 1 connect by curl, " + at, "tcp://b.pages.example:443 # 1 connect by curl, " + at,
				"tcp://c.pages.example:443 # 1 connect by curl, " + at}},
		{"names of one address", []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org"), obs(1, "connect tcp 192.0.2.7:80 b.example.net,a.example.org")},
			[]string{"tcp://b.example.net:80,443 # 2 connects by curl, " + at, "tcp://a.example.org:80,443 # 2 connects by curl, " + at}},
		{"no name", []Observation{obs(1, "connect tcp 192.0.2.7:443"), obs(2, "connect tcp [2001:db8::1]:22")},
			[]string{"tcp://192.0.2.7:443 # no name known; seen once; 1 connect by curl, " + at,
				"tcp://[2001:db8::1]:22 # no name known; 2 connects by curl, " + at + " to 22:11"}},
		{"this machine", []Observation{obs(1, "connect tcp 127.0.0.1:8080 localhost!"), obs(1, "connect tcp [::1]:40000")},
			[]string{"tcp://127.0.0.1:8080 # 1 connect by curl, " + at,
				"tcp://[::1]:40000 # a port of the kernel's choice, another one next time; 1 connect by curl, " + at}},
		{"a public name of the networks", []Observation{obs(1, "connect tcp 10.77.0.1:80 nas.example.org"), obs(1, "connect tcp 192.0.2.7:443 nas.example.org")},
			[]string{"tcp://nas.example.org:443 # 1 connect by curl, " + at,
				"tcp://nas.example.org:80 local # a public name of 10.77.0.1; 1 connect by curl, " + at}},
		{"used so everywhere", []Observation{obs(1, "connect tcp 10.77.0.1:80 nas.example.org"), obs(1, "connect tcp 192.0.2.7:80 nas.example.org")},
			[]string{"tcp://nas.example.org:80 local # a public name of 10.77.0.1; 2 connects by curl, " + at}},
		{"a private name", []Observation{obs(1, "connect tcp 10.77.0.1:80 nas.local"), obs(1, "connect tcp 10.77.0.2:80 db!")},
			[]string{"tcp://db:80 # 1 connect by curl, " + at, "tcp://nas.local:80 # 1 connect by curl, " + at}},
		{"a public name of this machine", []Observation{obs(1, "connect tcp 127.0.0.1:80 localhost!,home.example.org")},
			[]string{"tcp://home.example.org:80 local # a public name of 127.0.0.1; 1 connect by curl, " + at, "tcp://127.0.0.1:80 # 1 connect by curl, " + at}},
		{"metadata, by its address alone", []Observation{obs(1, "connect tcp 169.254.169.254:80 metadata.example.org")},
			[]string{"tcp://169.254.169.254:80 # 1 connect by curl, " + at}},
		{"ping, and what listens", []Observation{obs(1, "send icmp 192.0.2.7:0 a.example.org"), obs(1, "listen tcp 0.0.0.0:8080"), obs(1, "listen udp 127.0.0.1:53")},
			[]string{"icmp://a.example.org # 1 send by curl, " + at, "listen+tcp://0.0.0.0:8080 # 1 listen by curl, " + at,
				"listen+udp://127.0.0.1:53 # 1 listen by curl, " + at}},
		{"port 0 is every port, and nobody's", []Observation{obs(1, "connect udp 192.0.2.7:0 a.example.org")}, nil},
		{"a socket", []Observation{obs(1, "connect unix:/run/docker.sock")}, []string{"unix:/run/docker.sock # 1 connect by curl, " + at}},
		{"a name that no rule can have", []Observation{obs(1, `connect tcp 192.0.2.7:80 a\.b.example.org,a.example.org`)},
			[]string{"tcp://a.example.org:80 # 1 connect by curl, " + at, "tcp://192.0.2.7:80 # 1 connect by curl, " + at}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Sight{App: "curl", Seen: tc.seen, Domain: domainOf}
			if got := s.lines(t); !slices.Equal(got, tc.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
		})
	}
}

// TestLookups has names that were found and used for nothing.
func TestLookups(t *testing.T) {
	s := Sight{App: "app", Domain: domainOf, Seen: []Observation{obs(1, "connect tcp 192.0.2.7:443 a.example.org")}}
	for _, name := range []string{"a.example.org", "_sip._tcp.example.net"} {
		s.Found = append(s.Found, Lookup{Name: name, Count: 2, First: start, Last: start})
	}
	want := []string{"udp://_sip._tcp.example.net:53 # only looked up, 2 times, " + at, "tcp://a.example.org:443 # 1 connect by curl, " + at}
	if got := s.lines(t); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// A rule about an address lets every name be looked up.
	s.Seen = append(s.Seen, obs(1, "connect tcp 192.0.2.9:443"))
	if got := s.lines(t); len(got) != 2 || strings.Contains(got[0], "_sip") {
		t.Errorf("got %q", got)
	}
}

func allow(t *testing.T, verdict rules.Verdict, dest string) rules.Rule {
	t.Helper()
	d, err := rules.ParseDestination(dest)
	if err != nil {
		t.Fatal(err)
	}
	return rules.Rule{App: "curl", Verdict: verdict, Dest: d}
}

// TestHave adds to rules that there are, and widens none.
func TestHave(t *testing.T) {
	s := Sight{App: "curl", Domain: domainOf, Have: []rules.Rule{
		allow(t, rules.Allow, "a.example.org:443"), allow(t, rules.Allow, "b.example.org"), allow(t, rules.Ask, "tcp://d.example.net:443"),
	}, Seen: []Observation{
		obs(1, "connect tcp 192.0.2.1:443 a.example.org"), obs(1, "connect tcp 192.0.2.2:443 b.example.org"),
		obs(1, "connect tcp 192.0.2.3:443 c.example.org"), obs(1, "connect tcp 192.0.2.4:443 d.example.net"),
		obs(1, "connect tcp 192.0.2.1:80 a.example.org"),
	}}
	p := s.Propose(start)
	var got []string
	for _, r := range p.Add {
		got = append(got, r.Dest.String())
	}
	want := []string{"tcp://a.example.org:80", "tcp://c.example.org:443"}
	if !slices.Equal(got, want) || p.There != 2 {
		t.Errorf("adds %q, %d were there; want %q and 2", got, p.There, want)
	}
	if len(p.Unmet) != 1 || p.Unmet[0].String() != "tcp://d.example.net:443" {
		t.Errorf("unmet: %v, want what a rule asks about", p.Unmet)
	}
	// What is proposed is there the next time.
	s.Have = append(s.Have, p.Add...)
	if p := s.Propose(start); len(p.Add) != 0 || len(p.Unmet) != 1 || p.There != 4 {
		t.Errorf("again: %+v", p)
	}
}

// TestProposals: of thousands of runs, what was seen is allowed and can be looked
// up, and what was not is neither.
func TestProposals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	domains := []string{"example.org", "example.co.uk", "a.pages.example", "one.net"}
	hosts := []string{"", "a.", "b.", "c.", "x.y."}
	ports := []uint16{22, 80, 443, 8080, 8081}
	collapsed := 0
	for range 3000 {
		s := Sight{App: "app", Domain: domainOf}
		names := make(map[netip.Addr][]string)
		for range 1 + r.IntN(12) {
			o := Observation{Op: rules.Op(r.IntN(2)), Proto: rules.TCP, Programs: []string{"p"}, Count: 1, First: start, Last: start}
			if r.IntN(4) == 0 {
				o.Proto = rules.UDP
			}
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(8))})
			switch r.IntN(8) {
			case 0:
				addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))})
			case 1:
				addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
			o.Addr = netip.AddrPortFrom(addr, ports[r.IntN(len(ports))])
			if r.IntN(5) > 0 {
				names[addr] = append(names[addr], hosts[r.IntN(len(hosts))]+domains[r.IntN(len(domains))])
			}
			o.Names = slices.Clone(names[addr])
			slices.Sort(o.Names)
			o.Names = slices.Compact(o.Names)
			s.Seen = append(s.Seen, o)
		}
		check(t, r, &s, &collapsed)
	}
	if collapsed == 0 {
		t.Error("no domain was made of hosts: the test is too thin")
	}
}

func check(t *testing.T, r *rand.Rand, s *Sight, collapsed *int) {
	t.Helper()
	p := s.Propose(start)
	set := rules.NewSet(p.Add)
	used := make(map[string]bool)         // "name port proto"
	hosts := make(map[string]bool)        // names
	below := make(map[string]int)         // hosts by domain
	addrs := make(map[netip.AddrPort]int) // seen
	for i := range s.Seen {
		o := &s.Seen[i]
		addrs[o.Addr]++
		for _, n := range o.Names {
			used[n] = true
			if d, ok := domainOf(n); ok && !hosts[n] {
				below[d]++
			}
			hosts[n] = true
		}
		q := o.request(s.App)
		if d := set.Decide(&q, start); d.Verdict != rules.Allow || !s.reaches(set, o, start) {
			t.Fatalf("%+v is not allowed by %v", o, p.Add)
		}
	}
	for _, rule := range p.Add {
		if h := rule.Dest.Host; h.Kind == rules.HostSuffix {
			*collapsed++
			if below[h.Name] < enough {
				t.Fatalf("%v: %d hosts of the domain were seen", rule.Dest, below[h.Name])
			}
		} else if h.Kind == rules.HostName && !hosts[h.Name] {
			t.Fatalf("%v was not seen", rule.Dest)
		}
		if rule.Dest.Ports.All() || rule.Dest.Host.Kind < rules.HostSuffix {
			t.Fatalf("%v is wide", rule.Dest)
		}
	}
	denied := func(what string, q rules.Request) {
		if d := set.Decide(&q, start); d.Verdict == rules.Allow {
			t.Fatalf("%s: %+v is allowed by %v", what, q, d.Rule.Dest)
		}
	}
	o := s.Seen[r.IntN(len(s.Seen))]
	q := o.request(s.App)
	other := q
	other.Addr = netip.AddrPortFrom(q.Addr.Addr(), 9)
	denied("another port", other)
	other = q
	other.Addr, other.Names = netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), q.Addr.Port()), nil
	denied("another address", other)
	other.Names = []string{"evil.example.com"}
	denied("another host", other)
	other.Names = []string{"evil.example.com"}
	if len(o.Names) > 0 {
		other.Names = append(other.Names, o.Names[0])
		denied("another host at the same address", other)
	}
	for n := range hosts {
		domain, _ := domainOf(n)
		other.Names = []string{"zz." + n}
		if below[domain] < enough {
			denied("a host below", other)
		}
		_, parent, _ := strings.Cut(n, ".")
		if other.Names = []string{parent}; !hosts[parent] && below[domain] < enough {
			denied("a parent domain", other)
		}
		if _, addressed := set.Lookup(s.App, "evil.example.com", start); addressed {
			continue
		}
		if found(set, s.App, "evil.example.com", start) {
			t.Fatal("another host is looked up")
		}
	}
	other = q
	other.Op = rules.Listen
	denied("listening", other)
	other = q
	other.Proto, other.App = rules.ICMP, s.App
	denied("ping", other)
	other = q
	other.App = "other"
	denied("another app", other)

	// The order in which things were seen does not matter.
	r.Shuffle(len(s.Seen), func(i, j int) { s.Seen[i], s.Seen[j] = s.Seen[j], s.Seen[i] })
	if again := s.Propose(start); !slices.Equal(again.Add, p.Add) {
		t.Fatalf("in another order: %v\nwant %v", again.Add, p.Add)
	}
}

package names

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestLookup(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(ip+" "+network, func(t *testing.T) {
				server := serve(t, ip, zoneFile(t,
					"www.example.org. 60 CNAME edge.cdn.net.", "edge.cdn.net. 60 A 198.51.100.1", "edge.cdn.net. 60 AAAA 2001:db8::1"))
				cfg := system(server)
				p := connect(t, start(t, cfg), network, server)
				for typ, want := range map[uint16]string{dns.TypeA: "198.51.100.1", dns.TypeAAAA: "2001:db8::1"} {
					raw := query(t, "www.Example.org", typ)
					m := unpack(t, p.ask(raw))
					if len(m.Answer) != 2 || m.Id != unpack(t, raw).Id || m.Question[0].Name != "www.Example.org." {
						t.Errorf("got %v", m)
					}
					addr := netip.MustParseAddr(want)
					if got := cfg.Map.Names(addr, time.Now()); !slices.Equal(got, []string{"www.example.org"}) {
						t.Errorf("%s: got names %q", addr, got)
					}
					if got := cfg.Map.Known(addr, time.Now()); len(got) != 2 || got[1].Name != "edge.cdn.net" {
						t.Errorf("%s: known %v", addr, got)
					}
				}
			})
		}
	}
}

// TestFound: names that there is something about are told of, and no others.
func TestFound(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 A 198.51.100.1", "_x._tcp.a.org. 60 SRV 0 0 1 a.org."))
			cfg := system(server)
			var mu sync.Mutex
			var got []string
			cfg.Found = func(q Query) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, q.Name)
			}
			p := connect(t, start(t, cfg), network, server)
			p.ask(query(t, "missing.org", dns.TypeA))
			p.ask(query(t, "A.org", dns.TypeA))
			p.ask(query(t, "a.org", dns.TypeAAAA))
			p.ask(query(t, "_x._tcp.a.org", dns.TypeSRV))
			mu.Lock()
			defer mu.Unlock()
			if want := []string{"a.org", "_x._tcp.a.org"}; !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}

// TestUnchanged: what programs and servers say to each other is none of the
// resolver's business.
func TestUnchanged(t *testing.T) {
	edns := func(m *dns.Msg) {
		m.SetEdns0(4096, true)
		m.AuthenticatedData, m.CheckingDisabled, m.RecursionDesired = true, true, false
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
	}
	tests := map[string][]byte{
		"EDNS, DO, AD, CD, a cookie, mixed case": query(t, "wWw.eXample.oRg", dns.TypeA, edns),
		"an unknown type":                        query(t, "a.org", 65280),
		"another class":                          query(t, "version.bind", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"a name of odd bytes":                    query(t, `a\.\000\255.org`, dns.TypeA),
		"backwards":                              query(t, "1.100.51.198.in-addr.arpa", dns.TypePTR),
		"the root":                               query(t, ".", dns.TypeNS),
	}
	for name, raw := range tests {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" "+network, func(t *testing.T) {
				heard, spoken := make(chan []byte, 1), make(chan []byte, 1)
				server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
					heard <- bytes.Clone(q)
					q[2] |= flagQR | 4
					q[3] |= 0x20 | flagRA
					q = append(q, "\x00trailing bytes, whatever they are"...)
					spoken <- bytes.Clone(q)
					send(q)
				})
				p := connect(t, start(t, system(server)), network, server)
				reply := p.ask(raw)
				got, said := <-heard, <-spoken
				if !bytes.Equal(got[2:], raw[2:]) {
					t.Errorf("the server got %x, want %x", got, raw)
				}
				if !bytes.Equal(reply[2:], said[2:]) || !bytes.Equal(reply[:2], raw[:2]) {
					t.Errorf("the program got %x, want %x", reply, said)
				}
			})
		}
	}
}

func TestPolicy(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "good.org. 60 A 198.51.100.1"))
	var seen sync.Map
	cfg := system(server)
	cfg.Policy = func(_ context.Context, q Query) Decision {
		seen.Store(q.Name, q)
		switch q.Name {
		case "good.org":
			return Forward
		case "gone.org":
			return NXDomain
		case "bug.org":
			panic("a test")
		}
		return Refuse
	}
	r := start(t, cfg)
	tests := []struct {
		name    string
		typ     uint16
		rcode   int
		answers int
		asked   bool // the policy
	}{
		{"Good.org", dns.TypeA, dns.RcodeSuccess, 1, true},
		{"gone.org", dns.TypeTXT, dns.RcodeNameError, 0, true},
		{"other.org", dns.TypeA, dns.RcodeRefused, 0, true},
		{"1.2.0.192.in-addr.arpa", dns.TypePTR, dns.RcodeRefused, 0, true},
		{"bug.org", dns.TypeA, dns.RcodeServerFailure, 0, true},
		{"printer.local", dns.TypeA, dns.RcodeRefused, 0, true},
		{"sub.use-application-dns.net", dns.TypeA, dns.RcodeRefused, 0, true},
		{"use-application-dns.net", dns.TypeA, dns.RcodeNameError, 0, false},
		{"mask.icloud.com", dns.TypeA, dns.RcodeNameError, 0, false},
		{"mask-h2.icloud.com", dns.TypeHTTPS, dns.RcodeNameError, 0, false},
		{"_dns.resolver.arpa", dns.TypeSVCB, dns.RcodeNameError, 0, false},
		{"localhost", dns.TypeA, dns.RcodeSuccess, 1, false},
		{"x.LocalHost", dns.TypeAAAA, dns.RcodeSuccess, 1, false},
		{"localhost", dns.TypeMX, dns.RcodeSuccess, 0, false},
		{"x.invalid", dns.TypeA, dns.RcodeNameError, 0, false},
	}
	for _, network := range []string{"udp", "tcp"} {
		p := connect(t, r, network, server)
		for _, tt := range tests {
			seen.Clear()
			m := unpack(t, p.ask(query(t, tt.name, tt.typ)))
			if m.Rcode != tt.rcode || len(m.Answer) != tt.answers {
				t.Errorf("%s %s: got %v", network, tt.name, m)
			}
			q, asked := seen.Load(strings.ToLower(tt.name))
			if asked != tt.asked {
				t.Errorf("%s %s: the policy was asked: %v, want %v", network, tt.name, asked, tt.asked)
			}
			if asked {
				if q := q.(Query); q.Server != server || !q.System || q.Type != tt.typ || q.Class != dns.ClassINET {
					t.Errorf("%s %s: the policy saw %+v", network, tt.name, q)
				}
			}
		}
	}
}

func TestNoPolicy(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t))
	r := start(t, Config{Upstreams: func() []netip.AddrPort { return nil }, PassCanaries: true})
	p := connect(t, r, "udp", server)
	for _, name := range []string{"a.org", "use-application-dns.net"} {
		if m := unpack(t, p.ask(query(t, name, dns.TypeA))); m.Rcode != dns.RcodeRefused {
			t.Errorf("got %v", m)
		}
	}
}

// TestTrust: a program cannot name addresses by asking a server of its own.
func TestTrust(t *testing.T) {
	own := serve(t, "127.0.0.1", zoneFile(t, "bank.org. 60 A 198.51.100.66"))
	server := serve(t, "127.0.0.1", zoneFile(t))
	evil := netip.MustParseAddr("198.51.100.66")
	for _, tt := range []struct {
		trusted func(netip.AddrPort) bool
		want    int
	}{{nil, 0}, {func(a netip.AddrPort) bool { return a == own }, 1}} {
		cfg := system(server)
		cfg.Trusted = tt.trusted
		r := start(t, cfg)
		for _, network := range []string{"udp", "tcp"} {
			if m := unpack(t, connect(t, r, network, own).ask(query(t, "bank.org", dns.TypeA))); len(m.Answer) != 1 {
				t.Errorf("got %v", m)
			}
		}
		if got := cfg.Map.Names(evil, time.Now()); len(got) != tt.want {
			t.Errorf("got names %q, want %d", got, tt.want)
		}
		if r.Trusts(own) != (tt.want == 1) {
			t.Errorf("it trusts %v: %v", own, r.Trusts(own))
		}
	}
}

func TestRoundRobin(t *testing.T) {
	var lines []string
	for _, a := range addrs(50) {
		lines = append(lines, fmt.Sprintf("many.org. 60 A %s", a))
	}
	server := serve(t, "127.0.0.1", zoneFile(t, lines...))
	cfg := system(server)
	p := connect(t, start(t, cfg), "udp", server)
	if m := unpack(t, p.ask(query(t, "many.org", dns.TypeA))); len(m.Answer) != 50 {
		t.Errorf("got %d answers", len(m.Answer))
	}
	for _, a := range addrs(50) {
		if got := cfg.Map.Names(a, time.Now()); !slices.Equal(got, []string{"many.org"}) {
			t.Errorf("%s: got %q", a, got)
		}
	}
}

// TestStranger: nobody is served whom the supervisor did not lead here.
func TestStranger(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 A 198.51.100.1"))
	cfg := system(server)
	var asked atomic.Int32
	cfg.Policy = func(context.Context, Query) Decision { asked.Add(1); return Forward }
	r := start(t, cfg)
	t.Run("udp", func(t *testing.T) {
		stranger := dialOnly(t, r, "udp", false)
		stranger.say(query(t, "a.org", dns.TypeA))
		// Datagrams are looked at one by one: when this one is answered, that
		// of the stranger was dropped.
		connect(t, r, "udp", server).ask(query(t, "a.org", dns.TypeA))
		if n := asked.Load(); n != 1 {
			t.Errorf("the policy was asked %d times, want 1", n)
		}
	})
	t.Run("tcp", func(t *testing.T) {
		stranger := dialOnly(t, r, "tcp", false)
		stranger.say(query(t, "a.org", dns.TypeA))
		if _, err := stranger.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want the end", err)
		}
	})
	t.Run("tcp, registered late", func(t *testing.T) {
		p := dialOnly(t, r, "tcp", false)
		p.say(query(t, "a.org", dns.TypeA))
		eventually(t, "it waits", func() bool {
			r.clients.mu.Lock()
			defer r.clients.mu.Unlock()
			return r.clients.added != nil
		})
		r.Expect("tcp", localOf(p), server)
		if m := unpack(t, p.hear()); len(m.Answer) != 1 {
			t.Errorf("got %v", m)
		}
	})
	t.Run("led elsewhere", func(t *testing.T) {
		p := connect(t, r, "udp", server)
		other := serve(t, "127.0.0.1", zoneFile(t, "b.org. 60 A 198.51.100.2"))
		r.Expect("udp", localOf(p), other)
		if m := unpack(t, p.ask(query(t, "b.org", dns.TypeA))); len(m.Answer) != 1 {
			t.Errorf("got %v", m)
		}
	})
}

// TestOwner: a socket that nobody told of is served if it is the jail's, by the
// system's server, and known from then on.
func TestOwner(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 A 192.0.2.1"))
	var asked atomic.Int32
	var ours atomic.Pointer[netip.AddrPort]
	cfg := system(server)
	cfg.Policy = allowAll
	cfg.Owner = func(local netip.AddrPort) bool {
		asked.Add(1)
		return local == *ours.Load()
	}
	r := start(t, cfg)
	stranger, mine := dialOnly(t, r, "udp", false), dialOnly(t, r, "udp", false)
	at := localOf(mine)
	ours.Store(&at)
	stranger.say(query(t, "a.org", dns.TypeA))
	for range 2 {
		if m := unpack(t, mine.ask(query(t, "a.org", dns.TypeA))); len(m.Answer) != 1 {
			t.Errorf("got %v", m)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the owner of a socket was asked for %d times, want once for each", n)
	}
	_ = stranger.SetReadDeadline(time.Now())
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger is served")
	}
	if got, ok := r.Server(localOf(mine), netip.MustParseAddrPort(mine.RemoteAddr().String())); !ok || got != server {
		t.Errorf("it asks %v, %v; want %v", got, ok, server)
	}
}

func TestClientsBound(t *testing.T) {
	var c clients
	at := func(i int) client {
		return client{false, netip.AddrPortFrom(loopback4, uint16(i))}
	}
	for i := range maxClients + 10 {
		c.expect(at(i), netip.AddrPort{})
		c.server(at(0)) // in use
		c.look(at(1))   // not so
	}
	if len(c.known) != maxClients || c.recent.Len() != maxClients {
		t.Errorf("got %d, %d clients", len(c.known), c.recent.Len())
	}
	for i, want := range map[int]bool{0: true, 1: false, 10: false, 11: true, maxClients + 9: true} {
		if _, ok := c.server(at(i)); ok != want {
			t.Errorf("client %d is known: %v, want %v", i, ok, want)
		}
	}
}

// TestPatientPolicy: a program that repeats its question while people are asked
// is one question, and one answer.
func TestPatientPolicy(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 A 198.51.100.1", "b.org. 60 A 198.51.100.2"))
	cfg := system(server)
	var asked atomic.Int32
	answer := make(chan struct{})
	cfg.Policy = func(_ context.Context, q Query) Decision {
		if q.Name == "a.org" {
			asked.Add(1)
			<-answer
		}
		return Forward
	}
	r := start(t, cfg)
	p := connect(t, r, "udp", server)
	raw := query(t, "a.org", dns.TypeA)
	for range 5 {
		p.say(raw)
	}
	if m := unpack(t, p.ask(query(t, "b.org", dns.TypeA))); m.Question[0].Name != "b.org." {
		t.Errorf("got %v", m)
	}
	eventually(t, "one is left", func() bool { return len(r.slots) == 1 && asked.Load() == 1 })
	close(answer)
	if m := unpack(t, p.hear()); m.Question[0].Name != "a.org." || asked.Load() != 1 {
		t.Errorf("got %v after %d questions", m, asked.Load())
	}
}

func TestTunnel(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 A 198.51.100.1"))
	cfg := system(server)
	cfg.Meter = new(Meter)
	cfg.Policy = func(_ context.Context, q Query) Decision {
		if q.Tunnel != "" {
			return Refuse
		}
		return Forward
	}
	p := connect(t, start(t, cfg), "udp", server)
	for i := range maxDistinct + 20 {
		m := unpack(t, p.ask(query(t, fmt.Sprintf("%d.evil.org", i), dns.TypeA)))
		if (m.Rcode == dns.RcodeRefused) != (i >= maxDistinct) {
			t.Fatalf("%d: got %v", i, m)
		}
	}
	if u := cfg.Meter.Usage("evil.org", time.Now()); u.Queries != maxDistinct || u.Names != maxDistinct {
		t.Errorf("got %+v", u)
	}
	if m := unpack(t, p.ask(query(t, "a.org", dns.TypeA))); m.Rcode != dns.RcodeSuccess {
		t.Errorf("another domain: got %v", m)
	}
}

func TestThousandAtOnce(t *testing.T) {
	var lines []string
	list := addrs(1000)
	for i, a := range list {
		lines = append(lines, fmt.Sprintf("n%d.org. 60 A %s", i, a))
	}
	server := serve(t, "127.0.0.1", zoneFile(t, lines...))
	cfg := system(server)
	r := start(t, cfg)
	var all sync.WaitGroup
	for i := range list {
		p := connect(t, r, "udp", server)
		all.Go(func() {
			raw := query(t, fmt.Sprintf("n%d.org", i), dns.TypeA)
			buf := make([]byte, 512)
			// As libc does: again, when it is lost or there is too much at once.
			for end := time.Now().Add(patience); time.Now().Before(end); {
				_, _ = p.Write(raw)
				_ = p.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				n, err := p.Read(buf)
				if err == nil && bytes.Equal(buf[:2], raw[:2]) && buf[3]&rcodeMask == 0 && n > 20 {
					return
				}
			}
			t.Errorf("n%d.org: no answer", i)
		})
	}
	all.Wait()
	for i, a := range list {
		if got, want := cfg.Map.Names(a, time.Now()), fmt.Sprintf("n%d.org", i); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %s", a, got, want)
		}
	}
}

func TestCloseInTheMiddle(t *testing.T) {
	arrived := make(chan struct{}, 1000)
	server := serve(t, "127.0.0.1", func([]byte, bool, func([]byte)) { arrived <- struct{}{} })
	before := runtime.NumGoroutine()
	for range 3 {
		cfg := system(server)
		ended := make(chan struct{})
		deciding := make(chan struct{})
		cfg.Policy = func(ctx context.Context, q Query) Decision {
			if q.Name == "ask.org" {
				close(deciding)
				<-ctx.Done()
				close(ended)
			}
			return Forward
		}
		r := New(cfg)
		var programs []*program
		for i := range 20 {
			network := []string{"udp", "tcp"}[i%2]
			p := connect(t, r, network, server)
			p.say(query(t, fmt.Sprintf("n%d.org", i), dns.TypeA))
			programs = append(programs, p)
			<-arrived
		}
		dialOnly(t, r, "tcp", false).Close()
		p := connect(t, r, "udp", server)
		p.say(query(t, "ask.org", dns.TypeA))
		<-deciding
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		<-ended
		if len(r.sockets.live) != 0 || len(r.slots) != 0 {
			t.Errorf("%d sockets and %d queries are left", len(r.sockets.live), len(r.slots))
		}
		if _, err := r.Addr("udp", false); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v after Close", err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("a second time: %v", err)
		}
		if _, err := programs[1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("a connection ended with %v", err)
		}
		for _, p := range programs {
			p.Close()
		}
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// TestAddrFor: programs that look where an answer is from see the server's
// address where this machine can have it.
func TestAddrFor(t *testing.T) {
	r := New(Config{})
	defer r.Close()
	for _, c := range []struct{ server, want string }{
		{"127.0.0.53", "127.0.0.53"}, {"127.0.0.1", "127.0.0.1"}, {"::ffff:127.0.0.53", "127.0.0.53"},
		{"192.0.2.1", "127.0.0.1"}, {"2001:db8::1", "::1"}, {"::1", "::1"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			got, err := r.AddrFor(network, netip.MustParseAddr(c.server))
			if err != nil || got.Addr().String() != c.want {
				t.Errorf("%s, %s: got %v, %v; want %s", network, c.server, got, err, c.want)
			}
		}
	}
}

// TestServer: a datagram socket that is connected here asks the server that it was
// led from, and no other socket does.
func TestServer(t *testing.T) {
	r := start(t, Config{})
	server, server6 := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%2]:53")
	udp, udp6, tcp := connect(t, r, "udp", server), connect(t, r, "udp", server6), connect(t, r, "tcp", server)
	stranger := dialOnly(t, r, "udp", false)
	at := func(p *program) netip.AddrPort { return netip.MustParseAddrPort(p.RemoteAddr().String()) }
	mapped := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	for _, c := range []struct {
		name        string
		local, peer netip.AddrPort
		want        netip.AddrPort
	}{
		{"UDP", localOf(udp), at(udp), server},
		{"UDP, mapped", mapped(localOf(udp)), mapped(at(udp)), server},
		{"UDP over IPv6", localOf(udp6), at(udp6), server6},
		{"TCP", localOf(tcp), at(tcp), netip.AddrPort{}},
		{"connected elsewhere", localOf(udp), server, netip.AddrPort{}},
		{"connected to another port", localOf(udp), netip.AddrPortFrom(at(udp).Addr(), at(udp).Port()^1), netip.AddrPort{}},
		{"not led", localOf(stranger), at(stranger), netip.AddrPort{}},
		{"neither", netip.AddrPort{}, netip.AddrPort{}, netip.AddrPort{}},
	} {
		if got, ok := r.Server(c.local, c.peer); got != c.want || ok != c.want.IsValid() {
			t.Errorf("%s: got %v, %v; want %v", c.name, got, ok, c.want)
		}
	}
}

// TestGiven: a resolver serves where it is told to, and nowhere else.
func TestGiven(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 IN A 198.51.100.1"))
	u, l := listen(t, "127.0.0.1")
	cfg := system(server)
	cfg.UDP, cfg.TCP = []*net.UDPConn{u}, []*net.TCPListener{l}
	r := start(t, cfg)
	want := netip.MustParseAddrPort(u.LocalAddr().String())
	for _, network := range []string{"udp", "tcp"} {
		for _, server := range []string{"127.0.0.53", "192.0.2.1"} {
			if at, err := r.AddrFor(network, netip.MustParseAddr(server)); err != nil || at != want {
				t.Errorf("%s to %s is led to %v, %v; want %v", network, server, at, err, want)
			}
		}
		if at, err := r.Addr(network, true); err == nil {
			t.Errorf("%s over IPv6 is led to %v", network, at)
		}
		p := connect(t, r, network, server)
		if m := unpack(t, p.ask(query(t, "a.org", dns.TypeA))); len(m.Answer) != 1 {
			t.Errorf("%s: got %v, want one address", network, m)
		}
	}
	if names := r.cfg.Map.Names(netip.MustParseAddr("198.51.100.1"), time.Now()); len(names) != 1 {
		t.Errorf("learned %v", names)
	}
}

package names

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// patience bounds what has to happen. No test passes because it is over.
const patience = 30 * time.Second

func allowAll(context.Context, Query) Decision { return Forward }

// handler is what a server does with a query: it sends what it likes.
type handler func(query []byte, tcp bool, send func([]byte))

// serve runs a server, on UDP and TCP.
func serve(t testing.TB, ip string, h handler) netip.AddrPort {
	t.Helper()
	u, l := listen(t, ip)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for buf := make([]byte, 65535); ; {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			raw := append([]byte(nil), buf[:n]...)
			go h(raw, false, func(b []byte) { _, _ = u.WriteToUDPAddrPort(b, from) })
		}
	})
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			tasks.Go(func() {
				var mu sync.Mutex
				for in := bufio.NewReader(c); ; {
					raw, err := readMessage(in)
					if err != nil {
						c.Close()
						return
					}
					go h(raw, true, func(b []byte) {
						mu.Lock()
						defer mu.Unlock()
						if b == nil {
							c.Close()
							return
						}
						_ = writeMessage(c, b)
					})
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		u.Close()
		l.Close()
		tasks.Wait()
	})
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}

// listen finds a port that is free for both.
func listen(t testing.TB, ip string) (*net.UDPConn, *net.TCPListener) {
	t.Helper()
	for range 100 {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(ip)})
		if err != nil {
			t.Skipf("no %s here: %v", ip, err)
		}
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return u, l
		}
		l.Close()
	}
	t.Fatal("no port is free")
	return nil, nil
}

// zoneFile answers from records as in a zone file, by name and type, and
// follows aliases.
func zoneFile(t testing.TB, lines ...string) handler {
	t.Helper()
	records := make(map[string][]dns.RR)
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		name := dns.CanonicalName(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	return func(raw []byte, _ bool, send func([]byte)) {
		q := new(dns.Msg)
		if q.Unpack(raw) != nil {
			return
		}
		m := new(dns.Msg).SetReply(q)
		m.Compress = true
		for name, hops := q.Question[0].Name, 0; name != "" && hops < 10; hops++ {
			list := records[dns.CanonicalName(name)]
			name = ""
			for _, rr := range list {
				if c, ok := rr.(*dns.CNAME); ok {
					name = c.Target
				} else if rr.Header().Rrtype != q.Question[0].Qtype {
					continue
				}
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		if b, err := m.Pack(); err == nil {
			send(b)
		}
	}
}

func query(t testing.TB, name string, typ uint16, edit ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), typ)
	for _, e := range edit {
		e(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// system is a configuration in which the servers are the system's.
func system(servers ...netip.AddrPort) Config {
	return Config{Policy: allowAll, Map: new(Map), Upstreams: func() []netip.AddrPort { return servers }}
}

func start(t testing.TB, cfg Config) *Resolver {
	t.Helper()
	r := New(cfg)
	t.Cleanup(func() { r.Close() })
	return r
}

// program is a socket of the jail that was led to the resolver.
type program struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func connect(t testing.TB, r *Resolver, network string, server netip.AddrPort) *program {
	t.Helper()
	p := dialOnly(t, r, network, server.Addr().Is6())
	r.Expect(network, localOf(p), server)
	return p
}

func dialOnly(t testing.TB, r *Resolver, network string, ip6 bool) *program {
	t.Helper()
	to, err := r.Addr(network, ip6)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &program{t: t, Conn: c, in: bufio.NewReader(c)}
}

func localOf(p *program) netip.AddrPort { return netip.MustParseAddrPort(p.LocalAddr().String()) }

func (p *program) tcp() bool { return p.LocalAddr().Network() == "tcp" }

func (p *program) say(raw []byte) {
	p.t.Helper()
	var err error
	if p.tcp() {
		err = writeMessage(p.Conn, raw)
	} else {
		_, err = p.Write(raw)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) hear() []byte {
	p.t.Helper()
	if p.tcp() {
		raw, err := readMessage(p.in)
		if err != nil {
			p.t.Fatal(err)
		}
		return raw
	}
	buf := make([]byte, 65535)
	n, err := p.Read(buf)
	if err != nil {
		p.t.Fatal(err)
	}
	return buf[:n]
}

func (p *program) ask(raw []byte) []byte {
	p.t.Helper()
	p.say(raw)
	return p.hear()
}

func unpack(t testing.TB, raw []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	return m
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func addrs(n int) (list []netip.Addr) {
	for i := range n {
		list = append(list, netip.MustParseAddr(fmt.Sprintf("198.51.%d.%d", i/256, i%256)))
	}
	return list
}

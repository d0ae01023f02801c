package names

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// FuzzPath takes a query and an answer the way they take through a resolver,
// without its sockets. What the library can read whole must be read the same.
func FuzzPath(f *testing.F) {
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeANY} {
		q := query(f, "www.example.org", typ, func(m *dns.Msg) { m.SetEdns0(1232, true) })
		p, err := parseQuery(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q, p.local([]byte{198, 51, 100, 1})[p.question:])
		f.Add(q, loop(q)[p.question:])
		m := new(dns.Msg).SetReply(unpack(f, q))
		for _, s := range []string{
			"www.example.org. 60 CNAME x.cdn.net.", "x.cdn.net. 60 A 198.51.100.1", "x.cdn.net. 60 AAAA 2001:db8::1",
			"x.cdn.net. 60 HTTPS 1 . ipv4hint=198.51.100.1 ipv6hint=2001:db8::1", "www.example.org. 60 A 198.51.100.3",
		} {
			rr, err := dns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		m.Compress = true
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q, b[p.question:])
	}
	f.Fuzz(func(t *testing.T, raw, rest []byte) {
		p, err := parseQuery(raw)
		whole := new(dns.Msg)
		readable := whole.Unpack(raw) == nil
		if err != nil {
			if b := trouble(raw, err); b != nil {
				unpack(t, b)
			}
			if Invalid(raw) != nil {
				t.Error("a query to send instead of none")
			}
			return
		}
		if readable && (len(whole.Question) != 1 || canonical(whole.Question[0].Name) != p.Name) {
			t.Errorf("read %q, the library %v", p.Name, whole.Question)
		}
		var meter Meter
		meter.Over(p.Name, epoch)
		meter.Count(p.Query, epoch)
		if domain := registrable(p.Name); !strings.HasSuffix(p.Name, domain) || domain == "" {
			t.Errorf("%q is registered as %q", p.Name, domain)
		}
		for _, b := range [][]byte{p.blocked(dns.RcodeRefused), p.fail(), p.local([]byte{127, 0, 0, 1})} {
			if !answers(b, p.id(), p.asked()) {
				t.Errorf("%x does not answer %x", b, raw)
			}
		}
		if q, _, err := ParseQuery(Invalid(raw)); err != nil || q.Name != "invalid" || q.Type != dns.TypeA {
			t.Errorf("instead: %+v, %v", q, err)
		}
		special(p, true)

		reply := append(bytes.Clone(p.reply(0)), rest...)
		if len(rest) > 2 {
			binary.BigEndian.PutUint16(reply[6:], uint16(rest[0])%8)
			reply = append(reply[:p.question], rest[1:]...)
		}
		var m Map
		err = m.Record(raw, reply, epoch)
		if len(m.pairs) != len(m.queue) {
			t.Errorf("%d pairs, %d in the queue", len(m.pairs), len(m.queue))
		}
		if err != nil && len(m.pairs) > 0 {
			t.Error("learned from what cannot be read")
		}
		got := new(dns.Msg)
		if got.Unpack(reply) != nil || len(got.Answer) != count(reply, 1) {
			return // it forgives records that are missing; libc does not
		}
		for _, rr := range got.Answer {
			if rr.Header().Rdlength == 0 {
				return // and records that are empty
			}
		}
		if err != nil {
			t.Errorf("%x: %v, but the library reads it", reply, err)
		}
		compare(t, &m, p, got)
	})
}

// compare checks the names of plain addresses against a second, slower way to
// follow the chain.
func compare(t *testing.T, m *Map, p *packet, got *dns.Msg) {
	t.Helper()
	if p.Class != dns.ClassINET && p.Class != dns.ClassANY || p.Type != dns.TypeA && p.Type != dns.TypeAAAA || strings.ContainsRune(p.Name, '\\') {
		return
	}
	on := map[string]bool{p.Name: true}
	next := map[string]string{}
	for _, rr := range got.Answer {
		if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET {
			if owner := canonical(c.Hdr.Name); next[owner] == "" {
				next[owner] = canonical(c.Target)
			}
		}
	}
	for name := next[p.Name]; name != "" && !on[name]; name = next[name] {
		on[name] = true
	}
	want := make(map[netip.Addr]bool)
	for _, rr := range got.Answer {
		if rr.Header().Class != dns.ClassINET || rr.Header().Rrtype != p.Type || !on[canonical(rr.Header().Name)] {
			continue
		}
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if addr = plain(addr); addr.IsValid() && nameable(addr) {
			want[addr] = true
		}
	}
	for addr := range want {
		if names := m.Names(addr, epoch); len(names) != 1 || names[0] != p.Name {
			t.Errorf("%s: got names %q, want %q", addr, names, p.Name)
		}
	}
	if len(m.hosts) != len(want) {
		t.Errorf("got %d addresses, want %d", len(m.hosts), len(want))
	}
}

// FuzzResolver sends queries and answers through a resolver, and then one that
// must be answered.
func FuzzResolver(f *testing.F) {
	q := query(f, "a.org", dns.TypeA)
	p, err := parseQuery(q)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q, p.local([]byte{198, 51, 100, 1}))
	f.Add(q, loop(q))
	f.Add(q[:13], []byte{})
	var says atomic.Pointer[[]byte]
	server := serve(f, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
		if bytes.HasPrefix(q[headerLen:], []byte("\x05after\x04test")) {
			send(good(q, 1))
			return
		}
		answer := bytes.Clone(*says.Load())
		copy(answer, q[:2])
		send(answer)
		send(good(q, 2))
	})
	r := start(f, system(server))
	f.Fuzz(func(t *testing.T, raw, answer []byte) {
		if len(raw) > 2000 || len(answer) > 2000 {
			return
		}
		says.Store(&answer)
		c := connect(t, r, "udp", server)
		defer c.Close()
		if _, err := parseQuery(raw); err == nil {
			c.ask(raw)
		} else {
			c.say(raw)
		}
		after := query(t, "after.test", dns.TypeA)
		for c.say(after); ; {
			if b := c.hear(); bytes.Equal(b[:2], after[:2]) && answers(b, binary.BigEndian.Uint16(after), after[headerLen:]) {
				return
			}
		}
	})
}

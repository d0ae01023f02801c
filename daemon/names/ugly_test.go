package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// good is the answer with one address.
func good(q []byte, last byte) []byte {
	p, err := parseQuery(q)
	if err != nil {
		panic(err)
	}
	return p.local([]byte{198, 51, 100, last})
}

// loop is an answer whose owner is a pointer to itself.
func loop(q []byte) []byte {
	raw := good(q, 66)
	p, _ := parseQuery(q)
	binary.BigEndian.PutUint16(raw[p.question:], 0xc000|uint16(p.question))
	return raw
}

func edited(raw []byte, edit func([]byte)) []byte {
	raw = bytes.Clone(raw)
	edit(raw)
	return raw
}

// TestUgly: servers, and those who would be one, send what they like over UDP.
// The program gets the good answer.
func TestUgly(t *testing.T) {
	tests := map[string]func(q []byte, send func([]byte)){
		"a wrong id first": func(q []byte, send func([]byte)) {
			send(edited(good(q, 66), func(b []byte) { b[0] ^= 1 }))
		},
		"another question first": func(q []byte, send func([]byte)) {
			send(edited(good(q, 66), func(b []byte) { b[13] ^= 1 }))
		},
		"the question itself first": func(q []byte, send func([]byte)) { send(q) },
		"nothing first":             func(q []byte, send func([]byte)) { send([]byte{}) },
		"half a header first":       func(q []byte, send func([]byte)) { send(good(q, 66)[:7]) },
		"a packet from elsewhere first": func(q []byte, send func([]byte)) {
			c, err := net.Dial("udp", "127.0.0.1:9")
			if err == nil {
				_, _ = c.Write(good(q, 66))
				c.Close()
			}
		},
		"twice": func(q []byte, send func([]byte)) { send(good(q, 1)) },
	}
	for name, first := range tests {
		t.Run(name, func(t *testing.T) {
			server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
				first(q, send)
				send(good(q, 1))
			})
			cfg := system(server)
			r := start(t, cfg)
			p := connect(t, r, "udp", server)
			for i := range 20 {
				raw := query(t, fmt.Sprintf("n%d.org", i), dns.TypeA)
				m := unpack(t, p.ask(raw))
				if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "198.51.100.1" || m.Id != binary.BigEndian.Uint16(raw) {
					t.Fatalf("got %v", m)
				}
			}
			if got := cfg.Map.Names(netip.MustParseAddr("198.51.100.66"), time.Now()); got != nil {
				t.Errorf("got names %q", got)
			}
		})
	}
}

// TestUnreadable: an answer whose names cannot be learned is not handed out.
func TestUnreadable(t *testing.T) {
	tests := map[string]func([]byte) []byte{
		"a compression loop": loop,
		"cut off":            func(q []byte) []byte { return good(q, 1)[:len(good(q, 1))-2] },
		"an address of three bytes": func(q []byte) []byte {
			raw := good(q, 1)
			raw[len(raw)-5] = 3
			return raw[:len(raw)-1]
		},
		"fewer records than said": func(q []byte) []byte { return edited(good(q, 1), func(b []byte) { b[6] = 0xff }) },
	}
	for name, f := range tests {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" "+network, func(t *testing.T) {
				server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) { send(f(q)) })
				p := connect(t, start(t, system(server)), network, server)
				if m := unpack(t, p.ask(query(t, "a.org", dns.TypeA))); m.Rcode != dns.RcodeServerFailure {
					t.Errorf("got %v", m)
				}
			})
		}
	}
}

func TestTruncatedThenTCP(t *testing.T) {
	server := serve(t, "127.0.0.1", func(q []byte, tcp bool, send func([]byte)) {
		m := new(dns.Msg)
		_ = m.Unpack(q)
		m.SetReply(m.Copy())
		m.Compress = true
		for i := range 5000 { // more than fits
			rr := &dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}}
			rr.A = net.IPv4(198, 51, byte(i>>8), byte(i))
			if m.Answer = append(m.Answer, rr); 12+len("large.org.")+5+16*len(m.Answer) > 65500 {
				break
			}
		}
		raw, err := m.Pack()
		if err != nil {
			panic(err)
		}
		if !tcp {
			raw = raw[:501] // in the middle of a record
			raw[2] |= flagTC
		}
		send(raw)
	})
	cfg := system(server)
	r := start(t, cfg)
	raw := query(t, "large.org", dns.TypeA)
	short := connect(t, r, "udp", server).ask(raw)
	if len(short) != 501 || short[2]&flagTC == 0 {
		t.Fatalf("got %d bytes, %x", len(short), short[:12])
	}
	long := connect(t, r, "tcp", server).ask(raw)
	if m := unpack(t, long); len(long) < 65000 || m.Truncated {
		t.Errorf("got %d bytes, %v", len(long), m.MsgHdr)
	}
	if got := cfg.Map.Names(netip.MustParseAddr("198.51.3.0"), time.Now()); len(got) != 1 {
		t.Errorf("got names %q", got)
	}
}

// TestLate: an answer comes when others were asked since, or when nobody waits.
func TestLate(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
		if p, _ := parseQuery(q); p.Name == "late.org" {
			<-release
		}
		send(good(q, 1))
	})
	p := connect(t, start(t, system(server)), "udp", server)
	p.say(query(t, "late.org", dns.TypeA))
	for i := range 40 { // more than one socket is used for
		if m := unpack(t, p.ask(query(t, fmt.Sprintf("n%d.org", i), dns.TypeA))); m.Question[0].Name != fmt.Sprintf("n%d.org.", i) {
			t.Fatalf("got %v", m)
		}
	}
	close(release)
	if m := unpack(t, p.hear()); m.Question[0].Name != "late.org." || len(m.Answer) != 1 {
		t.Errorf("got %v", m)
	}
}

// TestSilent: no answer is no answer, and costs nobody else anything.
func TestSilent(t *testing.T) {
	arrived := make(chan struct{}, 1)
	server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
		if p, _ := parseQuery(q); p.Name == "silent.org" {
			arrived <- struct{}{}
			return
		}
		send(good(q, 1))
	})
	cfg := system(server)
	cfg.Timeout = 50 * time.Millisecond
	r := start(t, cfg)
	for _, network := range []string{"udp", "tcp"} {
		p := connect(t, r, network, server)
		p.say(query(t, "silent.org", dns.TypeA))
		<-arrived
		eventually(t, "it is given up", func() bool { return len(r.slots) == 0 })
		done := make(chan struct{})
		go func() {
			defer close(done)
			if m := unpack(t, p.hear()); m.Question[0].Name != "a.org." {
				t.Errorf("%s: got %v", network, m)
			}
		}()
		for again := true; again; { // it may be given up, too, on a busy machine
			p.say(query(t, "a.org", dns.TypeA))
			select {
			case <-done:
				again = false
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// TestNobodyThere: the program learns at once what ICMP says.
func TestNobodyThere(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := netip.MustParseAddrPort(c.LocalAddr().String())
	c.Close()
	r := start(t, system(nobody))
	for _, network := range []string{"udp", "tcp"} {
		p := connect(t, r, network, nobody)
		for range 3 {
			if m := unpack(t, p.ask(query(t, "a.org", dns.TypeA))); m.Rcode != dns.RcodeServerFailure {
				t.Errorf("%s: got %v", network, m)
			}
		}
	}
}

func TestPipelining(t *testing.T) {
	const n = 50
	held := make(chan struct{})
	server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
		p, _ := parseQuery(q)
		if p.Name == "n0.org" {
			<-held
		}
		send(good(q, 1))
		if p.Name == "n1.org" {
			send(good(q, 66)) // twice
		}
	})
	p := connect(t, start(t, system(server)), "tcp", server)
	want := make(map[string]uint16)
	for i := range n {
		raw := query(t, fmt.Sprintf("n%d.org", i), dns.TypeA, func(m *dns.Msg) { m.Id = 7 }) // all the same
		want[fmt.Sprintf("n%d.org.", i)] = 7
		p.say(raw)
	}
	for i := range n {
		if i == n-1 {
			close(held)
		}
		m := unpack(t, p.hear())
		if id, ok := want[m.Question[0].Name]; !ok || m.Id != id {
			t.Fatalf("got %v", m)
		}
		delete(want, m.Question[0].Name)
	}
	if len(want) != 0 {
		t.Errorf("not answered: %v", want)
	}
}

// TestServerHangsUp: a server may close after an answer, or instead of one.
func TestServerHangsUp(t *testing.T) {
	server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
		if p, _ := parseQuery(q); p.Name != "close.org" {
			send(good(q, 1))
		}
		send(nil)
	})
	r := start(t, system(server))
	p := connect(t, r, "tcp", server)
	p.ask(query(t, "a.org", dns.TypeA))
	p = connect(t, r, "tcp", server)
	p.say(query(t, "close.org", dns.TypeA))
	if n, err := p.Read(make([]byte, 1)); err == nil || n != 0 {
		t.Errorf("got %d bytes, %v, want the end", n, err)
	}
}

// TestTransfer: a zone comes in many messages, of which only the first needs to
// repeat the question.
func TestTransfer(t *testing.T) {
	server := serve(t, "127.0.0.1", func(q []byte, _ bool, send func([]byte)) {
		raw := edited(good(q, 1), func(b []byte) { b[7] = 0 })
		send(raw)
		for i := range 5 {
			send(append([]byte{raw[0], raw[1], flagQR, 0, 0, 0, 0, 0, 0, 0, 0, 0}, byte(i)))
		}
	})
	p := connect(t, start(t, system(server)), "tcp", server)
	p.say(query(t, "a.org", dns.TypeAXFR))
	for i := range 6 {
		raw := p.hear()
		if i > 0 && (len(raw) != 13 || raw[12] != byte(i-1)) {
			t.Errorf("message %d is %x", i, raw)
		}
	}
}

func TestMalformed(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t, "a.org. 60 A 198.51.100.1"))
	r := start(t, system(server))
	ok := query(t, "a.org", dns.TypeA)
	for _, network := range []string{"udp", "tcp"} {
		p := connect(t, r, network, server)
		p.say(edited(ok, func(b []byte) { b[2] |= flagQR })) // no answer
		for want, raw := range map[int][]byte{
			dns.RcodeFormatError:    edited(ok, func(b []byte) { b[5] = 2 }),
			dns.RcodeNotImplemented: edited(ok, func(b []byte) { b[2] |= 5 << 3 }),
			dns.RcodeSuccess:        ok,
		} {
			if m := unpack(t, p.ask(raw)); m.Rcode != want || m.Id != binary.BigEndian.Uint16(raw) {
				t.Errorf("%s: got %v, want %d", network, m, want)
			}
		}
	}
	short := connect(t, r, "tcp", server)
	short.say([]byte{1, 2, 3})
	if _, err := short.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("got %v, want the end", err)
	}
}

// TestTooMuch: what is over the limit fails, and the rest does not notice.
func TestTooMuch(t *testing.T) {
	server := serve(t, "127.0.0.1", zoneFile(t))
	cfg := system(server)
	answer := make(chan struct{})
	cfg.Policy = func(context.Context, Query) Decision { <-answer; return NXDomain }
	r := start(t, cfg)
	p := connect(t, r, "udp", server)
	for i := range maxInFlight {
		p.say(query(t, fmt.Sprintf("n%d.org", i), dns.TypeA))
		eventually(t, "it is under way", func() bool { return len(r.slots) == i+1 })
	}
	if m := unpack(t, p.ask(query(t, "more.org", dns.TypeA))); m.Rcode != dns.RcodeServerFailure || m.Question[0].Name != "more.org." {
		t.Errorf("got %v", m)
	}
	close(answer)
	for range maxInFlight {
		if m := unpack(t, p.hear()); m.Rcode != dns.RcodeNameError {
			t.Errorf("got %v", m)
		}
	}
}

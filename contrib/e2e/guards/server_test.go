package guards

import (
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// nameServer serves friend.test and stranger.test at the friend's, and returns a
// function that returns which names it was asked for.
func (w *world) nameServer() func() map[string]int {
	w.t.Helper()
	var mu sync.Mutex
	asked := make(map[string]int)
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		name := q.Question[0].Name
		mu.Lock()
		asked[name]++
		mu.Unlock()
		m := new(dns.Msg).SetReply(q)
		addr, ok := map[string]string{"friend.test.": friend, "stranger.test.": stranger}[name]
		if !ok {
			m.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)}}
		}
		_ = rw.WriteMsg(m)
	})
	w.within(w.far, func() {
		at := netip.MustParseAddrPort(friend + ":53")
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			w.t.Error(err)
			return
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			w.t.Error(err)
			return
		}
		for _, s := range []*dns.Server{{PacketConn: u, Handler: handler}, {Listener: l, Handler: handler}} {
			go func() { _ = s.ActivateAndServe() }()
			w.t.Cleanup(func() { _ = s.Shutdown() })
		}
	})
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(asked)
	}
}

// dialHost reaches a port of the machine's from the far end. pasta opens it a
// second after the program has.
func (w *world) dialHost(port string) {
	w.t.Helper()
	w.within(w.far, func() {
		e2etest.WaitFor(w.t, "the port is reached", func() bool {
			c, err := net.DialTimeout("tcp", net.JoinHostPort("192.0.2.1", port), 5*time.Second)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	})
}

package netns

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Addresses of the two ends of a cable.
const (
	client4, client6 = "10.79.0.1", "fd79::1"
	world4, world6   = "10.79.0.2", "fd79::2"
)

// world is all that is not the machine under test: it counts what arrives, and
// echoes it.
type world struct {
	mu     sync.Mutex
	counts map[string]int
}

func newWorld() *world { return &world{counts: make(map[string]int)} }

func (w *world) do(words []string) string {
	switch words[0] {
	case "serve": // once the addresses are there
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(uint16(unix.ETH_P_ALL>>8|unix.ETH_P_ALL<<8)))
		if err != nil {
			return err.Error()
		}
		go w.count(fd)
		for _, addr := range []string{world4, world6} {
			for _, port := range []string{"80", "81", "82"} {
				if err := listenEcho("tcp", net.JoinHostPort(addr, port)); err != nil {
					return err.Error()
				}
				if err := listenEcho("udp", net.JoinHostPort(addr, port)); err != nil {
					return err.Error()
				}
			}
			if err := listenFlood(net.JoinHostPort(addr, "90")); err != nil {
				return err.Error()
			}
			if err := listenNames(net.JoinHostPort(addr, "53")); err != nil {
				return err.Error()
			}
		}
		return "ok"
	case "count":
		w.mu.Lock()
		defer w.mu.Unlock()
		return fmt.Sprint(w.counts[strings.Join(words[1:], " ")])
	case "ip":
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return err.Error() + " " + string(out)
		}
		return "ok"
	case "dial":
		return dialOnce(words[1], words[2])
	}
	return "what?"
}

// count counts packets by "tcp 10.0.0.1:80".
func (w *world) count(fd int) {
	b := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, "world:", err)
			return
		}
		if sa, ok := from.(*unix.SockaddrLinklayer); ok && sa.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if what := describe(b[:n]); what != "" {
			w.mu.Lock()
			w.counts[what]++
			w.mu.Unlock()
		}
	}
}

func describe(b []byte) string {
	var proto byte
	var addr netip.Addr
	switch {
	case len(b) >= 28 && b[0]>>4 == 4:
		proto, addr = b[9], netip.AddrFrom4([4]byte(b[16:]))
		b = b[int(b[0]&15)*4:]
	case len(b) >= 48 && b[0]>>4 == 6:
		proto, addr = b[6], netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
	default:
		return ""
	}
	name := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[proto]
	switch {
	case name != "":
		return name + " " + netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[2:])).String()
	case proto == unix.IPPROTO_ICMP && b[0] == 8, proto == unix.IPPROTO_ICMPV6 && b[0] == 128:
		return "ping " + addr.String()
	}
	return ""
}

// listenEcho echoes what comes, from now on.
func listenEcho(network, addr string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			return err
		}
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(b)
				if err == nil {
					_, _ = c.WriteTo(b[:n], from)
				}
			}
		}()
		return nil
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return nil
}

// flood is how much who connects to port 90 gets.
const flood = 1 << 30

func listenFlood(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 256<<10)
				for range flood / len(b) {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return nil
}

// listenNames answers every question for an address.
func listenNames(addr string) error {
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(198, 51, 100, 1)}}
		}
		_ = w.WriteMsg(m)
	})
	for _, network := range []string{"udp", "tcp"} {
		ready := make(chan error, 1)
		s := &dns.Server{Addr: addr, Net: network, Handler: answer, NotifyStartedFunc: func() { ready <- nil }}
		go func() { ready <- s.ListenAndServe() }()
		if err := <-ready; err != nil {
			return err
		}
	}
	return nil
}

// brief is how long an answer over a cable of this machine may take. Denied ones
// do not come at all.
const brief = 700 * time.Millisecond

func dialOnce(network, addr string) string {
	c, err := net.DialTimeout(network, addr, brief)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	return echo(c)
}

// echo sends something and waits for it to come back.
func echo(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(brief))
	if _, err := c.Write([]byte("x")); err != nil {
		return err.Error()
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return err.Error()
	}
	return "ok"
}

package interpose

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// echo answers each datagram with itself, n times, and notes who asked.
func echo(t *testing.T, network, addr string, n int) (at netip.AddrPort, clients func() []netip.AddrPort) {
	t.Helper()
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var list []netip.AddrPort
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			got, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			list = append(list, from.(*net.UDPAddr).AddrPort())
			mu.Unlock()
			for i := range n {
				c.WriteTo(fmt.Appendf(nil, "%s %d", buf[:got], i), from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

// TestLeadConnect has a program's connection made to another address than it
// named, and knows by what address it comes there.
func TestLeadConnect(t *testing.T) {
	for _, c := range []struct{ name, family, to, network, listen string }{
		{"IPv4", "AF_INET", "192.0.2.1", "udp4", "127.0.0.1:0"},
		{"IPv6", "AF_INET6", "2001:db8::1", "udp6", "[::1]:0"},
		{"mapped", "AF_INET6", "::ffff:192.0.2.1", "udp4", "127.0.0.1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, clients := echo(t, c.network, c.listen, 1)
			var mu sync.Mutex
			var bound []netip.AddrPort
			p := policy{check: func(call *Call) Verdict {
				if want := netip.AddrPortFrom(netip.MustParseAddr(c.to), 53); call.Addr != want || call.Op != Connect {
					t.Errorf("asked about %v %v, want %v", call.Op, call.Addr, want)
				}
				call.Lead = &Lead{To: at, Bound: func(a netip.AddrPort) {
					mu.Lock()
					defer mu.Unlock()
					bound = append(bound, a)
				}}
				return Allow
			}}
			out, _ := run(t, p, python, "-c", `
import socket, sys
s = socket.socket(getattr(socket, sys.argv[1]), socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[2], 53))
s.send(b"hello")
print(s.recv(100).decode())
`, c.family, c.to)
			if out != "hello 0\n" {
				t.Errorf("the program got %q", out)
			}
			got := clients()
			mu.Lock()
			defer mu.Unlock()
			if len(got) != 1 || len(bound) != 1 || unmapped(bound[0]) != unmapped(got[0]) {
				t.Errorf("clients %v, told of %v", got, bound)
			}
		})
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// TestLeadSend looks at datagrams, changes one, and sees the replies to them,
// which the program gets nevertheless.
func TestLeadSend(t *testing.T) {
	at, _ := echo(t, "udp4", "127.0.0.1:0", 2)
	liar, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer liar.Close()
	var mu sync.Mutex
	var seen, replies []string
	p := policy{check: func(c *Call) Verdict {
		if c.Op == Send {
			return Wait
		}
		return Allow
	}, decide: func(_ context.Context, c *Call) Verdict {
		b, err := c.Datagram()
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if seen = append(seen, string(b)); len(seen) == 1 {
			// Somebody else is quicker than the server, and tells the program.
			if _, err := liar.WriteTo([]byte("first lie"), boundTo(t, c)); err != nil {
				t.Error(err)
			}
		}
		if string(b) == "change me" {
			c.SetDatagram([]byte("changed"))
		}
		left := 2
		c.Lead = &Lead{Wait: 10 * time.Second, Reply: func(b []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			if len(seen) > 1 && strings.HasPrefix(string(b), "first") {
				return false // still there
			}
			replies = append(replies, string(b))
			left--
			return left == 0
		}}
		return Allow
	}}
	out, _ := run(t, p, python, "-c", `
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.bind(("127.0.0.1", 0))
to = (host, int(port))
print(s.sendto(b"first", to))
print(s.sendmsg([b"change", b" me"], [], 0, to))
for _ in range(5):
    print(s.recv(100).decode())
print(s.getsockopt(socket.SOL_SOCKET, 42))
`, at.String())
	want := "5\n9\nfirst lie\nfirst 0\nfirst 1\nchanged 0\nchanged 1\n-1\n"
	if out != want {
		t.Errorf("the program got %q, want %q", out, want)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, ","); got != "first,change me" {
		t.Errorf("saw %q", got)
	}
	if got := strings.Join(replies, ","); got != "first 0,first 1,changed 0,changed 1" {
		t.Errorf("replies %q", got)
	}
}

// boundTo returns the address of a Send's socket.
func boundTo(t *testing.T, c *Call) net.Addr {
	t.Helper()
	a, errno := c.datagram.k.socket.localAddr()
	if errno != 0 {
		t.Fatal(errno)
	}
	return net.UDPAddrFromAddrPort(a)
}

// TestLeadSendNoReply: the call ends when no reply comes.
func TestLeadSendNoReply(t *testing.T) {
	at, clients := echo(t, "udp4", "127.0.0.1:0", 0)
	p := policy{check: func(*Call) Verdict { return Wait }, decide: func(_ context.Context, c *Call) Verdict {
		c.Lead = &Lead{Wait: 100 * time.Millisecond, Reply: func([]byte) bool { t.Error("a reply"); return true }}
		return Allow
	}}
	out, _ := run(t, p, python, "-c", `
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(s.sendto(b"first", (host, int(port))))
`, at.String())
	if out != "5\n" {
		t.Errorf("the program got %q", out)
	}
	waitUntil(t, "the datagram", func() bool { return len(clients()) == 1 })
}

package interpose

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// bursts sends many messages at once to the addresses in $NETJAIL_VICTIM_TO.
func bursts() {
	s := &script{}
	fd := s.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	var list []*unix.Msghdr
	for i, to := range strings.Fields(os.Getenv("NETJAIL_VICTIM_TO")) {
		list = append(list, msghdr(fmt.Sprintf("message %d", i), sa4(to)))
	}
	s.sendmmsg("bursts", fd, list, len(list))
}

// TestBurst: messages to one address are one question, and those to another are
// another one.
func TestBurst(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	receivers, to := [2]net.PacketConn{}, [2]string{}
	for i := range receivers {
		if receivers[i], err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		defer receivers[i].Close()
		to[i] = receivers[i].LocalAddr().String()
	}
	many := func(n int, to string) string { return strings.Repeat(to+" ", n) }
	t.Setenv("NETJAIL_VICTIM", "bursts")
	for _, tc := range []struct {
		name, to string
		allow    int // how many questions
		sent     string
		asked    int32
	}{
		{"one address", many(10, to[0]), 1, "10", 1},
		{"more than fit", many(130, to[0]), 3, "130", 3},
		{"the second denied", many(10, to[0]) + many(3, to[1]) + many(2, to[0]), 1, "10", 2},
		{"the first denied", many(10, to[0]) + many(3, to[1]), 0, "EACCES", 1},
		{"in turns", strings.Repeat(to[0]+" "+to[1]+" ", 4), 8, "8", 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("NETJAIL_VICTIM_TO", tc.to)
			var asked atomic.Int32
			out, ws := run(t, policy{check: func(c *Call) Verdict {
				if n := int(asked.Add(1)); n > tc.allow {
					return Deny
				}
				return Allow
			}}, self)
			got, _, _ := strings.Cut(strings.TrimPrefix(out, "sendmmsg bursts: "), "\n")
			if ws.ExitStatus() != 0 || got != tc.sent || asked.Load() != tc.asked {
				t.Errorf("status %d, %s sent, %d questions; want %s, %d\n%s", ws.ExitStatus(), got, asked.Load(), tc.sent, tc.asked, out)
			}
		})
	}
	buf := make([]byte, 100)
	n, from, err := receivers[0].ReadFrom(buf)
	if err != nil || string(buf[:n]) != "message 0" || !netip.MustParseAddrPort(from.String()).Addr().IsLoopback() {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

// TestBurstIsLookedAt: where the policy looks into a datagram, that one is sent
// alone, as it was seen.
func TestBurstIsLookedAt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	t.Setenv("NETJAIL_VICTIM", "bursts")
	t.Setenv("NETJAIL_VICTIM_TO", strings.Repeat(receiver.LocalAddr().String()+" ", 5))
	var seen []string
	out, ws := run(t, policy{check: func(c *Call) Verdict {
		b, err := c.Datagram()
		if err != nil {
			return Deny
		}
		seen = append(seen, string(b))
		c.SetDatagram([]byte("not " + string(b)))
		return Allow
	}}, self)
	if ws.ExitStatus() != 0 || !strings.HasPrefix(out, "sendmmsg bursts: 5\n") || len(seen) != 5 {
		t.Errorf("status %d, %s, seen %q", ws.ExitStatus(), out, seen)
	}
	buf := make([]byte, 100)
	for i := range 5 {
		n, _, err := receiver.ReadFrom(buf)
		if want := fmt.Sprintf("not message %d", i); err != nil || string(buf[:n]) != want {
			t.Errorf("got %q, %v, want %q", buf[:n], err, want)
		}
	}
}

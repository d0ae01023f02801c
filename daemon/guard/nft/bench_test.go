package nft

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/netjail/netjail/daemon/guard/cgroup"
)

// BenchmarkPacket sends a datagram over loopback, out and in, from a jail and
// from outside, with tables that grow, and with jails that are led elsewhere. Without any table it is not tracked
// either.
func BenchmarkPacket(b *testing.B) {
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	send := func(b *testing.B) {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		x := make([]byte, 64)
		for b.Loop() {
			if _, err := c.Write(x); err != nil {
				b.Fatal(err)
			}
		}
	}
	nft := func(text string) {
		if out, err := exec.Command("nft", text).CombinedOutput(); err != nil {
			b.Fatalf("nft %s: %v %s", text, err, out)
		}
	}
	b.Run("no table", send)
	nft("table inet bench { chain o { type filter hook output priority 0; ct state invalid drop; }; }")
	b.Run("tracking alone", send)
	nft("delete table inet bench")

	tree, err := cgroup.Find()
	if err != nil {
		b.Fatal(err)
	}
	g, err := tree.Make("/", fmt.Sprintf("njbench-%d", os.Getpid()))
	if err != nil {
		b.Fatal(err)
	}
	home, err := tree.Of(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { do(b, g.Release(tree, map[int]string{os.Getpid(): home})) }()
	for _, size := range []struct{ jails, elements int }{{1, 1}, {64, 10_000}} {
		name := fmt.Sprintf("%d jails, %d elements", size.jails, size.elements)
		tbl := open(b)
		var jails []Jail
		for i := range size.jails {
			j := Jail{ID: fmt.Sprintf("%02x", i), Cgroup: 1<<40 + uint64(i), Level: g.Level}
			if i == 0 {
				j.Cgroup = g.ID
			}
			jails = append(jails, j)
			do(b, tbl.Add(j))
			many := []Dest{{Network: UDP, Addr: to.Addr(), Port: to.Port()}}
			for addr := netip.MustParseAddr("10.0.0.0"); len(many) < size.elements; addr = addr.Next() {
				many = append(many, Dest{Network: TCP, Addr: addr, Port: 443})
			}
			do(b, tbl.Allow(j, many))
		}
		b.Run(name+", outside", send)
		do(b, g.Take(os.Getpid()))
		b.Run(name+", inside", send)
		for _, j := range jails {
			do(b, tbl.Lead(j, leadTo("127.0.0.1:5300", "192.0.2.53:53", "192.0.2.54:53")))
		}
		b.Run(name+", inside, led", send)
		do(b, g.Release(tree, map[int]string{os.Getpid(): home}))
		b.Run(name+", outside, led", send)
		if g, err = tree.Make("/", fmt.Sprintf("njbench-%d", os.Getpid())); err != nil {
			b.Fatal(err)
		}
		do(b, tbl.Reset(nil), tbl.Close())
		nft("flush ruleset")
	}
}

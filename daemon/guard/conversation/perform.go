package conversation

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// Jail is who a conversation is about, and the table that it is in.
type Jail struct {
	nft.Jail
	User  int
	Table *nft.Table
	Log   *slog.Logger
}

// Perform does what a request says of what a jail may do, and returns how many
// connections that ended.
func (j *Jail) Perform(r *client.Request) (int, error) {
	if r.Op == client.OpLead {
		l, err := leadOf(r, j.User)
		if err != nil {
			return 0, err
		}
		return 0, j.Table.Lead(j.Jail, *l)
	}
	local := r.Op == client.OpListen || r.Op == client.OpUnlisten
	dests, err := destsOf(r, local)
	if err != nil {
		return 0, err
	}
	switch r.Op {
	case client.OpAllow:
		return 0, j.Table.Allow(j.Jail, dests)
	case client.OpForget:
		return 0, j.Table.Forget(j.Jail, dests)
	case client.OpListen:
		return 0, j.Table.Listen(j.Jail, dests)
	case client.OpDeny:
		// What is open is ended while the packet that tells the other end is let
		// through, and once more what had begun meanwhile.
		remote := func(k nft.Socket) netip.AddrPort { return k.Remote }
		if err := j.Table.Forget(j.Jail, dests); err != nil {
			return 0, err
		}
		n := j.end(dests, remote)
		if err := j.Table.Deny(j.Jail, dests); err != nil {
			return n, err
		}
		return n + j.end(dests, remote), nil
	case client.OpUnlisten:
		local := func(k nft.Socket) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, k.Local.Port()) }
		n := j.end(dests, local)
		if err := j.Table.Unlisten(j.Jail, dests); err != nil {
			return n, err
		}
		return n + j.end(dests, local), nil
	}
	return 0, fmt.Errorf("there is no request %q", r.Op)
}

// end ends connections. The kernel lets nothing through that they send already:
// this tells their programs.
func (j *Jail) end(dests []nft.Dest, side func(nft.Socket) netip.AddrPort) int {
	type key struct {
		network uint8
		at      netip.AddrPort
	}
	keys := make(map[key]bool)
	for _, d := range dests {
		keys[key{d.Network, netip.AddrPortFrom(d.Addr, d.Port)}] = true
	}
	n, err := nft.Destroy(j.Cgroup, func(k nft.Socket) bool {
		at := side(k)
		return keys[key{k.Network, netip.AddrPortFrom(at.Addr().WithZone(""), at.Port())}]
	})
	if err != nil {
		j.Log.Warn("end connections", "jail", j.ID, "error", err)
	}
	return n
}

// destsOf reads a request's destinations.
func destsOf(r *client.Request, local bool) ([]nft.Dest, error) {
	if len(r.Dests) == 0 || len(r.Dests) > client.MaxDests {
		return nil, fmt.Errorf("%d destinations; 1 to %d make a request", len(r.Dests), client.MaxDests)
	}
	list := make([]nft.Dest, len(r.Dests))
	for i, in := range r.Dests {
		addr := in.Addr.Unmap()
		d := nft.Dest{Network: networkOf(in.Proto, addr), Addr: addr, Port: in.Port}
		if in.Timeout < 0 || in.Timeout > int64(maxTimeout/time.Millisecond) || in.Timeout != 0 && r.Op != client.OpAllow && r.Op != client.OpListen {
			return nil, fmt.Errorf("a timeout of %d ms makes no sense", in.Timeout)
		}
		d.Timeout = time.Duration(in.Timeout) * time.Millisecond
		if err := d.Check(local); err != nil {
			return nil, err
		}
		list[i] = d
	}
	return list, nil
}

// leadOf reads a request to lead a user's program.
func leadOf(r *client.Request, user int) (*nft.Lead, error) {
	unmap := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
	l := &nft.Lead{User: uint32(user), To: unmap(r.To)}
	for _, s := range r.Servers {
		l.Servers = append(l.Servers, unmap(s))
	}
	return l, l.Check()
}

// maxTimeout is the longest that is allowed for: what is longer has none.
const maxTimeout = 365 * 24 * time.Hour

func networkOf(proto string, addr netip.Addr) uint8 {
	switch {
	case proto == "tcp":
		return nft.TCP
	case proto == "udp":
		return nft.UDP
	case proto == "icmp" && addr.Is6():
		return nft.ICMPv6
	case proto == "icmp":
		return nft.ICMP
	}
	return 0
}

func protoOf(network uint8) string {
	switch network {
	case nft.TCP:
		return "tcp"
	case nft.UDP:
		return "udp"
	}
	return "icmp"
}

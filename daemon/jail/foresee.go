package jail

import (
	"net/netip"
	"slices"

	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

// Bounds of what is foreseen: rules may name thousands of ports and addresses.
const (
	maxForeseenPorts = 64  // of all rules
	maxForeseenAddrs = 256 // at once
)

// port is one that a rule allows to be sent to.
type port struct {
	proto  rules.Proto
	number uint16
}

// foreseen returns what messages may go to that no call was seen of: where a rule
// allows them at single ports. That of ICMP is none.
func (f *force) foreseen() (ports []port, addrs []netip.Addr) {
	add := func(p port) {
		if len(ports) < maxForeseenPorts && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	for i := range f.all {
		r := &f.all[i]
		d := &r.Dest
		if r.Verdict != rules.Allow || d.Listen || d.Host.Kind == rules.HostUnix || r.Disabled || d.Proto == rules.TCP {
			continue
		}
		if d.Proto == rules.ICMP || d.Proto == rules.AnyProto && d.Ports.All() {
			add(port{proto: rules.ICMP})
		}
		if d.Host.Kind == rules.HostAddr && len(addrs) < maxForeseenAddrs {
			addrs = append(addrs, d.Host.Addr)
		}
		if d.Proto == rules.ICMP || d.Ports.Count() > maxForeseenPorts {
			continue
		}
		for _, span := range d.Ports.Ranges() {
			for n := int(span.First); n <= int(span.Last); n++ {
				add(port{rules.UDP, uint16(n)})
			}
		}
	}
	return ports, addrs
}

// foresee has the guard let through what messages to addresses may be, so that the
// first one arrives as well: what is dropped is lost to a program that sends only
// once. TCP needs no foresight, each connection is seen.
func (g *gate) foresee(addrs ...netip.Addr) error {
	if g == nil || len(addrs) == 0 {
		return nil
	}
	p := g.s.policy
	f := p.inForce.Load()
	ports, _ := f.foreseen()
	for _, a := range addrs[:min(len(addrs), maxForeseenAddrs)] {
		for _, to := range ports {
			r := p.requestTo(hole{false, to.proto, netip.AddrPortFrom(a, to.number)})
			v, why := p.decide(f, new(interpose.Call), &r)
			if v != interpose.Allow || why.by == nil {
				continue
			}
			if err := g.let(&r, &why); err != nil {
				return err
			}
		}
	}
	return nil
}

// renew foresees what the rules in force name by address, from now on: what was
// foreseen runs out.
func (g *gate) renew() error {
	_, addrs := g.s.policy.inForce.Load().foreseen()
	return g.foresee(addrs...)
}

// renewEvery is when, before it has run out.
const renewEvery = openFor * 2 / 3

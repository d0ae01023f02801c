package jail

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// replyWait is how long a program that sends a query from a socket that is not
// connected is held for the reply, so that its names are known before it goes
// on. Servers take longer than that where something is wrong.
const replyWait = 2 * time.Second

// dns is what a jail knows of names. What a program would send to a name server
// goes through the resolver, where its lookups are decided about.
type dns struct {
	config   names.Config
	resolver *names.Resolver
	known    *names.Map
	meter    *names.Meter
	hosts    func(netip.Addr) []string
	servers  func() []netip.AddrPort // the system's
}

func newDNS(p *policy) dns {
	d := dns{known: new(names.Map), meter: new(names.Meter), hosts: names.Hosts("/etc/hosts"), servers: names.Servers("/etc/resolv.conf")}
	d.config = names.Config{
		Policy: p.lookup, Map: d.known, Meter: d.meter, Upstreams: d.servers, Trusted: p.believes, Found: p.found,
		Learned: func(addrs []netip.Addr) { p.gate.report(p.gate.foresee(addrs...)) },
		Owner:   func(local netip.AddrPort) bool { return p.gate.owns("udp", local) },
	}
	d.resolver = names.New(d.config)
	return d
}

// serveAt has names looked up at sockets in another network namespace. Nobody has
// looked one up yet.
func (d *dns) serveAt(udp []*net.UDPConn, tcp []*net.TCPListener) {
	cfg := d.config
	cfg.UDP, cfg.TCP = udp, tcp
	d.resolver = names.New(cfg)
}

// of returns the names of an address, and how many of them, from the first, are
// this machine's own.
func (d *dns) of(a netip.Addr) (list []string, own int) {
	list = d.hosts(a)
	learned := d.known.Names(a, time.Now())
	if len(learned) == 0 {
		return list, len(list)
	}
	own = len(list)
	list = slices.Clone(list)
	for _, name := range learned {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list, own
}

// ever returns the names by which a connection to an address may have been
// decided about, as of does: those that have ceased to count are among them as
// long as a connection uses the address.
func (d *dns) ever(a netip.Addr) (list []string, own int) {
	list = slices.Clone(d.hosts(a))
	own = len(list)
	for _, n := range d.known.Known(a, time.Now()) {
		if !n.Alias && !slices.Contains(list, n.Name) {
			list = append(list, n.Name)
		}
	}
	return list, own
}

// aliases returns the names that lead to an address and that nobody asked for.
func (d *dns) aliases(a netip.Addr) (list []string) {
	for _, n := range d.known.Known(a, time.Now()) {
		if n.Alias && n.Live {
			list = append(list, n.Name)
		}
	}
	return list
}

// maxShown is how many names of an address people are shown.
const maxShown = 3

// shown returns names of an address for people: those by which it was looked up
// first, the latest first, whether or not they still count. What JSON makes
// six times as long is no host's name.
func (d *dns) shown(a netip.Addr) []string {
	var list []string
	add := func(name string) {
		if len(list) < maxShown && !slices.Contains(list, name) && !strings.ContainsAny(name, "<>&") {
			list = append(list, name)
		}
	}
	for _, n := range d.known.Known(a, time.Now()) {
		if !n.Alias {
			add(n.Name)
		}
	}
	for _, name := range d.hosts(a) {
		add(name)
	}
	return list
}

// system says whether a server is one that this machine is configured with: a
// jail may ask it, name by name.
func (p *policy) system(server netip.AddrPort) bool {
	return slices.Contains(p.dns.servers(), server)
}

// believes says whether names are learned from a server: from the system's, and
// from one that a rule names and that no program in the jail can be.
func (p *policy) believes(server netip.AddrPort) bool {
	if p.system(server) {
		return true
	}
	f := p.inForce.Load()
	if f == nil || rules.ClassOf(server.Addr()) == rules.Localhost {
		return false
	}
	r := rules.Request{App: p.cfg.App, Op: rules.Connect, Proto: rules.UDP, Addr: server}
	d := f.Set.Decide(&r, time.Now())
	return d.Verdict == rules.Allow && d.Rule.Dest.Host.Kind == rules.HostAddr
}

// leadConnect has a connection to a name server made to the resolver.
func (p *policy) leadConnect(c *interpose.Call) interpose.Verdict {
	network := "udp"
	if c.Network == interpose.TCP {
		network = "tcp"
	}
	to, err := p.dns.resolver.AddrFor(network, c.Addr.Addr())
	if err != nil {
		p.say(fmt.Sprintf("netjail: error: %v: %s cannot look names up", err, p.cfg.App))
		return interpose.Deny
	}
	server := c.Addr
	c.Lead = &interpose.Lead{To: to, Bound: func(local netip.AddrPort) { p.dns.resolver.Expect(network, local, server) }}
	return interpose.Allow
}

// leadSend decides about a query that goes to a server without passing the
// resolver: from a socket that is not connected, the program takes replies of
// the server only. One that is refused is sent all the same, with a name that
// no server knows in place of the one that was asked for.
func (p *policy) leadSend(ctx context.Context, c *interpose.Call, query []byte) interpose.Verdict {
	q, _, err := names.ParseQuery(query)
	if err != nil {
		return interpose.Deny
	}
	if names.Special(q.Name) {
		c.SetDatagram(names.Invalid(query))
		return interpose.Allow
	}
	q.Server = c.Addr
	now := time.Now()
	q.Tunnel, _ = p.dns.meter.Over(q.Name, now)
	if p.lookup(ctx, q) != names.Forward {
		c.SetDatagram(names.Invalid(query))
		return interpose.Allow
	}
	p.dns.meter.Count(q, now)
	if p.believes(rules.Canonical(c.Addr)) {
		c.Lead = &interpose.Lead{Wait: replyWait, Reply: func(reply []byte) bool {
			if p.dns.known.Record(query, reply, time.Now()) != nil {
				return false
			}
			if names.Found(reply) {
				p.found(q)
			}
			return true
		}}
	}
	return interpose.Allow
}

// lookup decides about a name before any address is known. Names that nobody
// has decided about are looked up where the connection that follows can be
// asked about, or may be allowed by its address.
func (p *policy) lookup(ctx context.Context, q names.Query) names.Decision {
	f := p.inForce.Load()
	if f == nil {
		return names.Refuse
	}
	d, addressed := f.Lookup(p.cfg.App, q.Name, time.Now())
	dest := rules.Destination{Host: rules.Host{Kind: rules.HostName, Name: q.Name}}
	switch {
	case d.Verdict == rules.Allow:
		return names.Forward
	case d.Verdict == rules.Deny:
		p.reportLookup(ctx, dest, grounds{why: d.Why, by: d.Rule})
		if d.Rule != nil && d.Rule.Refuse {
			return names.Refuse
		}
		return names.NXDomain
	}
	switch {
	case q.Tunnel != "":
		return p.askTunnel(ctx, q)
	case p.cfg.Ask || p.cfg.Monitor || addressed:
		return names.Forward
	}
	p.reportLookup(ctx, dest, grounds{why: whyUnasked, nobody: true})
	return names.NXDomain
}

// askTunnel asks whether a program may go on to ask one domain for ever more
// names: what it asks for can carry data to whoever serves the domain.
func (p *policy) askTunnel(ctx context.Context, q names.Query) names.Decision {
	dest := rules.Destination{Host: rules.Host{Kind: rules.HostSuffix, Name: q.Tunnel, Apex: true}}
	if q.Tunnel == "." {
		dest.Host = rules.Host{Kind: rules.HostName, Name: q.Name}
	}
	u := p.dns.meter.Usage(q.Name, time.Now())
	why := fmt.Sprintf("%d names with %d bytes were looked up below it within minutes, which can carry data out", u.Names, u.Bytes)
	switch {
	case p.cfg.Monitor:
		if p.tells() {
			p.tell(ctx, "look up", dest, why)
		}
		return names.Forward
	case !p.cfg.Ask:
		p.reportLookup(ctx, dest, grounds{why: why})
		return names.Refuse
	}
	a, err := p.link.ask(ctx, notifier.Question{Op: rules.Connect, Dest: dest, Note: why})
	if err == nil && a.Verdict == rules.Allow {
		return names.Forward
	}
	p.reportLookup(ctx, dest, grounds{why: why, asked: true})
	return names.Refuse
}

// found takes note of a name that there is something about.
func (p *policy) found(q names.Query) {
	if p.cfg.Seen != nil && !reverse(q.Name) {
		p.cfg.Seen.found(q.Name, time.Now())
	}
}

// reverse says whether a name is one of an address.
func reverse(name string) bool { return strings.HasSuffix(name, ".arpa") }

// reportLookup tells of a name that is not looked up. Nobody wants to hear of
// the names of addresses, which programs look up for the looks of it.
func (p *policy) reportLookup(ctx context.Context, dest rules.Destination, why grounds) {
	if !reverse(dest.Host.Name) {
		p.deeds.noteLookup(dest, why)
		p.report(ctx, "look up", dest, why)
	}
}

// interfaceName returns the name of the interface with an index, or the index.
func interfaceName(index string) string {
	i, err := strconv.Atoi(index)
	if err != nil {
		return index
	}
	ifi, err := net.InterfaceByIndex(i)
	if err != nil {
		return index
	}
	return ifi.Name
}

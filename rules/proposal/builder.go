package proposal

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/netjail/netjail/rules"
)

// entry is a rule in the making.
type entry struct {
	dest  rules.Destination
	local bool
	evidence
}

// place is a host that something was done with.
type place struct {
	host   rules.Host
	listen bool
	local  bool // by a public name that leads to this machine or its networks
}

// use is how a place was used with one protocol.
type use struct {
	ports []uint16 // 0: all
	evidence
}

// builder collects what rules are made from.
type builder struct {
	places map[place]map[rules.Proto]*use
}

// gathered joins what is about the same destination, and gives every one the
// names of its address that were seen with any: which of them comes first may be
// otherwise the next time. What no rule can be narrow enough for is left out: the
// port 0 of an outgoing call would stand for every port.
func (s *Sight) gathered() []Observation {
	type key struct {
		op    rules.Op
		proto rules.Proto
		addr  netip.AddrPort
		unix  string
	}
	byKey := make(map[key]*Observation)
	var keys []key
	names := make(map[netip.Addr]*Observation)
	for i := range s.Seen {
		o := s.Seen[i]
		if o.Op > rules.Listen || o.Unix == "" && o.Op != rules.Listen && o.Proto != rules.ICMP && o.Addr.Port() == 0 {
			continue
		}
		if o.Op != rules.Listen && o.Unix == "" {
			of := names[o.Addr.Addr()]
			if of == nil {
				of = new(Observation)
				names[o.Addr.Addr()] = of
			}
			of.name(o.Names, o.Own)
		}
		o.Bare = o.Bare || len(o.Names) == 0
		k := key{o.Op, o.Proto, o.Addr, o.Unix}
		if had := byKey[k]; had != nil {
			when := period{had.First, had.Last}
			when.extend(o.First, o.Last)
			had.First, had.Last = when.first, when.last
			had.Programs, had.Count = union(slices.Clip(had.Programs), o.Programs), had.Count+o.Count
			had.Self, had.Bare = had.Self || o.Self, had.Bare || o.Bare
			continue
		}
		byKey[k] = &o
		keys = append(keys, k)
	}
	var list []Observation
	for _, k := range keys {
		o := byKey[k]
		if of := names[o.Addr.Addr()]; of != nil && o.Op != rules.Listen && o.Unix == "" {
			o.Names, o.Own = of.Names, of.Own
		}
		list = append(list, *o)
	}
	return list
}

// name adds names, the machine's own before the others.
func (o *Observation) name(list []string, own int) {
	for i, name := range list {
		at := slices.Index(o.Names, name)
		switch {
		case at >= 0 && (at < o.Own || i >= own):
			continue
		case at >= 0:
			o.Names = slices.Delete(o.Names, at, at+1)
		}
		if i < own {
			o.Names = slices.Insert(o.Names, o.Own, name)
			o.Own++
		} else {
			o.Names = append(o.Names, name)
		}
	}
}

// add notes what rules an observation needs: of each name of the address, as
// each has to be allowed, or of the address where a name cannot be.
func (b *builder) add(app string, o *Observation, now time.Time) {
	r := o.request(app)
	if o.Unix != "" {
		b.put(place{host: r.Destination().Host}, rules.AnyProto, 0, evidence{seen: []*Observation{o}})
		return
	}
	here := rules.ClassOf(o.Addr.Addr()) == rules.Localhost
	byAddress := o.Bare
	for i, name := range r.Names {
		if here && i < r.Own {
			byAddress = true // localhost is 127.0.0.1 to people
			continue
		}
		one := r
		one.Names, one.Own = []string{name}, min(1, max(0, r.Own-i))
		p, ok := namedPlace(app, &one, now)
		if !ok {
			byAddress = true
			continue
		}
		e := evidence{seen: []*Observation{o}}
		if p.local {
			e.at = append(e.at, o.Addr.Addr().String())
		}
		b.put(p, o.Proto, port(&r), e)
	}
	if byAddress {
		e := evidence{seen: []*Observation{o}}
		e.unnamed = o.Bare && !here && o.Op != rules.Listen
		e.passing = (here || o.Op == rules.Listen) && o.Addr.Port() >= firstPassing
		b.put(place{host: r.Destination().Host, listen: o.Op == rules.Listen}, o.Proto, port(&r), e)
	}
}

// port is what of a request's port a rule says.
func port(r *rules.Request) uint16 {
	if r.Proto == rules.ICMP {
		return 0
	}
	return r.Addr.Port()
}

// namedPlace returns the place that a request is for by its only name. ok is
// false if no rule about the name allows it.
func namedPlace(app string, r *rules.Request, now time.Time) (p place, ok bool) {
	h, err := rules.ParseHost(r.Names[0])
	if err != nil || h.Kind != rules.HostName {
		return p, false
	}
	d := r.Destination()
	d.Host = h
	for _, local := range []bool{false, true} {
		set := rules.NewSet([]rules.Rule{{App: app, Verdict: rules.Allow, Dest: d, Local: local}})
		if set.Decide(r, now).Verdict == rules.Allow {
			return place{host: h, local: local}, true
		}
	}
	return p, false
}

func (b *builder) put(p place, proto rules.Proto, port uint16, e evidence) {
	if b.places == nil {
		b.places = make(map[place]map[rules.Proto]*use)
	}
	if b.places[p] == nil {
		b.places[p] = make(map[rules.Proto]*use)
	}
	u := b.places[p][proto]
	if u == nil {
		u = &use{evidence: e}
		b.places[p][proto] = u
	} else {
		u.join(e)
	}
	if !slices.Contains(u.ports, port) {
		u.ports = append(u.ports, port)
	}
}

// entries returns one entry for each place and protocol, or for both of TCP and
// UDP where they were used alike.
func (b *builder) entries() (list []entry) {
	for p, uses := range b.places {
		if p.local {
			b.overrule(p, uses)
		}
	}
	for p, uses := range b.places {
		tcp, udp := uses[rules.TCP], uses[rules.UDP]
		if tcp != nil && udp != nil && tcp.set() == udp.set() && !tcp.set().All() {
			tcp.join(udp.evidence)
			uses[rules.AnyProto] = tcp
			delete(uses, rules.TCP)
			delete(uses, rules.UDP)
		}
		for proto, u := range uses {
			if len(u.ports) == 0 {
				continue
			}
			d := rules.Destination{Listen: p.listen, Proto: proto, Host: p.host, Ports: u.set()}
			list = append(list, entry{d, p.local, u.evidence})
		}
	}
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(order(rules.Rule{Dest: a.dest}, rules.Rule{Dest: b.dest}), cmp.Compare(flag(a.local), flag(b.local)))
	})
	return list
}

// overrule leaves out what a rule that covers a name on this machine's networks
// covers elsewhere, too.
func (b *builder) overrule(local place, uses map[rules.Proto]*use) {
	p := local
	p.local = false
	for proto, u := range b.places[p] {
		over := uses[proto]
		if over == nil {
			continue
		}
		before := len(u.ports)
		u.ports = slices.DeleteFunc(u.ports, func(port uint16) bool { return slices.Contains(over.ports, port) })
		if len(u.ports) < before {
			over.join(u.evidence)
		}
	}
}

// set is the ports as rules have them.
func (u *use) set() rules.Ports {
	if slices.Contains(u.ports, 0) {
		return rules.Ports{}
	}
	var ranges []rules.PortRange
	for _, port := range u.ports {
		ranges = append(ranges, rules.PortRange{First: port, Last: port})
	}
	set, _ := rules.NewPorts(ranges...) // fails for port 0 only
	return set
}

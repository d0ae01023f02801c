package rules

import (
	"net/netip"
	"time"
)

// lookup is one Decide at work. It stays on the stack.
type lookup struct {
	r      *Request
	now    time.Time
	addr   netip.Addr // canonical
	bare   netip.Addr // addr without its zone
	app    *index     // the app's own rules in this direction, or nil
	shared *index     // every app's rules in this direction, or nil

	of     Class // of addr
	inside bool  // addr is the machine's, or in its networks
	public bool  // so the name that is looked at should not have it

	exact *entry // the best rule of exactly the address
	wide  bool   // the three below have been looked up
	cidr  *entry
	class *entry
	any   *entry
}

func newLookup(s *Set, r *Request, now time.Time) lookup {
	a := r.Addr.Addr().Unmap()
	if r.Op != Listen {
		a = canonicalAddr(a)
	}
	l := lookup{r: r, now: now, addr: a, bare: a.WithZone("")}
	l.of = ClassOf(a)
	l.inside = l.of == Localhost || l.of == LAN || IsMetadata(a)
	if r.Self && r.Op != Listen {
		l.of = Localhost
	}
	l.shared = s.indexes[scope{"", r.Op == Listen}]
	if r.App != "" {
		l.app = s.indexes[scope{r.App, r.Op == Listen}]
	}
	return l
}

// how is one way to look into an index.
type how uint8

const (
	byAddr how = iota
	byName
	byUnix
	byPrefix
	bySuffix
	byClass
	byAny
)

// each looks into both indexes and returns the better rule.
func (l *lookup) each(by how, key string) *entry {
	var a, b *entry
	if l.app != nil {
		a = l.in(l.app, by, key)
	}
	if l.shared != nil {
		b = l.in(l.shared, by, key)
	}
	return better(a, b)
}

func (l *lookup) in(x *index, by how, key string) *entry {
	switch by {
	case byAddr:
		return x.byAddr(l.r, l.addr, l.now)
	case byName:
		return x.names[key].named(l.r, l.now, l.public)
	case byUnix:
		return x.unix[key].find(l.r, l.now)
	case byPrefix:
		return x.byPrefix(l.r, l.bare, l.now)
	case bySuffix:
		return x.bySuffix(l.r, key, l.now, l.public)
	case byClass:
		return x.classes[l.of].find(l.r, l.now)
	}
	return x.any.find(l.r, l.now)
}

// unix decides about an AF_UNIX destination: only a rule that names it speaks.
func (l *lookup) unix() Decision {
	if e := l.each(byUnix, l.r.Unix); e != nil {
		return e.decision()
	}
	return Decision{Allow, nil, whyLocal}
}

// under answers for the address under the name with this number.
func (l *lookup) under(i int) Decision { return l.decide(l.name(i)) }

// name returns the name with a number, "" for unnamed, and looks at the address
// as one of that name from then on.
func (l *lookup) name(i int) string {
	if i == unnamed {
		return ""
	}
	l.public = l.inside && i >= l.r.Own && !isPrivateName(l.r.Names[i])
	return l.r.Names[i]
}

// decide answers for the address under one of its names, or under none ("").
func (l *lookup) decide(name string) Decision {
	e := l.best(name)
	if l.r.Op != Listen && IsMetadata(l.addr) && (e == nil || e.rule.Dest.Host.Kind != HostAddr) {
		return Decision{Deny, nil, whyMetadata}
	}
	if e == nil {
		return Decision{Ask, nil, whyNoRule}
	}
	return e.decision()
}

func (l *lookup) best(name string) *entry {
	e := l.exact
	if name != "" {
		e = better(e, l.each(byName, name))
	}
	if e != nil {
		return e
	}
	l.widen()
	e = l.cidr
	if name != "" {
		e = betterAcross(e, l.each(bySuffix, name))
	}
	switch {
	case e != nil:
		return e
	case l.class != nil:
		return l.class
	}
	return l.any
}

// widen looks up, once, what does not depend on the name. Listening on the
// unspecified address is listening everywhere: no prefix or class covers that.
func (l *lookup) widen() {
	if l.wide {
		return
	}
	l.wide = true
	if !l.bare.IsUnspecified() {
		l.cidr = l.each(byPrefix, "")
		l.class = l.each(byClass, "")
	}
	l.any = l.each(byAny, "")
}

func (e *entry) decision() Decision {
	v := e.rule.Verdict
	if v > Ask {
		v = Deny
	}
	return Decision{v, e.rule, whyRule}
}

package rules

import (
	"slices"
	"strings"
	"time"
)

// privateNames are domains that no public name server serves: RFC 6761, RFC
// 8375, RFC 6762 appendix G, and ICANN's .internal.
var privateNames = []string{
	"localhost", "localdomain", "local", "internal", "home.arpa", "test",
	"intranet", "private", "corp", "home", "lan",
}

// isPrivateName says whether a name can only be the machine's or its network's.
func isPrivateName(name string) bool {
	if !strings.Contains(name, ".") {
		return true
	}
	for _, p := range privateNames {
		if strings.HasSuffix(name, p) && (len(name) == len(p) || name[len(name)-len(p)-1] == '.') {
			return true
		}
	}
	return false
}

// NamedDestination is Destination with the request's only name in place of its
// address. ok is false where a rule for that would not cover the request, or
// where the address says more: on this machine.
func (r *Request) NamedDestination() (d Destination, ok bool) {
	d = r.Destination()
	if len(r.Names) != 1 || r.Unix != "" || r.Op == Listen {
		return d, false
	}
	h, err := ParseHost(r.Names[0])
	a := r.Addr.Addr()
	c := ClassOf(a)
	if err != nil || h.Kind != HostName || c == Localhost || IsMetadata(a) || c == LAN && r.Own == 0 && !isPrivateName(h.Name) {
		return d, false
	}
	d.Host = h
	return d, true
}

// addressed says whether a host is addresses that a name may turn out to have.
func (h *Host) addressed() bool {
	switch h.Kind {
	case HostAddr:
		return ClassOf(h.Addr) != Localhost
	case HostPrefix:
		return ClassOf(h.Prefix.Addr()) != Localhost
	case HostClass:
		return h.Class != Localhost
	case HostAny:
		return true
	}
	return false
}

// Lookup decides about a program that looks name up, before any address is
// known. Deny: whatever address and port it would be used with, a rule about
// the name refuses. Allow: a rule about the name lets something through, or asks
// about it. Ask: no rule speaks of the name.
//
// addressed says whether some rule may let the program through to an address
// whatever its name: where nobody is to be asked, only that makes the lookup of
// a name no rule speaks of worth anything.
func (s *Set) Lookup(app, name string, now time.Time) (d Decision, addressed bool) {
	if s == nil || s.indexes == nil {
		return Decision{Deny, nil, whyNoSet}, false
	}
	var deny, open *entry
	look := func(b bucket, below bool) {
		for i := range b {
			e := &b[i]
			h := &e.rule.Dest.Host
			switch {
			case h.Kind == HostSuffix && !below && !h.Apex, !e.rule.Active(now):
			case e.rule.Verdict == Allow || e.rule.Verdict == Ask:
				open = better(open, e)
			case e.rule.Exe == "" && e.rule.Dest.Proto == AnyProto && e.rule.Dest.Ports.All():
				deny = better(deny, e)
			}
		}
	}
	active := func(r *Rule) bool { return r.Active(now) }
	for _, a := range [2]string{"", app} {
		x := s.indexes[scope{a, false}]
		if x == nil {
			continue
		}
		look(x.names[name], true)
		for b, below := range x.above(name) {
			look(b, below)
		}
		look(x.any, true)
		addressed = addressed || slices.ContainsFunc(x.addressed, active)
	}
	switch {
	case open != nil && (deny == nil || open.before(deny)):
		if open.rule.Dest.Host.Kind == HostAny {
			return Decision{Ask, nil, whyNoRule}, true
		}
		return Decision{Allow, open.rule, whyRule}, addressed
	case deny == nil:
		return Decision{Ask, nil, whyNoRule}, addressed
	case deny.rule.Dest.Host.Kind == HostAny && addressed:
		return Decision{Ask, nil, whyNoRule}, true
	}
	return Decision{Deny, deny.rule, whyRule}, addressed
}

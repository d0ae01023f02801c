// Package ruling decides about requests by all that is in force on a machine:
// the rules, the blocklists, the sockets that are reserved, and the name servers
// that the system is configured with.
//
//	f := &ruling.Force{Set: rules.NewSet(list), List: blocklists}
//	r := f.Decide(&request, ruling.Place{Server: true}, time.Now())
//
// Supervisors decide calls by it, and the daemon explains with it what they
// would decide: there is no other way to a verdict. It asks nobody, reports
// nothing, and does not find out what a request is about.
package ruling

import (
	"fmt"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/blocklist"
)

// Force is what decides. It never changes.
type Force struct {
	Set  *rules.Set
	List *blocklist.List // nil: none
}

// Place is what is known of where a request leads, besides the request.
type Place struct {
	Server   bool                   // to a name server that this machine is configured with
	Reserved func(*rules.Rule) bool // whether an AF_UNIX socket is kept from programs, though this rule or none allows it
}

// Cause says what made a ruling.
type Cause uint8

const (
	ByRules     Cause = iota // the rules, or that there is none
	ByResolver               // allowed: the jail's resolver decides about each name
	ByReserve                // denied: the socket is kept from programs
	ByBlocklist              // denied: a list has the name
	ByReceiver               // allowed: a client that takes a port to receive replies on
	ByPort                   // denied: no port, which an answer would take for all
)

// Ruling is a decision and what made it. Ask leaves it to people.
type Ruling struct {
	rules.Decision
	Cause Cause
}

// The texts of rulings that are not the rules'.
const (
	whyReserved = "netjail keeps programs from this socket"
	whyResolver = "the system's name server: each name that is looked up is decided by itself"
	whyReceiver = "a port of a client, no rule: what it sends is decided"
	whyPort     = "no port"
)

// Decide rules about a request.
func (f *Force) Decide(r *rules.Request, at Place, now time.Time) Ruling {
	d := f.Set.Decide(r, now)
	if d.Rule == nil && d.Verdict != rules.Allow && at.Server && ToServer(r) {
		return Ruling{rules.Decision{Verdict: rules.Allow, Why: whyResolver}, ByResolver}
	}
	if r.Unix != "" && d.Verdict == rules.Allow && at.Reserved != nil && at.Reserved(d.Rule) {
		return Ruling{rules.Decision{Verdict: rules.Deny, Why: whyReserved}, ByReserve}
	}
	if why, blocked := f.blocked(r, d.Rule); blocked && d.Verdict != rules.Deny {
		return Ruling{rules.Decision{Verdict: rules.Deny, Why: why}, ByBlocklist}
	}
	if d.Verdict != rules.Ask {
		return Ruling{d, ByRules}
	}
	if d.Rule == nil && r.Op == rules.Listen && r.Proto == rules.UDP && r.Addr.Addr().IsUnspecified() && r.Addr.Port() >= unprivileged {
		// Clients that look names up by themselves take such ports at
		// random, as the kernel would; what they send is decided.
		return Ruling{rules.Decision{Verdict: rules.Allow, Why: whyReceiver}, ByReceiver}
	}
	if r.Unix == "" && r.Op != rules.Listen && r.Addr.Port() == 0 && r.Proto != rules.ICMP {
		// An answer would cover every port. getaddrinfo connects there
		// to sort addresses, and gets by without: not worth a line.
		return Ruling{rules.Decision{Verdict: rules.Deny, Why: whyPort}, ByPort}
	}
	return Ruling{d, ByRules}
}

// unprivileged is the first port that every program may have.
const unprivileged = 1024

// blocked says whether a blocklist has a name of a request that is only let
// through by a rule about many names, or by none.
func (f *Force) blocked(r *rules.Request, by *rules.Rule) (why string, blocked bool) {
	if f.List == nil || by != nil && by.Dest.Host.Kind != rules.HostAny && by.Dest.Host.Kind != rules.HostClass {
		return "", false
	}
	for _, name := range r.Names {
		if why, blocked := f.listed(name); blocked {
			return why, true
		}
	}
	return "", false
}

func (f *Force) listed(name string) (why string, blocked bool) {
	if f.List == nil {
		return "", false
	}
	entry, source, blocked := f.List.Lookup(name)
	if !blocked {
		return "", false
	}
	return fmt.Sprintf("%s is in the blocklist %s", notifier.Clean(entry, 80), source), true
}

// domain is the port of name servers.
const domain = 53

// ToServer says whether a request is for a name server.
func ToServer(r *rules.Request) bool {
	return r.Unix == "" && r.Op != rules.Listen && r.Addr.Port() == domain && (r.Proto == rules.UDP || r.Proto == rules.TCP)
}

// Lookup rules about a name before any address is known. Ask: no rule and no
// list speaks of it; addressed says whether it may be allowed by its address.
func (f *Force) Lookup(app, name string, now time.Time) (r Ruling, addressed bool) {
	d, addressed := f.Set.Lookup(app, name, now)
	if d.Verdict == rules.Ask {
		if why, blocked := f.listed(name); blocked {
			return Ruling{rules.Decision{Verdict: rules.Deny, Why: why}, ByBlocklist}, addressed
		}
	}
	return Ruling{d, ByRules}, addressed
}

// Package rules decides whether an app may use a destination.
//
// It is pure: rules and requests are values, a Set is immutable, and nothing
// here reads a file, a clock or the kernel.
//
//	d, err := rules.ParseDestination("tcp://192.0.2.7:443")
//	set := rules.NewSet([]rules.Rule{{App: "curl", Verdict: rules.Allow, Dest: d}})
//	dec := set.Decide(&req, time.Now())
//	exp := set.Explain(&req, time.Now()) // the same, and why no other rule did
//
// The most specific rule decides; among equals a run's own flags come first,
// then deny wins; where no rule speaks the answer is Ask. The zero value of a
// Verdict is Deny.
//
// Package rulefile keeps rules in TOML files. This package does not resolve
// names: the caller says which names are known for an address.
package rules

import (
	"net/netip"
	"time"
)

// Verdict is the answer to a request. Its zero value denies.
type Verdict uint8

const (
	Deny  Verdict = iota // the call fails
	Allow                // the call goes through
	Ask                  // nobody has decided: a person is asked
)

// Proto is the transport protocol of a request or a destination.
type Proto uint8

const (
	AnyProto Proto = iota // in a destination: every protocol
	TCP
	UDP
	ICMP
)

// Op says what a request wants to do with its address.
type Op uint8

const (
	Connect Op = iota // connect(2), or a datagram socket's default destination
	Send              // a datagram to an address of its own: sendto, sendmsg, sendmmsg
	Listen            // receive what others start: listen(2), or bind(2) of a datagram socket
)

// Request is one thing an app wants to do.
type Request struct {
	App   string         // the jail's name
	Op    Op             //
	Proto Proto          // never AnyProto in a request about an address
	Addr  netip.AddrPort // canonical, see Canonical; for Listen the local address
	Unix  string         // an AF_UNIX destination, "/path" or "@abstract"; Addr is unused then
	Names []string       // names known for Addr, lower case, no trailing dot
	Own   int            // how many of Names, from the first, are the machine's own: no resolver made them up
	Self  bool           // Addr is one of this machine's, whatever it looks like
	Exe   string         // the calling executable's path, as the kernel names it
}

// LifetimeKind says how long a rule or an answer holds.
type LifetimeKind uint8

const (
	Once      LifetimeKind = iota // the calls that wait for it, and no other
	UntilExit                     // until the jail ends
	For                           // for a duration
	Always                        // until somebody removes it
)

// Lifetime is how long a rule or an answer holds. Its zero value is Once.
type Lifetime struct {
	Kind LifetimeKind
	For  time.Duration // of kind For, greater than zero
}

// Rule says what one app, or every app, may do with a destination.
type Rule struct {
	App      string      // "" is every app
	Verdict  Verdict     //
	Dest     Destination //
	Exe      string      // "", or the only executable it speaks of, an absolute path
	Expires  time.Time   // zero: never
	Jail     string      // "", or the id of the only jail it holds for (lifetime UntilExit)
	Run      bool        // from the flags of this run, or answered until its exit
	Disabled bool        //
	Local    bool        // an allow of a name covers it on this machine and its networks too, see Set
	Refuse   bool        // a lookup that it denies is answered REFUSED, not NXDOMAIN
	Note     string      //
	By       string      // who made it: "prompt", "cli", "flag"; "" is a person with an editor
	Created  time.Time   // zero: unknown
	Source   Source      // where it is written; zero: in no file
}

// Source is the place of a rule in a file. Lines count from 1.
type Source struct {
	File string
	Line int
}

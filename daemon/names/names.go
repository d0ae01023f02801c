// Package names is a jail's resolver and its memory of names: which names the
// program asked for, and which addresses the answers gave.
//
//	known := new(names.Map)
//	r := names.New(names.Config{Policy: policy, Map: known})
//	defer r.Close()
//	to, err := r.Addr("udp", false)        // where to lead a connect to port 53
//	r.Expect("udp", local, to53)           // after the socket is connected there
//	known.Names(addr, time.Now())          // at the connect that follows
//
// Rules speak of names and connect speaks of addresses. The resolver hears both
// together, from one jail alone. It passes queries on as they are, to the server
// that the program chose, and passes answers back as they came; what it needs to
// know it reads on the way. It does not cache, does not validate and does not
// follow referrals: servers do that, and the program would notice.
//
// Names are remembered from servers of the system only. A program that may ask
// a server of its own would otherwise name addresses as it likes.
//
// A query is itself a message to whoever serves the domain. A [Meter] counts
// how much of it goes where.
package names

import (
	"context"
	"net/netip"
)

// Query is what a program asks.
type Query struct {
	// Name is in lower case and has no final dot, but for the root, which is
	// ".". Bytes that have no place in a host's name are escaped as in zone
	// files, so that no label can pass for two.
	Name  string
	Type  uint16
	Class uint16

	Server netip.AddrPort // that the program chose
	System bool           // Server is one of the system's

	// Tunnel is the domain whose limit the query is over, see [Meter.Over], or
	// empty.
	Tunnel string

	spelling int // bits that the case of its letters may say
}

// Decision is what becomes of a query.
type Decision uint8

// The zero value refuses.
const (
	Refuse   Decision = iota // answered REFUSED: programs try the next server
	NXDomain                 // answered that there is no such name: programs stop asking
	Forward
)

// A Policy decides about queries. It may take its time, as people do; the
// context ends when nobody waits for the answer any more.
type Policy func(context.Context, Query) Decision

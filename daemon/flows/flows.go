// Package flows lists the network sockets of processes, with what the kernel
// counts of each, and ends them.
//
//	var l flows.Lister
//	list, err := l.List(pids, time.Now())
//	for _, f := range list.Flows {
//		fmt.Println(f.Program, f.Remote, f.State, f.Sent, f.Received, f.Since)
//	}
//	err = flows.End(list.Flows[0])
//
// Sockets come from sock_diag(7), and whose they are from /proc/PID/fd. One network
// namespace is looked at, the caller's own unless the Lister has another, and only
// TCP and UDP. The caller may look at, and end, what it may ptrace(2): what runs
// below it, or belongs to its user.
//
// The package watches nothing and decides nothing: what is opened and closed
// between two listings is in neither.
package flows

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Flow is one socket: a connection, or a place where one is waited for.
type Flow struct {
	Network string         // "tcp" or "udp"
	Local   netip.AddrPort // v4-mapped addresses are v4; a zone is an interface's index
	Remote  netip.AddrPort // unspecified, with port 0: not connected
	State   string         // one of the State constants
	Inode   uint64
	Cookie  uint64 // of no other socket since the machine was started, SO_COOKIE of socket(7)

	PID     int    // the first of the given processes that has it
	Program string // base name of the executable that the process runs; "": it has just ended

	// Sent is what went out, each byte once, and Received what came in. An end
	// of the stream counts as a byte received. Known is false where the kernel
	// does not count: for UDP.
	Sent, Received uint64
	Known          bool

	Since time.Time // when the Lister saw it first

	owner owner // as it was found
}

// States, as ss(8) has them, but unabridged.
const (
	StateEstablished = "ESTABLISHED" // of UDP: connected
	StateSynSent     = "SYN-SENT"
	StateFinWait1    = "FIN-WAIT-1"
	StateFinWait2    = "FIN-WAIT-2"
	StateCloseWait   = "CLOSE-WAIT"
	StateLastAck     = "LAST-ACK"
	StateListen      = "LISTEN"
	StateClosing     = "CLOSING"
	StateUnconnected = "UNCONNECTED" // UDP alone
)

// maxFlows bounds a listing. A jail may have as many sockets as the user may
// have descriptors.
const maxFlows = 32768

// Listing is what there is at one time, in no particular order.
type Listing struct {
	Flows  []Flow
	More   int // sockets that are left out: there are too many
	Unseen int // processes that may have others: in another network namespace, or not to be looked at
}

// lookAgain is how old what is known of descriptors may be. Whose a socket is
// changes only when it is passed on.
const lookAgain = 10 * time.Second

// Network is a network namespace that the caller is not in.
type Network struct {
	Link   string              // what readlink(2) says of /proc/PID/ns/net of those who are
	Socket func() (int, error) // makes a socket there, NETLINK_SOCK_DIAG of netlink(7); the caller closes it
}

// Lister lists sockets, and remembers since when it has known them. The zero
// value is ready.
type Lister struct {
	Network *Network // nil: the caller's own

	mu     sync.Mutex
	known  map[uint64]*sight // by cookie: all that were there at the latest listing
	turn   uint64            // counts listings
	sizes  [len(kinds)]int   // of kinds, then
	flows  int               // that were listed then
	pids   []int             // that were looked into last
	looked time.Time
	unseen int
}

// sight is what is known of a socket. One that is connected anew is another
// flow.
type sight struct {
	owner  owner // zero: none of the processes
	remote netip.AddrPort
	since  time.Time
	turn   uint64
}

// List lists the sockets of processes. When the kernel does not tell of some
// kind of socket the others are listed, and the error says what is missing.
//
// Descriptors are looked at only when there is a socket that was not there
// before, or another process: it is half of the work.
func (l *Lister) List(pids []int, now time.Time) (Listing, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var failed []error
	all := make([][]socket, len(kinds))
	for i, k := range kinds {
		var err error
		if all[i], err = l.Network.dump(k, l.sizes[i]+l.sizes[i]/8); err != nil {
			failed = append(failed, err)
		}
		l.sizes[i] = len(all[i])
	}
	l.attribute(all, pids, now)
	list := Listing{Unseen: l.unseen, Flows: make([]Flow, 0, l.flows+l.flows/8)}
	programs := make(map[int]string)
	for i, k := range kinds {
		for j := range all[i] {
			d := &all[i][j]
			s := l.known[d.cookie]
			switch {
			case s.owner == owner{}:
			case len(list.Flows) >= maxFlows:
				list.More++
			default:
				list.Flows = append(list.Flows, d.flow(k, s, programOf(s.owner.pid, programs)))
			}
		}
	}
	l.flows = len(list.Flows)
	return list, errors.Join(failed...)
}

// attribute brings what is known up to date.
func (l *Lister) attribute(all [][]socket, pids []int, now time.Time) {
	l.turn++
	if l.known == nil {
		l.known = make(map[uint64]*sight)
	}
	look := now.Sub(l.looked) >= lookAgain || !slices.Equal(pids, l.pids)
	for i := range all {
		for j := range all[i] {
			d := &all[i][j]
			s := l.known[d.cookie]
			if s == nil {
				s = new(sight)
				l.known[d.cookie] = s
				look = true
			}
			if s.since.IsZero() || s.remote != d.remote {
				s.since, s.remote = now, d.remote
			}
			s.turn = l.turn
		}
	}
	for cookie, s := range l.known {
		if s.turn != l.turn {
			delete(l.known, cookie)
		}
	}
	if !look {
		return
	}
	found := scan(pids, l.Network.link())
	for i := range all {
		for j := range all[i] {
			d := &all[i][j]
			l.known[d.cookie].owner = found.owners[d.inode]
		}
	}
	l.pids, l.looked, l.unseen = slices.Clone(pids), now, found.unseen
}

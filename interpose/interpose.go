// Package interpose makes the kernel ask before a program uses a socket, and
// does what was answered.
//
// A program started so runs under a seccomp filter that traps connect,
// bind, listen, sendto with an address, sendmsg and sendmmsg. For each trapped
// call the Supervisor duplicates the socket once, copies the address once,
// asks a Policy about the copy, and performs the call itself on the duplicate
// with the copy. What the program changes in its memory or its descriptor table
// meanwhile has no effect. A recvfrom is trapped for its result only, and asked
// about by nobody, see Supervisor.Origin.
//
//	c, err := interpose.Prepare(&interpose.Command{Path: "/usr/bin/curl", Args: args})
//	p, err := c.Start()
//	s := interpose.NewSupervisor(p.TakeListener(), policy, nil)
//	err = s.Serve(ctx)
//
// Anything that cannot be read, decoded or decided fails with EACCES and
// touches no other call. The package knows no rules and asks no person; see
// seccomp_unotify(2) for the mechanism.
package interpose

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Verdict is a policy's answer. Its zero value denies.
type Verdict uint8

// The answers of a policy.
const (
	Deny  Verdict = iota // the call fails with EACCES
	Allow                // the call is performed
	Wait                 // only from Check: Decide has to be asked
)

// Op says what a call does with its address.
type Op uint8

// What calls do.
const (
	Connect Op = iota // set a peer
	Send              // send to an address of this message's own
	Listen            // receive what others start; the address is the local one
)

// Network is what an address belongs to.
type Network uint8

// The networks that can be decided about; a socket of any other is refused.
const (
	TCP Network = iota + 1
	UDP
	ICMP
	Unix
)

// Call is what a policy decides about.
type Call struct {
	TID     int // the calling thread, in the supervisor's pid namespace
	Op      Op
	Network Network
	Addr    netip.AddrPort // of TCP, UDP, ICMP: as the program wrote it
	Path    string         // of Unix: the socket's resolved path, or '@' and an abstract name
	File    File           // of Unix with a path: the socket's inode
	Nowait  bool           // of a Connect: the socket is in non-blocking mode, and its caller does not expect to wait

	// Lead is set by a policy that allows the call, and has it made in another
	// way. Of a Send only Decide may set it.
	Lead *Lead

	// Done is called once after Check, and once more after Decide: when the call
	// has been performed as far as it can be without waiting, or will not be.
	// Either may set it, to know when nothing new can come of what it has said.
	Done func()

	datagram *datagram // of a Send
}

// Lead says how a call is made that was allowed.
type Lead struct {
	// To is where a Connect goes instead: the peer's address that the program
	// reads back afterwards. It is of the family that Addr has.
	To netip.AddrPort

	// Bound is told the local address of the socket that was connected, or that
	// listens, before the caller goes on. It must not block when Check set it.
	Bound func(local netip.AddrPort)

	// Reply is shown the datagrams that arrive for the socket of a Send from
	// where that went, until it returns true or Wait is over. They stay there for the program, whose
	// call ends only then.
	Reply func(b []byte) bool
	Wait  time.Duration
}

// Datagram returns a copy of what a Send carries. That copy is what is sent. It
// may wait for the program's memory.
func (c *Call) Datagram() ([]byte, error) {
	if c.datagram == nil {
		return nil, unix.EINVAL
	}
	return c.datagram.read()
}

// SetDatagram has b sent in place of what the program meant to send, whose
// length is still what its call returns.
func (c *Call) SetDatagram(b []byte) {
	if c.datagram != nil {
		c.datagram.data = b
	}
}

// File identifies an inode.
type File struct {
	Dev, Ino uint64
}

// PID returns the process of the calling thread, or 0 when it is gone.
func (c *Call) PID() int {
	st, _ := readStatus(c.TID)
	return st.tgid
}

// Exe returns the path of the calling executable as the kernel names it, or "".
func (c *Call) Exe() string {
	s, _ := os.Readlink("/proc/" + strconv.Itoa(c.TID) + "/exe")
	return s
}

// Policy decides. Its methods are called from several goroutines. A Call is not
// to be kept: it may be used for another one when what it asked for was done.
type Policy interface {
	// Check answers at once; it must not block.
	Check(*Call) Verdict
	// Decide is asked when Check said Wait. It may take its time; when ctx
	// ends the caller has gone and the answer does not matter.
	Decide(context.Context, *Call) Verdict
}

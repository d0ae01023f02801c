package client

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Requests of a connection. The first is to confine a process; it comes with the
// process's pidfd, see SCM_RIGHTS in unix(7).
const (
	OpConfine  = "confine"
	OpFree     = "free"
	OpAllow    = "allow"
	OpDeny     = "deny"
	OpForget   = "forget"
	OpLead     = "lead"
	OpListen   = "listen"
	OpUnlisten = "unlisten"
)

// Limits of one request.
const (
	MaxLine  = 64 << 10 // bytes
	MaxDests = 256      // and servers
)

// Request is what a client asks for.
type Request struct {
	ID      uint64           `json:"id"`
	Op      string           `json:"op"`
	Dests   []Dest           `json:"dests,omitempty"`
	To      netip.AddrPort   `json:"to,omitzero"`       // of lead
	Servers []netip.AddrPort `json:"servers,omitempty"` // of lead
	Network uint64           `json:"network,omitempty"` // of confine: which network namespace the client is in, SO_NETNS_COOKIE
}

// Dest is who may be sent to, or, without an address, a port of the jail's own.
type Dest struct {
	Proto   string     `json:"proto"` // tcp, udp or icmp
	Addr    netip.Addr `json:"addr,omitzero"`
	Port    uint16     `json:"port,omitempty"`
	Timeout int64      `json:"timeout_ms,omitempty"` // 0: none
}

// Reply answers a request, or tells of a packet that was dropped.
type Reply struct {
	ID      uint64 `json:"id,omitempty"`
	Error   string `json:"error,omitempty"`  // "": it was done
	Jail    string `json:"jail,omitempty"`   // of confine
	Cgroup  string `json:"cgroup,omitempty"` // of confine: where the jail is
	Ended   int    `json:"ended,omitempty"`  // of deny and unlisten: connections
	Dropped *Dest  `json:"dropped,omitempty"`
}

// NetworkCookie says which network namespace the calling thread is in. A socket
// that was accepted is in that of who connected, and says nothing of who asks.
func NetworkCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("getsockopt(SO_NETNS_COOKIE): %w", err)
	}
	return cookie, nil
}

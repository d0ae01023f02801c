// Package nft has the kernel drop what a jail was not allowed to send or
// receive: one nftables table, in which a jail's packets are known by the cgroup
// of the socket that they belong to.
//
//	t, err := nft.Open(nft.Group)
//	err = t.Reset(nil)
//	err = t.Add(jail)
//	err = t.Allow(jail, []nft.Dest{{Network: nft.TCP, Addr: addr, Port: 443}})
//	err = t.Deny(jail, dests)
//	err = t.Shut(jail)
//
// A jail that was added reaches nothing. All that is done at once is one batch:
// the kernel does it whole, or not at all. What the table says stays in force
// when the process that said it is gone.
//
// Beside the table it reads what the kernel logs of packets that were dropped,
// and destroys sockets of a jail. All of it needs CAP_NET_ADMIN, and concerns the
// caller's own network namespace alone. It decides nothing, makes no cgroup, and
// does not know whom it serves: package service does.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Name is the table's.
const Name = "netjail"

// Group is where the kernel logs what it drops (NFLOG). One process listens to
// a group of a network namespace.
const Group = 20042

// Limits of one jail. The kernel keeps to them.
const (
	MaxAllowed = 16384 // elements for IPv4, and as many for IPv6
	MaxDenied  = 4096
	MaxListen  = 1024
	MaxLed     = 256 // servers, which Lead counts
)

// ErrFull means that a jail has no room for another element.
var ErrFull = errors.New("the jail's set is full")

// Jail is what a chain is made for.
type Jail struct {
	ID     string // in names of chains and sets: hexadecimal digits
	Cgroup uint64 // its inode number
	Level  int    // how many directories below the root it is; or Alone

	Resolver uint16 // of one that is Alone: a port
}

// Networks, by their number in a packet.
const (
	TCP    = unix.IPPROTO_TCP
	UDP    = unix.IPPROTO_UDP
	ICMP   = unix.IPPROTO_ICMP
	ICMPv6 = unix.IPPROTO_ICMPV6
)

// Dest is who may be sent to, or, without an address, a port of the jail's own.
type Dest struct {
	Network uint8
	Addr    netip.Addr // v4-mapped addresses are v4; no zones
	Port    uint16     // 0 for ICMP
	Timeout time.Duration
}

// Check says what is wrong with a destination, or, when local, with a port.
func (d *Dest) Check(local bool) error {
	ported := d.Network == TCP || d.Network == UDP
	switch {
	case !ported && (local || d.Network != ICMP && d.Network != ICMPv6):
		return fmt.Errorf("protocol %d is not known here", d.Network)
	case ported != (d.Port != 0):
		return fmt.Errorf("port %d makes no sense for protocol %d", d.Port, d.Network)
	case local == d.Addr.IsValid():
		return errors.New("an address belongs to a destination, and to no port")
	case d.Addr.Is4In6() || d.Addr.Zone() != "":
		return fmt.Errorf("address %s is neither IPv4 nor IPv6 without a zone", d.Addr)
	case d.Network == ICMP && !d.Addr.Is4() || d.Network == ICMPv6 && !d.Addr.Is6():
		return fmt.Errorf("protocol %d has no address %s", d.Network, d.Addr)
	case d.Timeout < 0 || d.Timeout > maxTimeout:
		return fmt.Errorf("timeout %v", d.Timeout)
	}
	return nil
}

// maxTimeout is longer than any machine runs. The kernel counts in milliseconds
// and ticks, which overflow far beyond it.
const maxTimeout = 10 * 365 * 24 * time.Hour

// Echo requests in place of a port: their type, and a code of 0.
const (
	echo4 = 8 << 8
	echo6 = 128 << 8
)

// key is how an element is kept: each part fills whole words of 32 bits.
func (d *Dest) key() []byte {
	var b []byte
	if d.Addr.IsValid() {
		b = d.Addr.AsSlice()
	}
	port := d.Port
	switch d.Network {
	case ICMP:
		port = echo4
	case ICMPv6:
		port = echo6
	}
	return append(b, d.Network, 0, 0, 0, byte(port>>8), byte(port), 0, 0)
}

package interpose

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// maxReceived is more than any datagram has, a coalesced one (UDP_GRO) too.
const maxReceived = 1 << 16

// recvfrom handles recvfrom(fd, buf, len, flags, addr, addrlen), which the
// filter traps with a large buffer and an address. On a datagram socket that was
// led it is performed here, and says that the datagram came from the address
// that the program connected the socket to.
//
// All others are the kernel's to perform, and so are those that cannot be looked
// into. What the program swaps meanwhile gains it nothing: recvfrom sends
// nothing and gives no socket a peer, whatever socket it is performed on, and a
// program may receive from all of its sockets without being asked about.
func (k *call) recvfrom() result {
	native := result{proceed: true}
	if _, ok := k.open(k.int(0)); !ok || k.s.Origin == nil {
		return native
	}
	peer, errno := k.socket.name(sys.Getpeername)
	if errno != 0 {
		return native
	}
	local, _ := k.socket.localAddr()
	origin, led := k.s.Origin(local, peer)
	if !led || k.inspect() != 0 || k.socket.typ != unix.SOCK_DGRAM {
		return native
	}
	k.way = inward
	take := func() result { return k.decideLocal(func() result { return k.receive(peer, origin) }) }
	r := take()
	if r.errno != unix.EAGAIN || !k.blocking(k.int(3)) || k.int(3)&unix.MSG_ERRQUEUE != 0 {
		return r
	}
	return result{later: func(ctx context.Context) result {
		return k.retry(ctx, unix.EAGAIN, func() (result, bool) {
			r := take()
			if r.errno == unix.EAGAIN && k.socket.empty() {
				r = native
			}
			return r, r.errno != unix.EAGAIN
		})
	}}
}

// empty says whether the socket stays ready without a datagram: it was shut down
// for reading, or has errors queued.
func (s *socket) empty() bool {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLRDHUP}}
	_, err := unix.Poll(fds, 0)
	return err != nil || fds[0].Revents != 0
}

// receive takes a datagram off the duplicate and gives it to the caller. As in
// the kernel, one that there is no room for in the caller's memory is lost.
func (k *call) receive(peer, origin netip.AddrPort) result {
	var name [sockaddr.MaxLen]byte
	b := k.buffer(int(min(k.arg(2), maxReceived)))
	n, named, errno := sys.Recvfrom(k.socket.fd, b, k.int(3)|unix.MSG_DONTWAIT, name[:])
	if errno != 0 {
		return fail(errno)
	}
	from := name[:named]
	if sentBy(from, peer) { // not so what came before the socket was led
		from = sockaddr.Inet(origin, k.socket.domain == unix.AF_INET)
	}
	if errno = k.write(k.arg(1), b[:min(n, len(b))]); errno == 0 { // MSG_TRUNC says how long it was
		errno = k.writeAddr(from)
	}
	return result{val: int64(n), errno: errno}
}

// writeAddr copies a socket address to the caller as move_addr_to_user of
// net/socket.c does: its whole length, and as much of it as there is room for.
func (k *call) writeAddr(addr []byte) unix.Errno {
	var length [4]byte
	if errno := k.read(k.arg(5), length[:]); errno != 0 {
		return errno
	}
	room := int32(binary.NativeEndian.Uint32(length[:]))
	if room < 0 {
		return unix.EINVAL
	}
	binary.NativeEndian.PutUint32(length[:], uint32(len(addr)))
	if errno := k.write(k.arg(5), length[:]); errno != 0 {
		return errno
	}
	return k.write(k.arg(4), addr[:min(int(room), len(addr))])
}

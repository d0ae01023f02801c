package interpose

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// socket is the duplicate of a program's socket. The open file description is
// the program's own: whatever is set on it is seen there too, so it is never
// wrapped in an os.File.
type socket struct {
	fd       int
	flags    int // as F_GETFL returned them
	nonblock bool

	domain, typ, proto int
}

// inspect asks the socket itself what it is; an address says nothing about the
// socket it is used on. ENOTSOCK: it is none.
func (k *call) inspect() unix.Errno {
	s := &k.socket
	var errno unix.Errno
	if s.domain, errno = sys.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DOMAIN); errno != 0 {
		return errno
	}
	if s.typ, errno = sys.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TYPE); errno != 0 {
		return errno
	}
	s.proto, errno = sys.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return errno
}

// onSocket returns f for calls whose first argument is a socket: f finds it
// duplicated and inspected.
func onSocket(f func(*call) result) func(*call) result {
	return func(k *call) result {
		if r, ok := k.open(k.int(0)); !ok {
			return r
		}
		if errno := k.inspect(); errno != 0 {
			return k.ifValid(errno)
		}
		return f(k)
	}
}

// kernelOnly is the network of sockets that talk to the kernel and to nobody
// else: the filter lets a jail create netlink sockets of NETLINK_ROUTE.
const kernelOnly = Unix + 1

// toKernel makes sure that a netlink address is the kernel's, which needs no
// address. It must not get one: who may do what is asked for is then who sends,
// which is the supervisor, and no more who made the socket as well
// (__netlink_ns_capable, net/netlink/af_netlink.c). The supervisor may have rights
// that the program has not: it owns the namespaces that that was started in.
func toKernel(b []byte) unix.Errno {
	const length, pid = unix.SizeofSockaddrNetlink, 4
	switch {
	case len(b) < length || binary.NativeEndian.Uint16(b) != unix.AF_NETLINK:
		return unix.EINVAL
	case binary.NativeEndian.Uint64(b[pid:length]) != 0: // a process, or groups
		return unix.EPERM
	}
	return 0
}

// unspec says whether an address is one of AF_UNSPEC, to which a connect dissolves
// what there is.
func unspec(b []byte) bool { return len(b) >= 2 && b[0] == 0 && b[1] == 0 }

// network names what the socket belongs to. Sockets that the filter lets
// nobody create can still arrive from outside; ok is false for them.
func (s *socket) network() (n Network, ok bool) {
	switch {
	case s.domain == unix.AF_NETLINK && s.proto == unix.NETLINK_ROUTE:
		return kernelOnly, true
	case s.domain == unix.AF_UNIX:
		return Unix, true
	case s.domain != unix.AF_INET && s.domain != unix.AF_INET6:
		return 0, false
	case s.typ == unix.SOCK_STREAM && s.proto == unix.IPPROTO_TCP:
		return TCP, true
	case s.typ == unix.SOCK_DGRAM && s.proto == unix.IPPROTO_UDP:
		return UDP, true
	case s.typ == unix.SOCK_DGRAM && (s.proto == unix.IPPROTO_ICMP || s.proto == unix.IPPROTO_ICMPV6):
		return ICMP, true
	}
	return 0, false
}

// peer decodes the address that a connect or a send on s goes to. The
// connections between a socket's domain and the families it takes are the
// kernel's: an IPv6 datagram socket takes IPv4 addresses, and an IPv4 one takes
// AF_UNSPEC for AF_INET when it sends (net/ipv4/udp.c, net/ipv6/udp.c).
//
// ok is false when the address names nobody: then the call goes nowhere new,
// whatever the kernel makes of it.
func (s *socket) peer(op Op, b []byte) (to netip.AddrPort, ok bool, errno unix.Errno) {
	if len(b) < 2 {
		return to, false, unix.EINVAL
	}
	family := int(binary.NativeEndian.Uint16(b))
	if family == unix.AF_UNSPEC {
		switch {
		case op == Connect:
			return to, false, 0 // dissolves the association
		case s.domain == unix.AF_INET && s.proto == unix.IPPROTO_UDP:
			to, errno = sockaddr.Inet4(b)
			return to, errno == 0, errno
		case s.domain == unix.AF_INET6 && s.proto == unix.IPPROTO_UDP:
			return to, false, 0 // as if there were no address
		}
		return to, false, unix.EAFNOSUPPORT
	}
	a, errno := sockaddr.Parse(b)
	if errno != 0 {
		return to, false, errno
	}
	switch {
	case family == s.domain:
	case family == unix.AF_INET && s.domain == unix.AF_INET6 && s.proto == unix.IPPROTO_UDP:
	case s.domain == unix.AF_INET6 && len(b) < 24: // tcp_v6_connect looks at the length first
		return to, false, unix.EINVAL
	default:
		return to, false, unix.EAFNOSUPPORT
	}
	return a.Inet, true, 0
}

// nonblocking runs f with O_NONBLOCK set on the program's description, which is
// as it was when nonblocking returns. Only connect needs it: sends have a flag.
func (k *call) nonblocking(f func() unix.Errno) unix.Errno {
	if k.socket.nonblock {
		return f()
	}
	k.s.toggle.Lock()
	defer k.s.toggle.Unlock()
	if _, errno := sys.Fcntl(k.socket.fd, unix.F_SETFL, k.socket.flags|unix.O_NONBLOCK); errno != 0 {
		return errno
	}
	errno := f()
	_, _ = sys.Fcntl(k.socket.fd, unix.F_SETFL, k.socket.flags)
	return errno
}

// localAddr returns the address an IP socket is bound to.
func (s *socket) localAddr() (netip.AddrPort, unix.Errno) { return s.name(sys.Getsockname) }

func (s *socket) name(get func(int, []byte) (int, unix.Errno)) (netip.AddrPort, unix.Errno) {
	var b [sockaddr.MaxLen]byte
	n, errno := get(s.fd, b[:])
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	a, errno := sockaddr.Parse(b[:n])
	return a.Inet, errno
}

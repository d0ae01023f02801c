package interpose

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/filter"
	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// Compat says whether 32-bit programs can be run, see Command.Compat.
func Compat() bool { return filter.Compat != nil }

// ErrNoCompat means that 32-bit programs were asked for on a machine where
// netjail knows none.
var ErrNoCompat = errors.New("32-bit programs are not supported on this machine")

// compat returns the 32-bit ABI that c may use; nil: none.
func (c *Command) compat() (*filter.Arch, error) {
	switch {
	case !c.Compat:
		return nil, nil
	case filter.Compat == nil || c.Messages:
		return nil, ErrNoCompat
	}
	return filter.Compat, nil
}

// other handles a call of another ABI than the native one, or refuses it where
// the jail has no such.
func (s *Supervisor) other(k *call) result {
	abi := filter.Compat
	if !s.Compat || abi == nil || k.n.Data.Arch != abi.Audit {
		if s.Foreign != nil {
			s.foreignOnce.Do(func() {
				exe, _ := os.Readlink(k.proc("exe"))
				s.wg.Go(func() { s.Foreign(exe) })
			})
		}
		return fail(unix.ENOSYS)
	}
	k.compat = true
	if nr := uint32(k.n.Data.Nr); nr != abi.Number.Socketcall {
		return k.perform(abi.Number.Native(nr))
	}
	return k.socketcall()
}

// socketcalls lists, by the number of a call of socketcall(2), the number of
// its arguments (net/socket.c) and the system call that it is.
var socketcalls = map[int]struct {
	args int
	nr   uint32
}{
	1:  {3, filter.Native.Number.Socket},
	2:  {3, filter.Native.Number.Bind},
	3:  {3, filter.Native.Number.Connect},
	4:  {2, filter.Native.Number.Listen},
	8:  {4, filter.Native.Number.Socketpair},
	11: {6, filter.Native.Number.Sendto},
	14: {5, filter.Native.Number.Setsockopt},
	16: {3, filter.Native.Number.Sendmsg},
	20: {4, filter.Native.Number.Sendmmsg},
}

// socketcall handles socketcall(call, args). The arguments are in memory, where
// the filter does not see them and anybody can change them: they are copied
// once, what the filter says of a 64-bit call is applied to the copy, and all
// that passes is performed here, the creation of sockets too.
func (k *call) socketcall() result {
	c, ok := socketcalls[k.int(0)]
	if !ok {
		return fail(unix.EINVAL)
	}
	var b [6 * 4]byte
	if errno := k.read(k.arg(1), b[:4*c.args]); errno != 0 {
		return k.ifValid(errno)
	}
	for i := range k.args {
		k.args[i] = uint64(binary.NativeEndian.Uint32(b[4*i:]))
	}
	k.indirect = true
	if action := filter.Native.Action(c.nr, &k.args); action&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
		return k.ifValid(unix.Errno(action & unix.SECCOMP_RET_DATA))
	}
	switch n := &filter.Native.Number; c.nr {
	case n.Socket:
		return k.newSocket()
	case n.Socketpair:
		return k.newSocketpair()
	case n.Setsockopt:
		return onSocket((*call).setsockopt)(k)
	}
	return k.perform(c.nr)
}

// newSocket creates a socket for the caller. It is one of this process's
// network namespace, so the caller has to be in the same.
func (k *call) newSocket() result {
	if !sameFile("/proc/self/ns/net", k.proc("ns/net")) {
		return k.ifValid(unix.EACCES)
	}
	fd, err := unix.Socket(k.int(0), k.int(1)|unix.SOCK_CLOEXEC, k.int(2))
	if err != nil {
		return k.ifValid(errnoOf(err))
	}
	defer sys.Close(fd)
	return k.install(fd, k.int(1))
}

// newSocketpair creates a pair of local sockets for the caller, which sees the
// supervisor in their SO_PEERCRED.
func (k *call) newSocketpair() result {
	pair, err := unix.Socketpair(k.int(0), k.int(1)|unix.SOCK_CLOEXEC, k.int(2))
	if err != nil {
		return k.ifValid(errnoOf(err))
	}
	defer sys.Close(pair[0])
	defer sys.Close(pair[1])
	var b [8]byte
	for i, fd := range pair {
		r := k.install(fd, k.int(1))
		if r.errno != 0 || r.abandoned {
			return r
		}
		binary.NativeEndian.PutUint32(b[4*i:], uint32(r.val))
	}
	return done(k.write(k.arg(3), b[:]))
}

// install gives the caller a duplicate of fd, as one that socket(2) returned
// for typ.
func (k *call) install(fd, typ int) result {
	n, errno := sys.NotifAddfd(k.s.listener, k.n.ID, fd, typ&unix.SOCK_CLOEXEC)
	if errno == unix.ENOENT {
		return gone
	}
	if errno != 0 {
		return fail(errno)
	}
	return result{val: int64(n)}
}

// Options whose values are the same in both ABIs, and which need no privilege:
// a supervisor must not lend its own. More than that is not to be had.
var compatOptions = map[int][]int{
	unix.SOL_SOCKET: {
		unix.SO_REUSEADDR, unix.SO_DONTROUTE, unix.SO_BROADCAST, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_KEEPALIVE,
		unix.SO_OOBINLINE, unix.SO_LINGER, unix.SO_REUSEPORT, unix.SO_PASSCRED, unix.SO_RCVLOWAT, unix.SO_NO_CHECK,
	},
	unix.SOL_IP: {
		unix.IP_TOS, unix.IP_TTL, unix.IP_PKTINFO, unix.IP_MTU_DISCOVER, unix.IP_RECVERR, unix.IP_RECVTTL, unix.IP_RECVTOS,
		unix.IP_FREEBIND, unix.IP_BIND_ADDRESS_NO_PORT, unix.IP_MULTICAST_TTL, unix.IP_MULTICAST_LOOP, unix.IP_MULTICAST_IF,
	},
	unix.SOL_IPV6: {
		unix.IPV6_V6ONLY, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVPKTINFO, unix.IPV6_RECVERR, unix.IPV6_TCLASS,
		unix.IPV6_RECVTCLASS, unix.IPV6_RECVHOPLIMIT, unix.IPV6_MTU_DISCOVER, unix.IPV6_DONTFRAG,
		unix.IPV6_MULTICAST_HOPS, unix.IPV6_MULTICAST_LOOP, unix.IPV6_MULTICAST_IF,
	},
	unix.SOL_TCP: {
		unix.TCP_NODELAY, unix.TCP_MAXSEG, unix.TCP_CORK, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT,
		unix.TCP_SYNCNT, unix.TCP_LINGER2, unix.TCP_DEFER_ACCEPT, unix.TCP_WINDOW_CLAMP, unix.TCP_QUICKACK,
		unix.TCP_USER_TIMEOUT, unix.TCP_FASTOPEN, unix.TCP_NOTSENT_LOWAT,
	},
	unix.SOL_UDP: {unix.UDP_SEGMENT, unix.UDP_GRO},
}

// setsockopt handles setsockopt(fd, level, option, value, length).
func (k *call) setsockopt() result {
	level, option, n := k.int(1), k.int(2), k.int(4)
	var b [64]byte
	if n < 0 || n > len(b) {
		return k.ifValid(unix.EINVAL)
	}
	value := b[:n]
	if errno := k.read(k.arg(3), value); errno != 0 {
		return k.ifValid(errno)
	}
	known := false
	for _, o := range compatOptions[level] {
		known = known || o == option
	}
	if level == unix.SOL_SOCKET && (option == unix.SO_RCVTIMEO || option == unix.SO_SNDTIMEO) {
		if n < 8 {
			return k.ifValid(unix.EINVAL)
		}
		// struct old_timeval32
		var wide []byte
		for _, at := range []int{0, 4} {
			wide = binary.NativeEndian.AppendUint64(wide, uint64(int32(binary.NativeEndian.Uint32(b[at:]))))
		}
		known, value = true, wide
	}
	if !known {
		return k.ifValid(unix.ENOPROTOOPT)
	}
	return k.decideLocal(func() result { return done(sys.Setsockopt(k.socket.fd, level, option, value)) })
}

// readMsghdr copies a message header.
func (k *call) readMsghdr(at uint64) (b [sockaddr.MsghdrLen]byte, errno unix.Errno) {
	if !k.compat {
		errno = k.read(at, b[:])
		return b, errno
	}
	var small [sockaddr.CompatMsghdrLen]byte
	errno = k.read(at, small[:])
	return sockaddr.ExpandMsghdr(&small), errno
}

// readNamed copies the name and the vectors of a message.
func (k *call) readNamed(h *sockaddr.Msghdr, name []byte) ([]byte, unix.Errno) {
	size := uint64(sockaddr.IovecLen)
	if k.compat {
		size = sockaddr.CompatIovecLen
	}
	b, p := make([]byte, h.IovLen*size), k.pieces()
	p.add(name, h.Name)
	p.add(b, h.Iov)
	errno := k.readPieces(p)
	if k.compat {
		b = sockaddr.ExpandIovecs(b)
	}
	return b, errno
}

// readControl copies n bytes of control messages.
func (k *call) readControl(at, n uint64) ([]byte, unix.Errno) {
	b := make([]byte, n)
	errno := k.read(at, b)
	if errno != 0 || !k.compat || n == 0 {
		return b, errno
	}
	return sockaddr.ExpandCmsgs(b)
}

// mmsghdr returns the size of an entry of sendmmsg(2), and where in it the
// length goes.
func (k *call) mmsghdr() (size, lenAt uint64) {
	if k.compat {
		return sockaddr.CompatMmsghdrLen, sockaddr.CompatMsgLenAt
	}
	return sockaddr.MmsghdrLen, sockaddr.MsgLenAt
}

// Package filter builds the seccomp program that netjail installs in a jail.
//
// The program looks at scalars only: the architecture, the system call's
// number, and, for the numbers it traps, the low words of integer arguments
// (and both words of one pointer, to see whether it is NULL). It never decides
// by what a pointer points to. Every number it does not name takes a path that
// loads no argument, so the kernel answers it from the bitmap it caches
// (kernel/seccomp.c, seccomp_cache_prepare).
//
//	prog := filter.Program(filter.Native, filter.Options{})
//
// It installs nothing and knows no policy.
package filter

import "golang.org/x/sys/unix"

// Return values of a program, see seccomp(2). The low 16 bits of an ERRNO
// carry the error number.
const (
	Allow  = uint32(unix.SECCOMP_RET_ALLOW)
	Notify = uint32(unix.SECCOMP_RET_USER_NOTIF)
)

// Errno returns the action that fails a call with e.
func Errno(e unix.Errno) uint32 {
	return unix.SECCOMP_RET_ERRNO | uint32(e)&unix.SECCOMP_RET_DATA
}

// x32Bit marks the x32 ABI's numbers, which carry the architecture of x86-64.
const x32Bit = 0x40000000

// Flags and types as the kernel's ABI has them, where x/sys lacks them.
const (
	sockTypeMask = 0xf // SOCK_TYPE_MASK, include/linux/net.h
	flowLabelMgr = 32  // IPV6_FLOWLABEL_MGR
)

// Options say how a program differs from the strictest. They exclude each other.
type Options struct {
	// Compat is the 32-bit ABI whose calls are let through as those of the native
	// one are. Nil: the supervisor is notified of them, only to refuse them: it can
	// say which program made them.
	Compat *Arch

	// Messages leaves sendmsg and sendmmsg alone: where they lead the kernel
	// decides by itself.
	Messages bool
}

// Program returns the program for a. It is a pure function of both.
func Program(a Arch, o Options) []unix.SockFilter {
	var b builder
	b.load(offArch)
	a.foreign(&b, o.Compat)
	b.unless(a.Audit, ret(Errno(unix.ENOSYS)))
	messages := Notify
	if o.Messages {
		messages = Allow
	}
	a.calls(&b, messages)
	return b.assemble()
}

// calls writes what becomes of a's calls; messages, of sendmsg and sendmmsg.
func (a *Arch) calls(b *builder, messages uint32) {
	b.load(offNr)
	if a.X32 {
		b.atLeast(x32Bit, ret(Errno(unix.ENOSYS)))
	}
	n := a.Number

	// A ring does network calls without any system call of its own; enter
	// and register are refused too because a ring can be inherited.
	for _, nr := range []uint32{n.IoUringSetup, n.IoUringEnter, n.IoUringRegister} {
		b.on(nr, ret(Errno(unix.ENOSYS)))
	}
	// request_key(2) may call a program of root's that resolves names.
	b.on(n.RequestKey, ret(Errno(unix.ENOSYS)))
	b.on(n.Bpf, ret(Errno(unix.EPERM)))
	// The flags of clone3(2) are behind a pointer. C libraries fall back to
	// clone(2), where a descriptor table shared between processes is refused:
	// the supervisor relies on "one thread" meaning "nobody else can swap
	// this descriptor".
	b.on(n.Clone3, ret(Errno(unix.ENOSYS)))
	b.on(n.Clone, sharedTable)

	// A second listener would let a program approve itself once its
	// supervisor is gone. EBUSY is what the kernel says while it lives.
	b.on(n.Seccomp, secondListener)
	b.on(n.Socket, socket)
	b.on(n.Socketpair, socketpair)
	b.on(n.Setsockopt, setsockopt)
	b.on(n.Ioctl, ioctl)
	// sendto is left alone where it carries no address: that is what send(2) is.
	b.on(n.Sendto, fastOpenElse(3, addressed))
	b.on(n.Sendmsg, fastOpenElse(2, ret(messages)))
	b.on(n.Sendmmsg, fastOpenElse(3, ret(messages)))
	b.on(n.Recvfrom, recvfrom)
	b.on(n.Connect, ret(Notify))
	b.on(n.Bind, ret(Notify))
	b.on(n.Listen, ret(Notify))
	a.multiplexed(b)
	b.ret(Allow)
}

// sharedTable refuses clone(CLONE_FILES) without CLONE_THREAD.
func sharedTable(b *builder) {
	b.loadArg(0)
	b.ifSet(unix.CLONE_FILES, func(b *builder) {
		b.ifSet(unix.CLONE_THREAD, ret(Allow))
		b.ret(Errno(unix.EPERM))
	})
	b.ret(Allow)
}

func secondListener(b *builder) {
	b.loadArg(0)
	b.unless(unix.SECCOMP_SET_MODE_FILTER, ret(Allow))
	b.loadArg(1)
	b.ifSet(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, ret(Errno(unix.EBUSY)))
	b.ret(Allow)
}

// socket lets through the families and protocols whose destinations the
// supervisor can name, and nothing else.
func socket(b *builder) {
	b.loadArg(0)
	b.on(unix.AF_UNIX, ret(Allow))
	b.on(unix.AF_NETLINK, func(b *builder) {
		b.loadArg(2)
		b.on(unix.NETLINK_ROUTE, ret(Allow))
		b.ret(Errno(unix.EPROTONOSUPPORT))
	})
	inet := func(b *builder) {
		b.loadArg(1)
		b.and(sockTypeMask)
		b.on(unix.SOCK_STREAM, protocols(unix.IPPROTO_TCP))
		b.on(unix.SOCK_DGRAM, protocols(unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6))
		b.on(unix.SOCK_RAW, ret(Errno(unix.EPERM)))
		b.on(unix.SOCK_PACKET, ret(Errno(unix.EPERM)))
		b.ret(Errno(unix.ESOCKTNOSUPPORT))
	}
	b.on(unix.AF_INET, inet)
	b.on(unix.AF_INET6, inet)
	b.ret(Errno(unix.EAFNOSUPPORT))
}

// protocols allows protocol 0 and those given. MPTCP gets the errno that makes
// Go and others fall back to TCP, which is the errno of all others too.
func protocols(allowed ...uint32) block {
	return func(b *builder) {
		b.loadArg(2)
		b.on(0, ret(Allow))
		for _, p := range allowed {
			b.on(p, ret(Allow))
		}
		b.ret(Errno(unix.EPROTONOSUPPORT))
	}
}

func socketpair(b *builder) {
	b.loadArg(0)
	b.on(unix.AF_UNIX, ret(Allow))
	b.ret(Errno(unix.EOPNOTSUPP))
}

// Options that make packets go elsewhere than the address that was checked
// (source routes, routing headers), or that send packets by themselves (group
// reports). Numbers from include/uapi/linux/in.h and in6.h.
var (
	deniedIP = []uint32{
		unix.IP_OPTIONS,
		unix.IP_ADD_MEMBERSHIP, unix.IP_ADD_SOURCE_MEMBERSHIP,
		unix.MCAST_JOIN_GROUP, unix.MCAST_JOIN_SOURCE_GROUP,
	}
	deniedIPv6 = []uint32{
		unix.IPV6_RTHDR, unix.IPV6_2292RTHDR, unix.IPV6_2292PKTOPTIONS,
		flowLabelMgr,       // a label can carry a routing header
		unix.IPV6_ADDRFORM, // makes an IPv6 socket an IPv4 one, for which addresses mean something else
		unix.IPV6_JOIN_GROUP, unix.IPV6_JOIN_ANYCAST,
		unix.MCAST_JOIN_GROUP, unix.MCAST_JOIN_SOURCE_GROUP,
	}
)

func setsockopt(b *builder) {
	deny := func(options []uint32) block {
		return func(b *builder) {
			b.loadArg(2)
			for _, o := range options {
				b.on(o, ret(Errno(unix.EPERM)))
			}
			b.ret(Allow)
		}
	}
	b.loadArg(1)
	b.on(unix.SOL_IP, deny(deniedIP))
	b.on(unix.SOL_IPV6, deny(deniedIPv6))
	b.on(unix.IPPROTO_SCTP, ret(Errno(unix.EPERM)))
	b.ret(Allow)
}

// ioctl refuses to push input into a terminal. The request is an unsigned int:
// the upper word is garbage that the kernel ignores.
func ioctl(b *builder) {
	b.loadArg(1)
	b.on(unix.TIOCSTI, ret(Errno(unix.EPERM)))
	b.on(unix.TIOCLINUX, ret(Errno(unix.EPERM)))
	b.ret(Allow)
}

// addressed traps calls whose fifth argument points to an address: it may be
// NULL.
func addressed(b *builder) {
	b.loadArg(4)
	b.unless(0, ret(Notify))
	b.loadArgHigh(4)
	b.unless(0, ret(Notify))
	b.ret(Allow)
}

// largeBuffer is more than a receiver takes that does not expect every datagram
// there may be. c-ares has 4097 bytes, since 1.30 it has 65535.
const largeBuffer = 4097

// recvfrom is trapped for those who may be receiving answers of a name server
// and look where from. Whoever asks for no address, or has a smaller buffer, as
// games and telephones have, receives as fast as without netjail. So does a
// buffer of 4 GiB: nothing hangs on it, and the upper word is not looked at.
func recvfrom(b *builder) {
	b.loadArg(2)
	b.atLeast(largeBuffer, addressed)
	b.ret(Allow)
}

// fastOpenElse refuses MSG_FASTOPEN, which connects without a connect(2), in
// the flags argument arg.
func fastOpenElse(arg int, otherwise block) block {
	return func(b *builder) {
		b.loadArg(arg)
		b.ifSet(unix.MSG_FASTOPEN, ret(Errno(unix.EOPNOTSUPP)))
		otherwise(b)
	}
}

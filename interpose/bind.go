package interpose

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// bind handles bind(fd, addr, len). A stream socket that is bound does nothing
// until it listens; a datagram socket bound to a port of its choice receives,
// so that is decided here.
func (k *call) bind() result {
	addr, errno := k.readAddr(1)
	if errno != 0 {
		return k.ifValid(errno)
	}
	s := &k.socket
	act := func() result {
		k.s.names.Lock()
		defer k.s.names.Unlock()
		return done(sys.Bind(s.fd, addr))
	}
	network, ok := s.network()
	switch {
	case !ok:
		return k.ifValid(unix.EACCES)
	case network == kernelOnly:
		return k.decideLocal(act)
	case network == Unix:
		return k.bindUnix(addr)
	}
	local, errno := s.bindAddr(addr)
	if errno != 0 {
		return k.ifValid(errno)
	}
	if !k.mayBindPort(local.Port()) {
		return k.ifValid(unix.EACCES)
	}
	if network == TCP || local.Port() == 0 {
		return k.decideLocal(act)
	}
	return k.decide(&Call{Op: Listen, Network: network, Addr: local}, func() result { k.mark(); return act() })
}

// mark marks a socket that is to receive what others begin. One that cannot be
// marked is one that a guard may let nobody reach.
func (k *call) mark() {
	if m := k.s.Mark; m != 0 {
		_ = unix.SetsockoptInt(k.socket.fd, unix.SOL_SOCKET, unix.SO_MARK, m)
	}
}

// bindAddr decodes the address of a bind as inet_bind and inet6_bind do:
// AF_UNSPEC is AF_INET when it names no address.
func (s *socket) bindAddr(b []byte) (netip.AddrPort, unix.Errno) {
	if s.domain == unix.AF_INET && len(b) >= 2 && binary.NativeEndian.Uint16(b) == unix.AF_UNSPEC {
		a, errno := sockaddr.Inet4(b)
		if errno == 0 && a.Addr() != netip.IPv4Unspecified() {
			errno = unix.EAFNOSUPPORT
		}
		return a, errno
	}
	a, errno := sockaddr.Parse(b)
	switch {
	case errno == unix.EAFNOSUPPORT && len(b) < 16: // both want at least a struct sockaddr_in
		return a.Inet, unix.EINVAL
	case errno != 0:
		return a.Inet, errno
	case int(a.Family) == s.domain:
		return a.Inet, 0
	case s.domain == unix.AF_INET6 && len(b) < 24:
		return a.Inet, unix.EINVAL
	}
	return a.Inet, unix.EAFNOSUPPORT
}

// mayBindPort repeats a check that the kernel makes of whoever calls: a
// supervisor with the right to low ports must not lend it to a program without.
func (k *call) mayBindPort(port uint16) bool {
	if port == 0 || port >= 1024 || unix.Geteuid() != 0 {
		return true
	}
	st, err := readStatus(k.tid())
	return err == nil && st.effective&(1<<unix.CAP_NET_BIND_SERVICE) != 0
}

// listen handles listen(fd, backlog). The address is the one the socket has; a
// socket without gets a port of the kernel's choice.
func (k *call) listen() result {
	s := &k.socket
	backlog := k.int(1)
	network, ok := s.network()
	if !ok {
		return k.ifValid(unix.EACCES)
	}
	if network != TCP {
		return k.decideLocal(func() result { return done(sys.Listen(s.fd, backlog)) })
	}
	local, errno := s.localAddr()
	if errno != 0 {
		return k.ifValid(errno)
	}
	c := &Call{Op: Listen, Network: TCP, Addr: local}
	return k.decide(c, func() result {
		r := k.listenAt(local, backlog)
		if r.errno == 0 && r.later == nil {
			k.bound(c.Lead)
		}
		return r
	})
}

// listenAt listens at the address that was decided about.
func (k *call) listenAt(local netip.AddrPort, backlog int) result {
	k.s.names.Lock()
	defer k.s.names.Unlock()
	if now, errno := k.socket.localAddr(); errno != 0 || now != local {
		// Somebody bound it while the question was open.
		return result{later: func(context.Context) result { return k.listenAgain() }}
	}
	k.mark()
	return done(sys.Listen(k.socket.fd, backlog))
}

// listenAgain decides about an address that has changed since.
func (k *call) listenAgain() result {
	k.close()
	return onSocket((*call).listen)(k)
}

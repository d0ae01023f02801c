package interpose

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// connect handles connect(fd, addr, len).
func (k *call) connect() result {
	if r, ok := k.open(k.int(0)); !ok {
		return r
	}
	addr, errno := k.readAddr(1)
	if errno == 0 {
		errno = k.inspect()
	}
	if errno != 0 {
		return k.ifValid(errno)
	}
	s := &k.socket
	network, ok := s.network()
	switch {
	case !ok:
		return k.ifValid(unix.EACCES)
	case network == kernelOnly:
		if errno := toKernel(addr); errno != 0 && !unspec(addr) {
			return k.ifValid(errno)
		}
		return k.connectNowhere(addr)
	case network == Unix:
		return k.connectUnix(addr)
	}
	to, ok, errno := s.peer(Connect, addr)
	switch {
	case errno != 0:
		return k.ifValid(errno)
	case !ok:
		return k.connectNowhere(addr)
	}
	k.asked = Call{Op: Connect, Network: network, Addr: to, Nowait: s.nonblock}
	return k.decide(&k.asked, k.connectAsked)
}

// connectNowhere connects to nobody outside the kernel.
func (k *call) connectNowhere(addr []byte) result {
	return k.decideLocal(func() result { return done(sys.Connect(k.socket.fd, addr)) })
}

// decideLocal performs what reaches nobody outside the kernel.
func (k *call) decideLocal(act func() result) result {
	if !k.valid() {
		return gone
	}
	return perform(act)
}

// connectTo connects the duplicate. A datagram socket, or one in non-blocking
// mode, never keeps its caller waiting.
func (k *call) connectTo(addr []byte) result {
	s := &k.socket
	if s.nonblock || s.typ == unix.SOCK_DGRAM {
		return done(sys.Connect(s.fd, addr))
	}
	var first unix.Errno
	errno := k.nonblocking(func() unix.Errno {
		if first = sys.Connect(s.fd, addr); first != unix.EINPROGRESS {
			return first
		}
		// A peer on this machine has answered before connect returned, and
		// nobody has to wait: the answer was handled when that let go of the
		// socket (release_sock, net/core/sock.c).
		return k.collect(addr)
	})
	if !k.inProgress(errno) {
		return done(errno)
	}
	late := first
	return result{later: func(ctx context.Context) result { return k.awaitConnect(ctx, addr, late) }}
}

// inProgress says whether a connect has no outcome yet: EAGAIN is a full backlog
// of a listener.
func (k *call) inProgress(errno unix.Errno) bool {
	return errno == unix.EINPROGRESS || errno == unix.EALREADY || errno == unix.EAGAIN && k.socket.domain == unix.AF_UNIX
}

// awaitConnect waits for a connection that is being made. When the socket is
// ready the same call again collects the outcome, just as if it had waited
// itself. SO_SNDTIMEO bounds the wait, see socket(7); the errno is then the
// first attempt's.
func (k *call) awaitConnect(ctx context.Context, addr []byte, errno unix.Errno) result {
	return k.retry(ctx, errno, func() (result, bool) {
		again := k.nonblocking(func() unix.Errno { return k.collect(addr) })
		return done(again), !k.inProgress(again)
	})
}

// retry tries again whenever the socket may have become ready, until that has a
// result. The call fails with late when the socket's own timeout is over.
func (k *call) retry(ctx context.Context, late unix.Errno, try func() (r result, ok bool)) result {
	wait, cancel := k.limit(ctx)
	defer cancel()
	for {
		err := k.ready(wait)
		if r, over := k.interrupted(ctx); over {
			return r
		}
		if err != nil {
			return fail(late)
		}
		if r, ok := try(); ok {
			return r
		}
	}
}

// collect collects the outcome of an attempt to connect. On a socket that was
// shut down meanwhile the same call would begin another attempt, which nobody
// has decided about. One that has failed is disconnected in place of that, as
// the call itself does then (__inet_stream_connect, net/ipv4/af_inet.c).
func (k *call) collect(addr []byte) unix.Errno {
	switch info, err := unix.GetsockoptTCPInfo(k.socket.fd, unix.IPPROTO_TCP, unix.TCP_INFO); {
	case err == nil && info.State == unix.BPF_TCP_SYN_SENT:
		return unix.EALREADY
	case err == nil && info.State == unix.BPF_TCP_CLOSE:
		errno, _ := sys.GetsockoptInt(k.socket.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		sys.Connect(k.socket.fd, make([]byte, 16)) // AF_UNSPEC
		return unix.Errno(cmp.Or(errno, int(unix.ECONNABORTED)))
	}
	return sys.Connect(k.socket.fd, addr)
}

// interrupted is over for a call that waits for the socket: where that has a
// timeout no signal handler makes it again (sock_intr_errno, include/net/sock.h).
func (k *call) interrupted(ctx context.Context) (result, bool) {
	r, over := k.over(ctx)
	if over && r.errno == erestartsys && k.timeout() != 0 {
		r.errno = unix.EINTR
	}
	return r, over
}

// way is the direction of a call: the option that limits its wait, and the
// event that it waits for.
type way struct{ option, event int }

var outward, inward = way{unix.SO_SNDTIMEO, unix.EPOLLOUT}, way{unix.SO_RCVTIMEO, unix.EPOLLIN}

// limit bounds ctx by the socket's timeout.
func (k *call) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := k.timeout(); d != 0 {
		return context.WithTimeout(ctx, d)
	}
	return context.WithCancel(ctx)
}

// timeout is the socket's, of the call's way; 0 is none.
func (k *call) timeout() time.Duration {
	tv, err := unix.GetsockoptTimeval(k.socket.fd, unix.SOL_SOCKET, k.way.option)
	if err != nil {
		return 0
	}
	return time.Duration(tv.Nano())
}

// retryUnix is how often an AF_UNIX socket is tried again. It cannot be polled
// for the peer's queue.
const retryUnix = 5 * time.Millisecond

// blocking says whether a call with these flags waits for its socket.
func (k *call) blocking(flags int) bool {
	return !k.socket.nonblock && flags&unix.MSG_DONTWAIT == 0
}

// ready waits until the socket may have become ready, or ctx ends.
func (k *call) ready(ctx context.Context) error {
	if k.socket.domain != unix.AF_UNIX {
		return k.s.poller.ready(ctx, k.socket.fd, uint32(k.way.event))
	}
	select {
	case <-time.After(retryUnix):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package interpose

import (
	"context"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// erestartsys is the kernel's own errno for "interrupted: run the handler, and
// then the call again if the handler says so" (include/linux/errno.h). A
// program sees it as EINTR or not at all, because a signal is pending.
const erestartsys = unix.Errno(512)

// result is what becomes of a call.
type result struct {
	val       int64
	errno     unix.Errno
	proceed   bool                             // the kernel performs the call: only where that is harmless
	abandoned bool                             // the caller is gone, there is nobody to answer
	later     func(ctx context.Context) result // not done yet; may block
}

func fail(errno unix.Errno) result { return result{errno: errno} }

// done is the result of a call without a value.
func done(errno unix.Errno) result { return result{errno: errno} }

var gone = result{abandoned: true}

// call is one trapped call while it is handled. It owns its descriptors.
type call struct {
	s    *Supervisor
	n    sys.Notif
	args [6]uint64       // of the call itself, wherever they were
	ctx  context.Context // while it waits; ends when the caller is gone or interrupted
	end  context.CancelCauseFunc
	seen uint64 // process-wide signals at the last look, see watch

	compat   bool // a 32-bit call
	indirect bool // args were in memory, where the kernel would read them again

	way    way     // in which it waits for its socket
	pidfds *pidfds // where the pidfd comes from and goes to; nil: nowhere
	pidfd  int
	pinned int // O_PATH descriptor of a path that was decided about
	socket socket
	addr   [sockaddr.MaxLen]byte // see readAddr
	length int                   // of addr
	buf    []byte                // for data, kept between calls

	// Kept between calls, so that none allocates.
	asked   Call
	carried datagram
	message message
	vector  [1]sockaddr.Iovec
	copying pieces
	burst   *burst

	// What becomes of asked, and of message.
	connectAsked, sendAsked, sendMessage func() result
}

func newCall(kept *pidfds) *call {
	k := &call{pidfds: kept}
	k.connectAsked = func() result { return k.connectLed(&k.asked, k.addr[:k.length]) }
	k.sendAsked = func() result { return k.sendLed(&k.asked, &k.message) }
	k.sendMessage = func() result { return k.transmit(&k.message) }
	return k
}

func (k *call) reset(s *Supervisor, n *sys.Notif) {
	k.s, k.n, k.args, k.ctx, k.end, k.seen = s, *n, n.Data.Args, nil, nil, 0
	k.compat, k.indirect, k.way = false, false, outward
	k.pidfd, k.pinned, k.socket = -1, -1, socket{fd: -1}
}

// close gives the descriptors up. The duplicate must not outlive the call: a
// socket that the program closes has to be closed.
func (k *call) close() {
	if k.pidfd >= 0 && k.pidfds != nil {
		k.pidfds.put(k.tid(), k.pidfd)
		k.pidfd = -1
	}
	for _, fd := range [...]*int{&k.socket.fd, &k.pidfd, &k.pinned} {
		if *fd >= 0 {
			sys.Close(*fd)
		}
		*fd = -1
	}
}

// pin takes ownership of fd, in place of the one pinned before.
func (k *call) pin(fd int) {
	if k.pinned >= 0 {
		sys.Close(k.pinned)
	}
	k.pinned = fd
}

func (k *call) tid() int                { return int(k.n.PID) }
func (k *call) proc(name string) string { return "/proc/" + strconv.Itoa(k.tid()) + "/" + name }
func (k *call) arg(i int) uint64        { return k.args[i] }
func (k *call) int(i int) int           { return int(int32(k.args[i])) }

// valid says whether the caller is still there, and still this supervisor's.
func (k *call) valid() bool {
	return !k.s.handing.over.Load() && sys.NotifIDValid(k.s.listener, k.n.ID)
}

// send answers the caller.
func (k *call) send(r result) {
	if r.abandoned {
		return
	}
	if continueAll {
		r = result{proceed: true}
	}
	resp := sys.Resp{ID: k.n.ID, Val: r.val, Error: -int32(r.errno)}
	switch {
	case r.proceed:
		resp.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	case r.errno != 0:
		resp.Val = 0
	}
	switch errno := sys.NotifSend(k.s.listener, &resp); errno {
	case 0:
	case unix.ENOENT:
		k.s.replay.note(k, resp)
	default:
		k.s.log.Error("answer a call", "error", errno)
	}
}

// open duplicates the caller's descriptor fd, once. Everything that is decided
// or done afterwards is about the duplicate. If ok is false the result is the
// call's.
func (k *call) open(fd int) (r result, ok bool) {
	dup, errno := k.getfd(fd)
	if errno == unix.EBADF {
		return k.ifValid(unix.EBADF), false
	}
	if errno != 0 {
		return k.refused("pidfd_getfd", errno), false
	}
	k.socket.fd = dup
	flags, errno := sys.Fcntl(dup, unix.F_GETFL, 0)
	if errno != 0 || flags&unix.O_PATH != 0 {
		return k.ifValid(unix.EBADF), false
	}
	k.socket.flags, k.socket.nonblock = flags, flags&unix.O_NONBLOCK != 0
	return result{}, true
}

// ifValid fails the call with errno, unless the caller is gone: what was found
// out may then be about another process with the same id.
func (k *call) ifValid(errno unix.Errno) result {
	if !k.valid() {
		return gone
	}
	return fail(errno)
}

// refused denies a call that cannot be looked into.
func (k *call) refused(op string, errno unix.Errno) result {
	if errno == unix.ESRCH || !k.valid() {
		return gone
	}
	k.s.log.Warn("a call cannot be inspected", "tid", k.tid(), "op", op, "error", errno)
	return fail(unix.EACCES)
}

// readAddr copies the socket address that argument i points to, whose length
// follows, as move_addr_to_kernel of net/socket.c does. The copy is made once and
// is what is decided about and acted on.
func (k *call) readAddr(i int) ([]byte, unix.Errno) {
	n := k.int(i + 1)
	if n < 0 || n > sockaddr.MaxLen {
		return nil, unix.EINVAL
	}
	k.length = n
	return k.addr[:n], k.read(k.arg(i), k.addr[:n])
}

// decide asks the policy about c and then performs act, now or later. The
// caller is checked to be still there after everything was read and before
// anything is done.
func (k *call) decide(c *Call, act func() result) result {
	if !k.valid() {
		return gone
	}
	c.TID, c.Done = k.tid(), func() {}
	defer func() { c.Done() }()
	switch k.s.policy.Check(c) {
	case Allow:
		return perform(act)
	case Wait:
		return result{later: func(ctx context.Context) result {
			defer func() { c.Done() }()
			v := k.s.policy.Decide(ctx, c)
			if r, over := k.over(ctx); over {
				return r
			}
			if v != Allow {
				return fail(unix.EACCES)
			}
			return act()
		}}
	}
	return fail(unix.EACCES)
}

// perform does what was allowed. A test makes it let the kernel do it, to see
// that the race harness finds the leak of a supervisor that works like that.
var perform = func(act func() result) result { return act() }

// over says whether a waiting call has ended by itself, and how.
func (k *call) over(ctx context.Context) (result, bool) {
	if ctx.Err() == nil {
		return result{}, false
	}
	if context.Cause(ctx) == errInterrupted {
		return fail(erestartsys), true
	}
	return gone, true
}

package interpose

import (
	"context"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// Limits of what is copied for one message. The kernel's own limits on
// datagrams and control messages are lower unless an administrator raised them.
const (
	maxDatagram = 16 << 20
	maxControl  = 256 << 10
	chunk       = 256 << 10 // of a stream
	maxMessages = 1024      // UIO_MAXIOV, which bounds sendmmsg
)

// message is one message to send: copies of everything but its data, which
// nothing is decided by.
type message struct {
	name    []byte
	data    []sockaddr.Iovec
	control []byte
	flags   int

	copied []byte // if not nil, what is sent: a copy of data, or what takes its place
}

// sendto handles sendto(fd, buf, len, flags, addr, addrlen). The filter traps
// it only with an address.
func (k *call) sendto() result {
	k.vector[0] = sockaddr.Iovec{Base: k.arg(1), Len: k.arg(2)}
	m := &k.message
	*m = message{data: k.vector[:], flags: k.int(3)}
	if k.arg(4) == 0 { // socketcall(2) can get here without an address
		return k.deliver(m)
	}
	errno := k.readDatagram(m)
	if errno == 0 && len(m.name) == 0 && k.socket.domain != unix.AF_UNIX && k.socket.typ == unix.SOCK_DGRAM {
		errno = unix.EINVAL // an address of no length, not the absence of one
	}
	if errno != 0 {
		return k.ifValid(errno)
	}
	return k.deliver(m)
}

// maxEarly is how much data is copied before anything is decided, because it
// costs nothing then.
const maxEarly = 64 << 10

// readDatagram copies the address of a sendto, and its data as well where that is
// one datagram and can be read.
func (k *call) readDatagram(m *message) (errno unix.Errno) {
	n, size := k.int(5), m.data[0].Len
	if n < 0 || n > sockaddr.MaxLen || size == 0 || size > maxEarly || k.socket.typ != unix.SOCK_DGRAM {
		m.name, errno = k.readAddr(4)
		return errno
	}
	m.name, m.copied = k.addr[:n], k.buffer(int(size))
	p := k.pieces()
	p.add(m.name, k.arg(4))
	p.add(m.copied, m.data[0].Base)
	if errno = k.readPieces(p); errno != 0 {
		m.copied = nil
		m.name, errno = k.readAddr(4)
	}
	return errno
}

// sendmsg handles sendmsg(fd, msg, flags).
func (k *call) sendmsg() result {
	if k.ownSend() {
		return k.decideLocal(func() result { return result{proceed: true} })
	}
	m, errno := k.readMessage(k.arg(1), k.int(2))
	if errno != 0 {
		return k.ifValid(errno)
	}
	return k.deliver(m)
}

// ownSend says that the kernel may perform a send itself, so that the peer
// sees the sender's own credentials. An AF_UNIX stream or packet socket has one
// peer, whatever the message says; and a process with one thread shares its
// descriptor table with nobody, because the filter lets nobody make such a
// table: the descriptor cannot be another one when the kernel looks at it.
func (k *call) ownSend() bool {
	s := &k.socket
	if s.domain != unix.AF_UNIX || s.typ == unix.SOCK_DGRAM || k.indirect {
		return false
	}
	return k.lone()
}

// readMessage copies a message header, the name, the vectors and the control
// messages, once each, in the order of ___sys_sendmsg in net/socket.c.
func (k *call) readMessage(at uint64, flags int) (*message, unix.Errno) {
	head, errno := k.readMsghdr(at)
	if errno != 0 {
		return nil, errno
	}
	h, errno := sockaddr.ParseMsghdr(head[:])
	if errno != 0 {
		return nil, errno
	}
	m := &k.message
	*m = message{name: k.addr[:h.NameLen], flags: flags}
	vectors, errno := k.readNamed(&h, m.name)
	if errno != 0 {
		return nil, errno
	}
	if m.data, errno = sockaddr.ParseIovecs(vectors); errno != 0 {
		return nil, errno
	}
	if h.ControlLen == 0 {
		return m, 0
	}
	if h.ControlLen > maxControl {
		return nil, unix.ENOBUFS
	}
	m.control, errno = k.readControl(h.Control, h.ControlLen)
	return m, errno
}

// deliver decides about one message and sends it.
func (k *call) deliver(m *message) result {
	s := &k.socket
	network, ok := s.network()
	switch {
	case !ok:
		return k.ifValid(unix.EACCES)
	case network == kernelOnly && len(m.control) > 0:
		return k.ifValid(unix.EPERM)
	case network == kernelOnly && len(m.name) > 0:
		if errno := toKernel(m.name); errno != 0 {
			return k.ifValid(errno)
		}
		m.name = nil
		return k.decideLocal(k.sendMessage)
	case network == kernelOnly, len(m.name) == 0 || s.typ != unix.SOCK_DGRAM:
		// To the peer that a connect was decided about; the kernel looks at
		// no name but a datagram's. MSG_FASTOPEN does not get here.
		return k.decideLocal(k.sendMessage)
	case network == Unix:
		c, to, errno := k.unixPeer(Send, m.name)
		if errno != 0 {
			return k.ifValid(errno)
		}
		m.name = to
		return k.decide(c, k.sendMessage)
	}
	to, ok, errno := s.peer(Send, m.name)
	switch {
	case errno != 0:
		return k.ifValid(errno)
	case !ok:
		// As if there were no name; so there is none, should the socket
		// become one to which it is one.
		m.name = nil
		return k.decideLocal(k.sendMessage)
	}
	k.carried = datagram{k: k, m: m}
	k.asked = Call{Op: Send, Network: network, Addr: to, datagram: &k.carried}
	return k.decide(&k.asked, k.sendAsked)
}

// transmit sends a message on the duplicate.
func (k *call) transmit(m *message) result {
	control, rights, errno := k.control(m.control)
	defer func() { closeAll(rights) }()
	if errno != 0 {
		return k.ifValid(errno)
	}
	r := (&transfer{k: k, m: m, control: control, rest: m.data}).step()
	if r.later != nil && len(rights) > 0 {
		// The descriptors must stay open until they are sent.
		later, kept := r.later, rights
		rights = nil
		r.later = func(ctx context.Context) result {
			defer closeAll(kept)
			return later(ctx)
		}
	}
	return r
}

func closeAll(fds []int) {
	for _, fd := range fds {
		sys.Close(fd)
	}
}

// transfer is a message on its way: a stream takes it in pieces.
type transfer struct {
	k       *call
	m       *message
	control []byte
	rest    []sockaddr.Iovec
	sent    int
}

// step sends what the socket takes now. What is left for a socket in blocking
// mode is sent later.
func (t *transfer) step() result {
	errno := t.push()
	if errno == 0 && len(t.rest) > 0 && t.sent > 0 || t.full(errno) {
		waits := *t // on the heap, which what does not wait is spared
		return result{later: waits.finish}
	}
	return t.result(errno)
}

// full says that there is no room now, and that the call waits for some.
func (t *transfer) full(errno unix.Errno) bool {
	return errno == unix.EAGAIN && t.k.blocking(t.m.flags)
}

// result reports progress rather than an error, as the kernel does.
func (t *transfer) result(errno unix.Errno) result {
	if t.sent > 0 || errno == 0 {
		return result{val: int64(t.sent)}
	}
	k := t.k
	if errno == unix.EPIPE && k.socket.typ == unix.SOCK_STREAM && t.m.flags&unix.MSG_NOSIGNAL == 0 {
		// The kernel signals whoever calls, which was not the program.
		if st, err := readStatus(k.tid()); err == nil && k.valid() {
			sys.Tgkill(st.tgid, k.tid(), unix.SIGPIPE)
		}
	}
	return fail(errno)
}

// finish sends the rest, waiting for room as long as the socket may.
func (t *transfer) finish(ctx context.Context) result {
	r, ok := t.pushAll()
	if !ok {
		r = t.k.retry(ctx, unix.EAGAIN, t.pushAll)
	}
	if t.sent > 0 {
		return t.result(0)
	}
	return r
}

// pushAll sends as much as there is room for; ok is false when that was not all.
func (t *transfer) pushAll() (r result, ok bool) {
	errno := t.push()
	for errno == 0 && len(t.rest) > 0 {
		errno = t.push()
	}
	return t.result(errno), !t.full(errno)
}

// push sends one piece: all of a datagram, a part of a stream.
func (t *transfer) push() unix.Errno {
	k := t.k
	total := sockaddr.Total(t.rest)
	whole := k.socket.typ != unix.SOCK_STREAM
	if whole && total > maxDatagram {
		return unix.EMSGSIZE
	}
	n := total
	if !whole {
		n = min(n, chunk)
	}
	data, errno := t.m.copied, unix.Errno(0)
	if data == nil {
		data, errno = k.gather(t.rest, n)
	}
	if errno != 0 {
		return errno
	}
	sent, errno := sys.Sendmsg(k.socket.fd, data, t.m.name, t.control, sendFlags(t.m.flags))
	if errno != 0 {
		return errno
	}
	t.control = nil
	t.sent += sent
	if whole {
		t.rest = nil
		return 0
	}
	t.rest = skip(t.rest, sent)
	return 0
}

// sendFlags are those of a send that waits for nothing and signals nobody.
func sendFlags(flags int) int {
	const drop = unix.MSG_ZEROCOPY // its completion is meant for the sender's own pages
	return flags&^drop | unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
}

// gather copies n bytes of the caller's memory.
func (k *call) gather(v []sockaddr.Iovec, n int) ([]byte, unix.Errno) {
	b, p := k.buffer(n), k.pieces()
	for at := 0; at < n; v = v[1:] {
		part := b[at:min(n, at+int(v[0].Len))]
		p.add(part, v[0].Base)
		at += len(part)
	}
	return b, k.readPieces(p)
}

// skip returns v without its first n bytes.
func skip(v []sockaddr.Iovec, n int) []sockaddr.Iovec {
	for len(v) > 0 && uint64(n) >= v[0].Len {
		n -= int(v[0].Len)
		v = v[1:]
	}
	if len(v) == 0 {
		return nil
	}
	rest := append([]sockaddr.Iovec(nil), v...)
	rest[0].Base += uint64(n)
	rest[0].Len -= uint64(n)
	return rest
}

// sendmmsg handles sendmmsg(fd, vec, vlen, flags): each message has a verdict
// of its own, and the first that fails ends the call.
func (k *call) sendmmsg() result {
	if k.ownSend() {
		return k.decideLocal(func() result { return result{proceed: true} })
	}
	v := vector{k: k, n: int(min(uint32(k.arg(2)), maxMessages))}
	return v.next()
}

// vector is a sendmmsg on its way.
type vector struct {
	k     *call
	n, at int
}

// next sends messages until one fails or has to wait.
func (v *vector) next() result {
	k := v.k
	for v.at < v.n {
		r, ok := v.burst()
		if !ok {
			m, errno := k.readMessage(v.header(), k.int(3))
			if r = fail(errno); errno == 0 {
				r = k.deliver(m)
			}
		}
		if last, end := v.account(r); end {
			return last
		}
	}
	return result{val: int64(v.at)}
}

func (v *vector) header() uint64 {
	size, _ := v.k.mmsghdr()
	return v.k.arg(1) + uint64(v.at)*size
}

// account notes the outcome of a message, of one that waits when it has one. An
// error behind the first message is dropped, see sendmmsg(2).
func (v *vector) account(r result) (last result, end bool) {
	if later := r.later; later != nil {
		return result{later: func(ctx context.Context) result {
			if last, end := v.account(later(ctx)); end {
				return last
			}
			return v.next()
		}}, true
	}
	if r.abandoned || r.proceed {
		return r, true
	}
	if r.errno == 0 {
		var length [4]byte
		binary.NativeEndian.PutUint32(length[:], uint32(r.val))
		_, at := v.k.mmsghdr()
		if r.errno = v.k.write(v.header()+at, length[:]); r.errno == 0 {
			v.at++
			return result{}, false
		}
	}
	if v.at > 0 {
		return result{val: int64(v.at)}, true
	}
	return r, true
}

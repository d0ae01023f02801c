package interpose

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// burst is the messages of a sendmmsg that go to one address and are nothing but
// one piece of data each: one question, and one system call that sends them. It
// has room for copies of what is read of each.
type burst struct {
	headers [sys.MaxBurst * sockaddr.MmsghdrLen]byte
	names   [sys.MaxBurst * sockaddr.MaxLen]byte
	vectors [sys.MaxBurst * sockaddr.IovecLen]byte
	data    [sys.MaxBurst]unix.Iovec
	lengths [sys.MaxBurst][4]byte // that sendmmsg returns
	n       int
}

// burst sends as many messages as make one, and leaves the last to be accounted
// for. ok is false where there are none, and that is to be found out again, one
// by one.
func (v *vector) burst() (r result, ok bool) {
	k := v.k
	network, ok := k.socket.network()
	if !ok || network != UDP || k.compat || v.n-v.at < 2 {
		return r, false
	}
	if k.burst == nil {
		k.burst = new(burst)
	}
	name, ok := k.burst.read(k, v.header(), min(v.n-v.at, sys.MaxBurst))
	if !ok {
		return r, false
	}
	to, ok, errno := k.socket.peer(Send, name)
	if !ok || errno != 0 {
		return r, false
	}
	first := k.burst.data[0]
	k.vector[0] = sockaddr.Iovec{Base: binary.NativeEndian.Uint64(k.burst.vectors[:]), Len: first.Len}
	k.message = message{name: name, data: k.vector[:], flags: k.int(3)}
	k.message.copied = k.buf[:first.Len:first.Len]
	k.carried = datagram{k: k, m: &k.message}
	k.asked = Call{Op: Send, Network: network, Addr: to, datagram: &k.carried}
	return k.decide(&k.asked, func() result {
		if k.carried.data != nil {
			return k.sendAsked() // only this one was looked at
		}
		return v.sendBurst(name)
	}), true
}

// read copies as many of n messages as make a burst, at least two, and returns
// their name.
func (b *burst) read(k *call, at uint64, n int) (name []byte, ok bool) {
	headers := b.headers[:n*sockaddr.MmsghdrLen]
	if k.read(at, headers) != 0 {
		return nil, false
	}
	length, p := 0, k.pieces()
	for b.n = 0; b.n < n; b.n++ {
		h, errno := sockaddr.ParseMsghdr(headers[b.n*sockaddr.MmsghdrLen:])
		if b.n == 0 {
			length = h.NameLen
		}
		if errno != 0 || h.NameLen == 0 || h.NameLen != length || h.IovLen != 1 || h.ControlLen != 0 {
			break
		}
		p.add(b.name(b.n, length), h.Name)
		p.add(b.vectors[b.n*sockaddr.IovecLen:][:sockaddr.IovecLen], h.Iov)
	}
	if b.n < 2 || k.readPieces(p) != 0 || !b.readData(k, length) {
		return nil, false
	}
	return b.name(0, length), true
}

func (b *burst) name(i, length int) []byte { return b.names[i*sockaddr.MaxLen:][:length] }

// readData copies the data of the messages that have the same name as the first.
func (b *burst) readData(k *call, length int) bool {
	total, n := 0, 0
	for ; n < b.n && bytes.Equal(b.name(n, length), b.name(0, length)); n++ {
		size := binary.NativeEndian.Uint64(b.vectors[n*sockaddr.IovecLen+8:])
		if size == 0 || size > maxEarly || total+int(size) > chunk {
			break
		}
		b.data[n].Len = size
		total += int(size)
	}
	b.n = n
	buf, p := k.buffer(total), k.pieces()
	for i := range n {
		size := int(b.data[i].Len)
		b.data[i].Base = &buf[0]
		p.add(buf[:size], binary.NativeEndian.Uint64(b.vectors[i*sockaddr.IovecLen:]))
		buf = buf[size:]
	}
	return n >= 2 && k.readPieces(p) == 0
}

// sendBurst sends a burst that was allowed. What the socket does not take is
// tried again by itself.
func (v *vector) sendBurst(name []byte) result {
	k, b := v.k, v.k.burst
	n, errno := sys.Sendmmsg(k.socket.fd, b.data[:b.n], name, sendFlags(k.int(3)))
	if errno != 0 {
		return k.sendAsked()
	}
	size, at := k.mmsghdr()
	p := k.pieces()
	for i := range n - 1 {
		binary.NativeEndian.PutUint32(b.lengths[i][:], uint32(b.data[i].Len))
		p.add(b.lengths[i][:], v.header()+uint64(i)*size+at)
	}
	if errno := k.writePieces(p); errno != 0 {
		return fail(errno)
	}
	v.at += n - 1
	return result{val: int64(b.data[n-1].Len)}
}

package sockaddr

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes of the 64-bit structures, include/linux/socket.h.
const (
	MsghdrLen  = 56   // struct user_msghdr
	MmsghdrLen = 64   // struct mmsghdr
	MsgLenAt   = 56   // offset of mmsghdr.msg_len
	IovecLen   = 16   // struct iovec
	MaxIovecs  = 1024 // UIO_MAXIOV
)

// Msghdr is a message header: addresses in the program's memory, and lengths.
type Msghdr struct {
	Name       uint64
	NameLen    int
	Iov        uint64
	IovLen     uint64
	Control    uint64
	ControlLen uint64
}

// ParseMsghdr decodes a header of at least MsghdrLen bytes, as
// __copy_msghdr of net/socket.c does: a name longer than MaxLen is cut, a
// negative length is EINVAL, a NULL name has no length, more than MaxIovecs
// vectors are EMSGSIZE.
func ParseMsghdr(b []byte) (Msghdr, unix.Errno) {
	if len(b) < MsghdrLen {
		return Msghdr{}, unix.EFAULT
	}
	u64 := func(off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }
	h := Msghdr{
		Name:       u64(0),
		NameLen:    int(int32(binary.NativeEndian.Uint32(b[8:]))),
		Iov:        u64(16),
		IovLen:     u64(24),
		Control:    u64(32),
		ControlLen: u64(40),
	}
	if h.Name == 0 {
		h.NameLen = 0
	}
	switch {
	case h.NameLen < 0:
		return h, unix.EINVAL
	case h.IovLen > MaxIovecs:
		return h, unix.EMSGSIZE
	}
	h.NameLen = min(h.NameLen, MaxLen)
	return h, 0
}

// Iovec is one part of a message's data.
type Iovec struct {
	Base uint64
	Len  uint64
}

// maxTotal is MAX_RW_COUNT of include/linux/fs.h with pages of 4 KiB: the
// kernel cuts a message there.
const maxTotal = 0x7fffffff &^ 0xfff

// ParseIovecs decodes vectors and cuts their total at what the kernel sends
// in one call. A single length that is negative as a signed number is EINVAL.
func ParseIovecs(b []byte) ([]Iovec, unix.Errno) {
	v := make([]Iovec, 0, len(b)/IovecLen)
	left := uint64(maxTotal)
	for ; len(b) >= IovecLen; b = b[IovecLen:] {
		p := Iovec{binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])}
		if int64(p.Len) < 0 {
			return nil, unix.EINVAL
		}
		p.Len = min(p.Len, left)
		left -= p.Len
		v = append(v, p)
	}
	return v, 0
}

// Total is the number of bytes in v.
func Total(v []Iovec) int {
	n := uint64(0)
	for _, p := range v {
		n += p.Len
	}
	return int(n)
}

// Cmsg is one control message. Data is a part of the buffer it was read from.
type Cmsg struct {
	Level, Type int32
	Data        []byte
}

const cmsgHeader = 16 // struct cmsghdr

// NextCmsg reads the first control message of b and returns the rest. A
// remainder too short for a header ends the list, ok is false then; a length
// that is shorter than a header or runs past b is EINVAL, as the kernel says.
func NextCmsg(b []byte) (c Cmsg, rest []byte, ok bool, errno unix.Errno) {
	if len(b) < cmsgHeader {
		return c, nil, false, 0
	}
	n := binary.NativeEndian.Uint64(b)
	if n < cmsgHeader || n > uint64(len(b)) {
		return c, nil, false, unix.EINVAL
	}
	c.Level = int32(binary.NativeEndian.Uint32(b[8:]))
	c.Type = int32(binary.NativeEndian.Uint32(b[12:]))
	c.Data = b[cmsgHeader:n]
	next := min((n+7)&^7, uint64(len(b)))
	return c, b[next:], true, 0
}

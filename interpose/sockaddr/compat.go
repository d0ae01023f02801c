package sockaddr

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes of the 32-bit structures, include/net/compat.h.
const (
	CompatMsghdrLen  = 28 // struct compat_msghdr
	CompatMmsghdrLen = 32 // struct compat_mmsghdr
	CompatMsgLenAt   = 28
	CompatIovecLen   = 8 // struct compat_iovec

	compatCmsgHeader = 12 // struct compat_cmsghdr
)

// ExpandMsghdr returns the 64-bit layout of a 32-bit message header.
func ExpandMsghdr(b *[CompatMsghdrLen]byte) [MsghdrLen]byte {
	var out [MsghdrLen]byte
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
	put := func(off int, v uint32) { binary.NativeEndian.PutUint64(out[off:], uint64(v)) }
	put(0, u32(0)) // msg_name
	binary.NativeEndian.PutUint32(out[8:], u32(4))
	put(16, u32(8))  // msg_iov
	put(24, u32(12)) // msg_iovlen
	put(32, u32(16)) // msg_control
	put(40, u32(20)) // msg_controllen
	return out
}

// ExpandIovecs returns the 64-bit layout of 32-bit vectors. A length that is
// negative stays so.
func ExpandIovecs(b []byte) []byte {
	out := make([]byte, 0, 2*len(b))
	for ; len(b) >= CompatIovecLen; b = b[CompatIovecLen:] {
		out = binary.NativeEndian.AppendUint64(out, uint64(binary.NativeEndian.Uint32(b)))
		out = binary.NativeEndian.AppendUint64(out, uint64(int32(binary.NativeEndian.Uint32(b[4:]))))
	}
	return out
}

// ExpandCmsgs returns the 64-bit layout of 32-bit control messages. Where the
// kernel finds none, or one that runs past b, it says EINVAL
// (cmsghdr_from_user_compat_to_kern, net/compat.c).
func ExpandCmsgs(b []byte) ([]byte, unix.Errno) {
	var out []byte
	for len(b) >= compatCmsgHeader {
		n := binary.NativeEndian.Uint32(b)
		if n < compatCmsgHeader || uint64(n) > uint64(len(b)) {
			return nil, unix.EINVAL
		}
		data := b[compatCmsgHeader:n]
		out = binary.NativeEndian.AppendUint64(out, uint64(cmsgHeader+len(data)))
		out = append(out, b[4:12]...) // level and type
		out = append(out, data...)
		out = append(out, make([]byte, -len(out)&7)...)
		b = b[min((int(n)+3)&^3, len(b)):]
	}
	if len(out) == 0 {
		return nil, unix.EINVAL
	}
	return out, 0
}

// Package sockaddr decodes what system calls of sockets take: socket
// addresses, message headers and control messages, as bytes copied from a
// program that may have put anything into them.
//
//	a, errno := sockaddr.Parse(bytes)
//
// It is pure, allocates nothing by a length that the program chose, and knows
// the layout of 64-bit little-endian Linux only.
package sockaddr

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// MaxLen is the size of struct sockaddr_storage: the kernel takes no longer
// address, see move_addr_to_kernel in net/socket.c.
const MaxLen = 128

// Lengths the kernel asks for.
const (
	lenInet4    = 16  // struct sockaddr_in
	lenInet6    = 24  // SIN6_LEN_RFC2133: sin6_scope_id may be absent
	lenInet6All = 28  // struct sockaddr_in6
	lenUnix     = 110 // struct sockaddr_un
)

// Addr is a decoded socket address.
type Addr struct {
	Family uint16
	Inet   netip.AddrPort // of AF_INET and AF_INET6, as it was written: v4-mapped stays mapped
	Unix   string         // of AF_UNIX: a path, or '@' and an abstract name; "" is unnamed
}

// Parse decodes an address of one of the families AF_INET, AF_INET6 and
// AF_UNIX. The errno is the kernel's: EINVAL for a length that is too short or
// too long, EAFNOSUPPORT for another family, whose number is still returned.
func Parse(b []byte) (Addr, unix.Errno) {
	if len(b) < 2 || len(b) > MaxLen {
		return Addr{}, unix.EINVAL
	}
	a := Addr{Family: binary.NativeEndian.Uint16(b)}
	switch a.Family {
	case unix.AF_INET:
		if len(b) < lenInet4 {
			return a, unix.EINVAL
		}
		a.Inet = inet4(b)
	case unix.AF_INET6:
		if len(b) < lenInet6 {
			return a, unix.EINVAL
		}
		a.Inet = inet6(b)
	case unix.AF_UNIX:
		if len(b) > lenUnix {
			return a, unix.EINVAL
		}
		a.Unix = unixName(b[2:])
	default:
		return a, unix.EAFNOSUPPORT
	}
	return a, 0
}

// Inet4 reads b as a struct sockaddr_in whatever its family says, as the
// kernel's UDP does with AF_UNSPEC.
func Inet4(b []byte) (netip.AddrPort, unix.Errno) {
	if len(b) < lenInet4 {
		return netip.AddrPort{}, unix.EINVAL
	}
	return inet4(b), 0
}

func inet4(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
}

func inet6(b []byte) netip.AddrPort {
	ip := netip.AddrFrom16([16]byte(b[8:24]))
	if len(b) >= lenInet6All {
		// The kernel looks at the scope of link-local addresses only.
		scope := binary.NativeEndian.Uint32(b[24:])
		if scope != 0 && !ip.Is4In6() && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast()) {
			ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[2:]))
}

// unixName reads sun_path: a path ends at its first NUL or with the address, an
// abstract name is all that follows its NUL.
func unixName(path []byte) string {
	if len(path) == 0 {
		return ""
	}
	if path[0] == 0 {
		return "@" + string(path[1:])
	}
	for i, c := range path {
		if c == 0 {
			return string(path[:i])
		}
	}
	return string(path)
}

// Inet encodes a as a struct sockaddr_in, or as a struct sockaddr_in6 where as4
// is false. A zone that is no number is left out.
func Inet(a netip.AddrPort, as4 bool) []byte {
	b := make([]byte, lenInet6All)
	binary.BigEndian.PutUint16(b[2:], a.Port())
	if as4 {
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		ip := a.Addr().Unmap().As4()
		copy(b[4:], ip[:])
		return b[:lenInet4]
	}
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	ip := a.Addr().As16()
	copy(b[8:], ip[:])
	scope, _ := strconv.ParseUint(a.Addr().Zone(), 10, 32)
	binary.NativeEndian.PutUint32(b[24:], uint32(scope))
	return b
}

// Unix encodes path as a struct sockaddr_un. The path must be shorter than
// 108 bytes.
func Unix(path string) []byte {
	b := make([]byte, 2, 3+len(path))
	binary.NativeEndian.PutUint16(b, unix.AF_UNIX)
	return append(append(b, path...), 0)
}

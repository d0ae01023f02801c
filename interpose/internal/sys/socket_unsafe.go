package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Connect is connect(2) with the address as the kernel reads it.
func Connect(fd int, addr []byte) unix.Errno { return addressed(unix.SYS_CONNECT, fd, addr) }

// Bind is bind(2) with the address as the kernel reads it.
func Bind(fd int, addr []byte) unix.Errno { return addressed(unix.SYS_BIND, fd, addr) }

func addressed(trap uintptr, fd int, addr []byte) unix.Errno {
	_, _, e := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)))
	return e
}

// Listen is listen(2).
func Listen(fd, backlog int) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_LISTEN, uintptr(fd), uintptr(backlog), 0)
	return e
}

// Sendmsg sends data as one buffer, with the address and the control messages
// as the kernel reads them; empty ones are absent.
func Sendmsg(fd int, data, addr, control []byte, flags int) (int, unix.Errno) {
	iov := unix.Iovec{Base: unsafe.SliceData(data), Len: uint64(len(data))}
	msg := unix.Msghdr{Iov: &iov, Iovlen: 1}
	if len(addr) > 0 {
		msg.Name, msg.Namelen = &addr[0], uint32(len(addr))
	}
	if len(control) > 0 {
		msg.Control, msg.Controllen = &control[0], uint64(len(control))
	}
	n, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	return int(n), e
}

// MaxBurst is how many datagrams Sendmmsg sends at once.
const MaxBurst = 64

// Sendmmsg sends each of data as a datagram to addr, and returns how many it has
// sent. There are at most MaxBurst.
func Sendmmsg(fd int, data []unix.Iovec, addr []byte, flags int) (int, unix.Errno) {
	var v [MaxBurst]struct { // struct mmsghdr
		unix.Msghdr
		length uint64 // with the padding
	}
	for i := range data {
		v[i].Msghdr = unix.Msghdr{Name: &addr[0], Namelen: uint32(len(addr)), Iov: &data[i], Iovlen: 1}
	}
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&v)), uintptr(len(data)), uintptr(flags), 0, 0)
	return int(n), e
}

// Recvfrom receives into b. It fills name and returns its length, too.
func Recvfrom(fd int, b []byte, flags int, name []byte) (n, named int, errno unix.Errno) {
	size := uint32(len(name))
	r, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags),
		uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(unsafe.Pointer(&size)))
	return int(r), int(min(size, uint32(len(name)))), e
}

// Getsockname is getsockname(2): it fills b and returns the name's length.
func Getsockname(fd int, b []byte) (int, unix.Errno) { return name(unix.SYS_GETSOCKNAME, fd, b) }

// Getpeername is getpeername(2), in the same way.
func Getpeername(fd int, b []byte) (int, unix.Errno) { return name(unix.SYS_GETPEERNAME, fd, b) }

func name(trap uintptr, fd int, b []byte) (int, unix.Errno) {
	n := uint32(len(b))
	_, _, e := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&n)))
	return int(min(n, uint32(len(b)))), e
}

// GetsockoptInt is getsockopt(2) for an option that is an int.
func GetsockoptInt(fd, level, name int) (int, unix.Errno) {
	var v int32
	n := uint32(4)
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&n)), 0)
	return int(v), e
}

// Fcntl is fcntl(2) with an int argument.
func Fcntl(fd, cmd, arg int) (int, unix.Errno) {
	r, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	return int(r), e
}

// Close is close(2).
func Close(fd int) { unix.Close(fd) }

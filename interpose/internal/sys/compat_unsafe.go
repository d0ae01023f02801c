package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Addfd is struct seccomp_notif_addfd.
type Addfd struct {
	ID         uint64
	Flags      uint32
	Srcfd      uint32
	Newfd      uint32
	NewfdFlags uint32
}

// NotifAddfd gives the caller of id a duplicate of fd and returns its number
// there (SECCOMP_IOCTL_NOTIF_ADDFD, Linux 5.9). ENOENT: the caller is gone.
func NotifAddfd(listener int, id uint64, fd, flags int) (int, unix.Errno) {
	a := Addfd{ID: id, Srcfd: uint32(fd), NewfdFlags: uint32(flags)}
	n, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_ADDFD, uintptr(unsafe.Pointer(&a)))
	return int(n), e
}

// Setsockopt is setsockopt(2) with the value as the kernel reads it.
func Setsockopt(fd, level, name int, value []byte) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(len(value)), 0)
	return e
}

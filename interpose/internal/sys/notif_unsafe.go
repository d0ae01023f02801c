// Package sys is netjail's edge to the kernel: one function for each system
// call that x/sys does not wrap as interpose needs it, under the name of its
// man page. It is the only package with unsafe code.
//
// Descriptors are plain ints here and owned by the caller. Errors are the bare
// errno, so that they can be handed to another process unchanged; 0 is success.
package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notif is struct seccomp_notif, include/uapi/linux/seccomp.h.
type Notif struct {
	ID    uint64
	PID   uint32 // a thread id, in the reader's pid namespace
	Flags uint32
	Data  Data
}

// Data is struct seccomp_data.
type Data struct {
	Nr                 int32
	Arch               uint32
	InstructionPointer uint64
	Args               [6]uint64
}

// Resp is struct seccomp_notif_resp. Error is negative or 0.
type Resp struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

// NotifRecv blocks until a call is trapped. It goes through Syscall, which
// gives the goroutine's processor away while it blocks. ENOENT and EINTR mean
// that the caller is gone, see seccomp_unotify(2).
func NotifRecv(listener int, n *Notif) unix.Errno {
	*n = Notif{} // the kernel refuses a structure that is not zero
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n)))
	return e
}

// NotifSend answers a call. ENOENT: the caller is gone.
func NotifSend(listener int, r *Resp) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(r)))
	return e
}

// NotifIDValid says whether the caller of id still waits.
func NotifIDValid(listener int, id uint64) bool {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
	return e == 0
}

// NotifSyncWakeUp asks the kernel to run caller and supervisor in turns on one
// CPU (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6). EINVAL: not known.
func NotifSyncWakeUp(listener int) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return e
}

// WaitKillable says whether the kernel knows WAIT_KILLABLE_RECV, Linux 5.19. It
// looks at the flags before the program, of which there is none.
func WaitKillable() bool {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	return e != unix.EINVAL
}

// ListenerRefused asks for a listener with no program, which installs nothing,
// and returns the errno: EFAULT from the kernel, EBUSY from a netjail filter
// that this process already runs under.
func ListenerRefused() unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, 0)
	return e
}

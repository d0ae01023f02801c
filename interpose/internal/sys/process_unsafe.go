package sys

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PidfdThread is PIDFD_THREAD, Linux 6.9.
const PidfdThread = unix.O_EXCL

// PidfdOpen is pidfd_open(2).
func PidfdOpen(pid, flags int) (int, unix.Errno) {
	fd, _, e := unix.RawSyscall(unix.SYS_PIDFD_OPEN, uintptr(pid), uintptr(flags), 0)
	return int(fd), e
}

// PidfdGetfd is pidfd_getfd(2). The new descriptor is close-on-exec.
func PidfdGetfd(pidfd, fd int) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_PIDFD_GETFD, uintptr(pidfd), uintptr(fd), 0)
	return int(n), e
}

// KcmpFiles says whether two tasks have one descriptor table, see kcmp(2).
func KcmpFiles(pid1, pid2 int) (bool, unix.Errno) {
	const kcmpFiles = 2 // KCMP_FILES, include/uapi/linux/kcmp.h
	r, _, e := unix.RawSyscall6(unix.SYS_KCMP, uintptr(pid1), uintptr(pid2), kcmpFiles, 0, 0, 0)
	return r == 0, e
}

// ProcessVMReadv copies from the memory of pid at addr into b and returns how
// much it could read. It may sleep: the page can be anybody's to provide.
func ProcessVMReadv(pid int, addr uintptr, b []byte) (int, unix.Errno) {
	return processVM(unix.SYS_PROCESS_VM_READV, pid, addr, b)
}

// ProcessVMReadvs is ProcessVMReadv of several pieces, as many of each.
func ProcessVMReadvs(pid int, local []unix.Iovec, remote []unix.RemoteIovec) (int, unix.Errno) {
	return processVMs(unix.SYS_PROCESS_VM_READV, pid, local, remote)
}

// ProcessVMWritevs is ProcessVMWritev of several pieces.
func ProcessVMWritevs(pid int, local []unix.Iovec, remote []unix.RemoteIovec) (int, unix.Errno) {
	return processVMs(unix.SYS_PROCESS_VM_WRITEV, pid, local, remote)
}

func processVMs(trap uintptr, pid int, local []unix.Iovec, remote []unix.RemoteIovec) (int, unix.Errno) {
	if len(local) == 0 {
		return 0, 0
	}
	n, _, e := unix.Syscall6(trap, uintptr(pid), uintptr(unsafe.Pointer(&local[0])), uintptr(len(local)),
		uintptr(unsafe.Pointer(&remote[0])), uintptr(len(local)), 0)
	if e == unix.EPERM || e == unix.ENOSYS {
		return memFile(trap, pid, local, remote)
	}
	return int(n), e
}

// memFile is for where a container's seccomp profile refuses the call, as Podman's
// does: the file wants the same rights of this process. It has no regard to what
// pid itself may do with the page.
func memFile(trap uintptr, pid int, local []unix.Iovec, remote []unix.RemoteIovec) (int, unix.Errno) {
	flags, transfer := unix.O_RDONLY, uintptr(unix.SYS_PREAD64)
	if trap == unix.SYS_PROCESS_VM_WRITEV {
		flags, transfer = unix.O_WRONLY, unix.SYS_PWRITE64
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/mem", flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, unix.EPERM
	}
	defer unix.Close(fd)
	total := 0
	for i, l := range local {
		n, _, e := unix.Syscall6(transfer, uintptr(fd), uintptr(unsafe.Pointer(l.Base)), uintptr(l.Len), remote[i].Base, 0, 0)
		if e != 0 {
			break
		}
		total += int(n)
		if n < uintptr(l.Len) {
			break
		}
	}
	if total == 0 {
		return 0, unix.EFAULT
	}
	return total, 0
}

// ProcessVMWritev copies b into the memory of pid at addr, or as much of it as
// can be written.
func ProcessVMWritev(pid int, addr uintptr, b []byte) (int, unix.Errno) {
	return processVM(unix.SYS_PROCESS_VM_WRITEV, pid, addr, b)
}

func processVM(trap uintptr, pid int, addr uintptr, b []byte) (int, unix.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	local := [1]unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := [1]unix.RemoteIovec{{Base: addr, Len: len(b)}}
	return processVMs(trap, pid, local[:], remote[:])
}

// Tgkill is tgkill(2).
func Tgkill(tgid, tid int, sig unix.Signal) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_TGKILL, uintptr(tgid), uintptr(tid), uintptr(sig))
	return e
}

// NoRestart makes system calls that sig interrupts fail with EINTR: it takes
// SA_RESTART from the handler that is installed. The Go runtime installs all of
// its own with it.
func NoRestart(sig unix.Signal) unix.Errno {
	var act struct { // struct sigaction of the kernel, on amd64 and arm64
		handler, flags, restorer uintptr
		mask                     uint64
	}
	const saRestart = 0x10000000
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&act)), unsafe.Sizeof(act.mask), 0, 0)
	if e != 0 {
		return e
	}
	act.flags &^= saRestart
	_, _, e = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, unsafe.Sizeof(act.mask), 0, 0)
	return e
}

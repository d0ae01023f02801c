package filter

import "golang.org/x/sys/unix"

// Arch is one system call ABI: how the kernel names it to a filter, and the
// numbers of the calls that a program names.
type Arch struct {
	Audit  uint32 // AUDIT_ARCH_*, include/uapi/linux/audit.h
	Other  uint32 // the same of the 32-bit ABI of the same machine; 0: none
	X32    bool   // shares Audit with the x32 ABI
	Number Numbers
}

// Numbers holds system call numbers by name.
type Numbers struct {
	Socket, Socketpair, Connect, Bind, Listen    uint32
	Sendto, Sendmsg, Sendmmsg, Setsockopt, Ioctl uint32
	Recvfrom                                     uint32
	Seccomp, Clone, Clone3, Bpf, RequestKey      uint32
	IoUringSetup, IoUringEnter, IoUringRegister  uint32

	Socketcall uint32 // 0: there is none
}

// The ABIs netjail runs on. All numbers are spelled out so that each program
// can be built and simulated on any machine; a test pins the native ones to
// the C library's names.
var (
	AMD64 = Arch{
		Audit: unix.AUDIT_ARCH_X86_64,
		Other: unix.AUDIT_ARCH_I386,
		X32:   true,
		Number: Numbers{
			Socket: 41, Connect: 42, Sendto: 44, Sendmsg: 46, Bind: 49, Listen: 50,
			Socketpair: 53, Setsockopt: 54, Sendmmsg: 307, Ioctl: 16, Recvfrom: 45,
			Clone: 56, Clone3: 435, Seccomp: 317, Bpf: 321, RequestKey: 249,
			IoUringSetup: 425, IoUringEnter: 426, IoUringRegister: 427,
		},
	}
	ARM64 = Arch{
		Audit: unix.AUDIT_ARCH_AARCH64,
		Other: unix.AUDIT_ARCH_ARM,
		Number: Numbers{
			Socket: 198, Socketpair: 199, Bind: 200, Listen: 201, Connect: 203,
			Sendto: 206, Setsockopt: 208, Sendmsg: 211, Sendmmsg: 269, Ioctl: 29, Recvfrom: 207,
			Clone: 220, Clone3: 435, Seccomp: 277, Bpf: 280, RequestKey: 218,
			IoUringSetup: 425, IoUringEnter: 426, IoUringRegister: 427,
		},
	}
)

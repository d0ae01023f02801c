package filter

import "golang.org/x/sys/unix"

// I386 has two ways to each call: a number of its own since Linux 4.3,
// and socketcall(2), which C libraries still use.
var I386 = Arch{
	Audit: unix.AUDIT_ARCH_I386,
	Number: Numbers{
		Socket: 359, Socketpair: 360, Bind: 361, Connect: 362, Listen: 363,
		Setsockopt: 366, Sendto: 369, Sendmsg: 370, Sendmmsg: 345, Ioctl: 54, Recvfrom: 371,
		Clone: 120, Clone3: 435, Seccomp: 354, Bpf: 357, RequestKey: 287,
		IoUringSetup: 425, IoUringEnter: 426, IoUringRegister: 427,
		Socketcall: 102,
	},
}

// Native returns the native number of the call that is nr here, or one that is
// none.
func (n *Numbers) Native(nr uint32) uint32 {
	own := &Native.Number
	switch nr {
	case n.Connect:
		return own.Connect
	case n.Bind:
		return own.Bind
	case n.Listen:
		return own.Listen
	case n.Sendto:
		return own.Sendto
	case n.Sendmsg:
		return own.Sendmsg
	case n.Sendmmsg:
		return own.Sendmmsg
	case n.Recvfrom:
		return own.Recvfrom
	}
	return ^uint32(0)
}

// Calls of socketcall(2) that can name no destination and create no socket,
// include/uapi/linux/net.h. The arguments of all are in memory: those of recvfrom
// cannot be told apart here as recvfrom does, and each small datagram would pay.
var harmlessSocketcall = []uint32{
	5, 18, // accept, accept4
	6, 7, // getsockname, getpeername
	9,              // send, which has no address
	10, 12, 17, 19, // recv, recvfrom, recvmsg, recvmmsg
	13, // shutdown
	15, // getsockopt
}

// foreign writes what becomes of another ABI's calls.
func (a *Arch) foreign(b *builder, compat *Arch) {
	switch {
	case compat != nil:
		b.on(compat.Audit, func(b *builder) { compat.calls(b, Notify) })
	case a.Other != 0:
		b.on(a.Other, ret(Notify))
	}
}

// multiplexed writes what becomes of socketcall(2), where there is one.
func (a *Arch) multiplexed(b *builder) {
	if a.Number.Socketcall != 0 {
		b.on(a.Number.Socketcall, socketcall)
	}
}

func socketcall(b *builder) {
	b.loadArg(0)
	for _, call := range harmlessSocketcall {
		b.on(call, ret(Allow))
	}
	b.ret(Notify)
}

// Action returns what the program that was built for a makes of a call with
// these arguments, as the kernel would: for calls whose arguments the kernel's
// filter cannot see.
func (a *Arch) Action(nr uint32, args *[6]uint64) uint32 {
	var b builder
	a.calls(&b, Notify)
	var acc uint32
	for pc := 0; pc < len(b.prog); pc++ {
		in := &b.prog[pc]
		taken := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = word(nr, args, in.K)
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			taken = acc&in.K != 0
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			return Errno(unix.EACCES)
		}
		if taken {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return Errno(unix.EACCES)
}

// word is one word of struct seccomp_data.
func word(nr uint32, args *[6]uint64, off uint32) uint32 {
	if off < offArgs {
		return nr
	}
	arg := args[(off-offArgs)/8]
	if off%8 != 0 {
		arg >>= 32
	}
	return uint32(arg)
}

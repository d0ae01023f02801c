package filter

import "golang.org/x/sys/unix"

// Action returns what the program that was built for a makes of a call with
// these arguments, as the kernel would: for calls whose arguments the kernel's
// filter cannot see.
func (a *Arch) Action(nr uint32, args *[6]uint64) uint32 {
	var b builder
	a.calls(&b)
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

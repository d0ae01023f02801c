package filter

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data, include/uapi/linux/seccomp.h.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// block writes instructions that end in a return on every path.
type block func(*builder)

// ret is the block that returns action.
func ret(action uint32) block { return func(b *builder) { b.ret(action) } }

// builder collects instructions. A conditional block is written in place,
// behind a jump that skips it; blocks always return, so nothing falls through.
type builder struct {
	prog []unix.SockFilter
}

func (b *builder) emit(code uint16, k uint32) {
	b.prog = append(b.prog, unix.SockFilter{Code: code, K: k})
}

func (b *builder) load(off uint32)      { b.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off) }
func (b *builder) loadArg(n int)        { b.load(offArgs + 8*uint32(n)) }
func (b *builder) loadArgHigh(n int)    { b.load(offArgs + 8*uint32(n) + 4) }
func (b *builder) and(mask uint32)      { b.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask) }
func (b *builder) ret(action uint32)    { b.emit(unix.BPF_RET|unix.BPF_K, action) }
func (b *builder) on(k uint32, f block) { b.branch(unix.BPF_JEQ, k, true, f) }

// unless runs f when the loaded word is not k.
func (b *builder) unless(k uint32, f block)  { b.branch(unix.BPF_JEQ, k, false, f) }
func (b *builder) atLeast(k uint32, f block) { b.branch(unix.BPF_JGE, k, true, f) }
func (b *builder) ifSet(k uint32, f block)   { b.branch(unix.BPF_JSET, k, true, f) }

// branch writes a jump and f behind it. The jump enters f when the condition
// is want, and skips it otherwise.
func (b *builder) branch(cond uint16, k uint32, want bool, f block) {
	at := len(b.prog)
	b.emit(unix.BPF_JMP|cond|unix.BPF_K, k)
	f(b)
	skip := len(b.prog) - at - 1
	if skip > 255 {
		panic(fmt.Sprintf("filter: a block of %d instructions, a jump spans 255", skip))
	}
	if want {
		b.prog[at].Jf = uint8(skip)
	} else {
		b.prog[at].Jt = uint8(skip)
	}
}

// assemble returns the finished program.
func (b *builder) assemble() []unix.SockFilter { return b.prog }

package filter

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

func (d *data) word(off uint32) uint32 {
	var b [64]byte
	binary.LittleEndian.PutUint32(b[0:], d.nr)
	binary.LittleEndian.PutUint32(b[4:], d.arch)
	for i, a := range d.args {
		binary.LittleEndian.PutUint64(b[16+8*i:], a)
	}
	return binary.LittleEndian.Uint32(b[off:])
}

// simulate runs prog as the kernel would, and says whether it looked at an
// argument. x/net/bpf's machine is for packets: it reads big-endian words.
func simulate(t *testing.T, prog []unix.SockFilter, d *data) (action uint32, usedArgs bool) {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		if trace != nil {
			trace(pc, usedArgs)
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = d.word(in.K)
			usedArgs = usedArgs || in.K >= offArgs
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += jump(in, a == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += jump(in, a >= in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc += jump(in, a&in.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return in.K, usedArgs
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Code)
		}
	}
	t.Fatal("ran off the end")
	return 0, false
}

func jump(in unix.SockFilter, taken bool) int {
	if taken {
		return int(in.Jt)
	}
	return int(in.Jf)
}

// want is what a program must answer, said again in another way. It sees what
// the kernel sees: ints are the low words.
func (v *variant) want(d *data) uint32 {
	switch {
	case v.compat != nil && d.arch == v.compat.Audit:
		return want(*v.compat, d)
	case v.compat == nil && v.Other != 0 && d.arch == v.Other:
		return Notify
	case d.arch != v.Audit:
		return Errno(unix.ENOSYS)
	}
	w := want(v.Arch, d)
	if n := &v.Number; v.messages && w == Notify && (d.nr == n.Sendmsg || d.nr == n.Sendmmsg) {
		return Allow
	}
	return w
}

// want is the same for a call of a.
func want(a Arch, d *data) uint32 {
	lo := func(i int) uint32 { return uint32(d.args[i]) }
	n := a.Number
	enosys, eperm := Errno(unix.ENOSYS), Errno(unix.EPERM)
	if a.X32 && d.nr >= x32Bit {
		return enosys
	}
	if n.Socketcall != 0 && d.nr == n.Socketcall {
		// accept, getsockname, getpeername, send, recv, recvfrom, shutdown, getsockopt, recvmsg, accept4, recvmmsg
		if slices.Contains([]uint32{5, 6, 7, 9, 10, 12, 13, 15, 17, 18, 19}, lo(0)) {
			return Allow
		}
		return Notify
	}
	fast := func(flags uint32, otherwise uint32) uint32 {
		if flags&0x20000000 != 0 {
			return Errno(unix.EOPNOTSUPP)
		}
		return otherwise
	}
	switch d.nr {
	case n.IoUringSetup, n.IoUringEnter, n.IoUringRegister, n.RequestKey, n.Clone3:
		return enosys
	case n.Bpf:
		return eperm
	case n.Clone:
		if lo(0)&0x400 != 0 && lo(0)&0x10000 == 0 {
			return eperm
		}
		return Allow
	case n.Seccomp:
		if lo(0) == 1 && lo(1)&8 != 0 {
			return Errno(unix.EBUSY)
		}
		return Allow
	case n.Socket:
		return wantSocket(lo(0), lo(1)&0xf, lo(2))
	case n.Socketpair:
		if lo(0) == 1 {
			return Allow
		}
		return Errno(unix.EOPNOTSUPP)
	case n.Setsockopt:
		denied := map[uint32][]uint32{0: {4, 35, 39, 42, 46}, 41: {57, 5, 6, 32, 1, 20, 27, 42, 46}}
		if lo(1) == 132 || slices.Contains(denied[lo(1)], lo(2)) {
			return eperm
		}
		return Allow
	case n.Ioctl:
		if lo(1) == 0x5412 || lo(1) == 0x541c {
			return eperm
		}
		return Allow
	case n.Sendto:
		if d.args[4] == 0 {
			return fast(lo(3), Allow)
		}
		return fast(lo(3), Notify)
	case n.Recvfrom:
		if d.args[4] != 0 && lo(2) > 4096 {
			return Notify
		}
		return Allow
	case n.Sendmsg:
		return fast(lo(2), Notify)
	case n.Sendmmsg:
		return fast(lo(3), Notify)
	case n.Connect, n.Bind, n.Listen:
		return Notify
	}
	return Allow
}

func wantSocket(family, typ, proto uint32) uint32 {
	switch {
	case family == 1, family == 16 && proto == 0:
		return Allow
	case family == 16:
		return Errno(unix.EPROTONOSUPPORT)
	case family != 2 && family != 10:
		return Errno(unix.EAFNOSUPPORT)
	case typ == 3, typ == 10:
		return Errno(unix.EPERM)
	case typ == 1 && (proto == 0 || proto == 6),
		typ == 2 && (proto == 0 || proto == 17 || proto == 1 || proto == 58):
		return Allow
	case typ == 1, typ == 2:
		return Errno(unix.EPROTONOSUPPORT)
	}
	return Errno(unix.ESOCKTNOSUPPORT)
}

// edges are the values that the program compares an argument of call nr with,
// their neighbours, and what has gone wrong in other people's filters.
func edges(t *testing.T, a Arch, prog []unix.SockFilter, nr uint32) []uint32 {
	set := map[uint32]bool{0: true, 1: true, 0x7fffffff: true, 0x80000000: true, 0xffffffff: true}
	for range 3 { // a comparison is reached through at most two others
		values := slices.Sorted(maps.Keys(set))
		for _, in := range reached(t, a, prog, nr, values) {
			for _, v := range []uint32{in.K - 1, in.K, in.K + 1, in.K | unix.SOCK_CLOEXEC} {
				set[v] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// reached lists the comparisons that some values of the first three, and of the
// last three arguments lead to.
func reached(t *testing.T, a Arch, prog []unix.SockFilter, nr uint32, values []uint32) []unix.SockFilter {
	seen := map[int]bool{}
	trace = func(pc int, onArg bool) {
		if onArg && prog[pc].Code&0x07 == unix.BPF_JMP {
			seen[pc] = true
		}
	}
	defer func() { trace = nil }()
	for _, x := range values {
		for _, y := range values {
			simulate(t, prog, &data{nr, a.Audit, [6]uint64{uint64(x), uint64(y), uint64(x), uint64(x), uint64(y), 0}})
		}
	}
	var list []unix.SockFilter
	for pc := range seen {
		list = append(list, prog[pc])
	}
	return list
}

// trace, if set, sees each instruction that is simulated.
var trace func(pc int, onArg bool)

// variant is a program, and what it is built for.
type variant struct {
	Arch
	compat   *Arch
	messages bool
}

var variants = map[string]variant{
	"amd64": {Arch: AMD64}, "arm64": {Arch: ARM64}, "amd64-i386": {Arch: AMD64, compat: &I386},
	"amd64-messages": {Arch: AMD64, messages: true}, "arm64-messages": {Arch: ARM64, messages: true},
}

func (v *variant) program() []unix.SockFilter {
	return Program(v.Arch, Options{Compat: v.compat, Messages: v.messages})
}

// abis are those whose calls get through.
func (v *variant) abis() []Arch {
	if v.compat != nil {
		return []Arch{v.Arch, *v.compat}
	}
	return []Arch{v.Arch}
}

// audits are architectures that a call may come from.
var audits = map[string]uint32{
	"i386": unix.AUDIT_ARCH_I386, "arm": unix.AUDIT_ARCH_ARM, "amd64": unix.AUDIT_ARCH_X86_64,
	"arm64": unix.AUDIT_ARCH_AARCH64, "none": 0,
}

func TestProgramEveryNumber(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			prog := v.program()
			tried := 0
			for base := range uint32(601) {
				for _, nr := range []uint32{base, base | x32Bit, base | 0x80000000} {
					for _, arch := range audits {
						for _, args := range [][6]uint64{{}, {^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}} {
							d := data{nr, arch, args}
							if got, _ := simulate(t, prog, &d); got != v.want(&d) {
								t.Fatalf("%+v: got %s, want %s", d, action(got), action(v.want(&d)))
							}
							tried++
						}
					}
				}
			}
			t.Logf("%d calls, %d instructions", tried, len(prog))
		})
	}
}

func TestProgramEdges(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			prog := v.program()
			tried := 0
			for _, a := range v.abis() {
				for _, nr := range named(a) {
					values := edges(t, a, prog, nr)
					for _, x := range triples(a, nr) {
						tried += tryTriple(t, &v, a, prog, nr, x, values)
					}
				}
			}
			t.Logf("%d calls", tried)
		})
	}
}

// triples lists which arguments of a call matter together.
func triples(a Arch, nr uint32) [][3]int {
	n := a.Number
	switch nr {
	case n.Socket, n.Setsockopt:
		return [][3]int{{0, 1, 2}}
	case n.Sendto:
		return [][3]int{{3, 4, 5}}
	case n.Recvfrom:
		return [][3]int{{2, 4, 5}}
	default:
		return [][3]int{{0, 1, 2}, {3, 4, 5}}
	}
}

func tryTriple(t *testing.T, v *variant, a Arch, prog []unix.SockFilter, nr uint32, at [3]int, values []uint32) (tried int) {
	t.Helper()
	for _, x := range values {
		for _, y := range values {
			for _, z := range values {
				for _, garbage := range []uint64{0, 0xdeadbeef << 32} {
					d := data{nr: nr, arch: a.Audit}
					d.args[at[0]], d.args[at[1]], d.args[at[2]] = uint64(x)|garbage, uint64(y)|garbage, uint64(z)|garbage
					if got, _ := simulate(t, prog, &d); got != v.want(&d) {
						t.Fatalf("%+v: got %s, want %s", d, action(got), action(v.want(&d)))
					}
					if got := a.Action(nr, &d.args); got != want(a, &d) {
						t.Fatalf("Action(%d, %x): got %s, want %s", nr, d.args, action(got), action(want(a, &d)))
					}
					tried++
				}
			}
		}
	}
	return tried
}

// named lists the numbers that a program names.
func named(a Arch) []uint32 {
	n := a.Number
	list := []uint32{
		n.Socket, n.Socketpair, n.Connect, n.Bind, n.Listen, n.Sendto, n.Sendmsg, n.Sendmmsg, n.Recvfrom, n.Setsockopt, n.Ioctl,
		n.Seccomp, n.Clone, n.Clone3, n.Bpf, n.RequestKey, n.IoUringSetup, n.IoUringEnter, n.IoUringRegister,
	}
	if n.Socketcall != 0 {
		list = append(list, n.Socketcall)
	}
	return list
}

// TestOthersLookAtNoArgument keeps every other call in the kernel's bitmap.
func TestOthersLookAtNoArgument(t *testing.T) {
	for name, v := range variants {
		prog := v.program()
		for _, a := range v.abis() {
			for nr := range uint32(601) {
				_, used := simulate(t, prog, &data{nr: nr, arch: a.Audit})
				if used && !slices.Contains(named(a), nr) {
					t.Errorf("%s: call %d of %#x: the program loads an argument", name, nr, a.Audit)
				}
			}
		}
	}
}

func TestNativeNumbers(t *testing.T) {
	n := Native.Number
	for _, c := range []struct {
		name      string
		got, want uint32
	}{
		{"socket", n.Socket, unix.SYS_SOCKET}, {"socketpair", n.Socketpair, unix.SYS_SOCKETPAIR},
		{"connect", n.Connect, unix.SYS_CONNECT}, {"bind", n.Bind, unix.SYS_BIND}, {"listen", n.Listen, unix.SYS_LISTEN},
		{"sendto", n.Sendto, unix.SYS_SENDTO}, {"sendmsg", n.Sendmsg, unix.SYS_SENDMSG}, {"sendmmsg", n.Sendmmsg, unix.SYS_SENDMMSG},
		{"recvfrom", n.Recvfrom, unix.SYS_RECVFROM},
		{"setsockopt", n.Setsockopt, unix.SYS_SETSOCKOPT}, {"ioctl", n.Ioctl, unix.SYS_IOCTL}, {"seccomp", n.Seccomp, unix.SYS_SECCOMP},
		{"clone", n.Clone, unix.SYS_CLONE}, {"clone3", n.Clone3, unix.SYS_CLONE3}, {"bpf", n.Bpf, unix.SYS_BPF},
		{"request_key", n.RequestKey, unix.SYS_REQUEST_KEY}, {"io_uring_setup", n.IoUringSetup, unix.SYS_IO_URING_SETUP},
		{"io_uring_enter", n.IoUringEnter, unix.SYS_IO_URING_ENTER}, {"io_uring_register", n.IoUringRegister, unix.SYS_IO_URING_REGISTER},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, c.got, c.want)
		}
	}
}

// TestGolden shows every change of the programs in the diff of a commit.
func TestGolden(t *testing.T) {
	for name, v := range variants {
		var b strings.Builder
		for i, in := range v.program() {
			fmt.Fprintln(&b, listing(i, in))
		}
		path := filepath.Join("testdata", name+".golden")
		if os.Getenv("NETJAIL_UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(golden) {
			t.Errorf("%s differs; after a look: NETJAIL_UPDATE_GOLDEN=1 go test ./interpose/filter\n%s", path, b.String())
		}
	}
}

func listing(i int, in unix.SockFilter) string {
	target := func(off uint8) int { return i + 1 + int(off) }
	switch in.Code {
	case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
		return fmt.Sprintf("%3d  load %d", i, in.K)
	case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
		return fmt.Sprintf("%3d  and %#x", i, in.K)
	case unix.BPF_RET | unix.BPF_K:
		return fmt.Sprintf("%3d  return %s", i, action(in.K))
	}
	op := map[uint16]string{unix.BPF_JEQ: "==", unix.BPF_JGE: ">=", unix.BPF_JSET: "&"}[in.Code&0xf0]
	return fmt.Sprintf("%3d  if %s %#x goto %d else %d", i, op, in.K, target(in.Jt), target(in.Jf))
}

func action(a uint32) string {
	switch a & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		return "ALLOW"
	case unix.SECCOMP_RET_USER_NOTIF:
		return "NOTIFY"
	case unix.SECCOMP_RET_ERRNO:
		return unix.ErrnoName(unix.Errno(a & unix.SECCOMP_RET_DATA))
	}
	return fmt.Sprintf("%#x", a)
}

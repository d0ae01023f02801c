package interpose

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// racer tries to get a datagram past the check: while one thread makes a call,
// another changes what the call is about.
type racer struct {
	good, bad []byte // addresses
	fd, other int
	file      int // half of the time fd, half of the time other
	addr      []byte
	six       int
	addr6     []byte
	hdr       unix.Msghdr
	vec       [2]mmsghdr
	once      sync.Once
	pages     *pages // see absent
}

type mmsghdr struct {
	h unix.Msghdr
	n uint32
	_ uint32
}

// attack is one way: call makes a call, swap changes the memory or descriptors
// that it uses, back and forth with even and odd i.
type attack struct {
	call func(*racer)
	swap func(r *racer, i int)
}

var data = []byte("x")

func (r *racer) sendto(fd int, addr []byte) {
	unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), ptr(data), 1, unix.MSG_DONTWAIT, ptr(addr), uintptr(len(addr)))
}

func (r *racer) message(addr []byte) unix.Msghdr {
	return unix.Msghdr{Name: &addr[0], Namelen: uint32(len(addr)), Iov: &unix.Iovec{Base: &data[0], Len: 1}, Iovlen: 1}
}

func swapBytes(r *racer, i int) {
	if i%2 == 0 {
		copy(r.addr, r.good)
	} else {
		copy(r.addr, r.bad)
	}
}

func pick[T any](i int, a, b T) T {
	if i%2 == 0 {
		return a
	}
	return b
}

var attacks = map[string]attack{
	// The address changes in place.
	"address": {func(r *racer) { r.sendto(r.fd, r.addr) }, swapBytes},
	// Half of the time the descriptor is a local socket, for which the
	// address means nothing.
	"descriptor": {
		func(r *racer) { r.sendto(r.file, r.bad) },
		func(r *racer, i int) { unix.Dup3(pick(i, r.other, r.fd), r.file, unix.O_CLOEXEC) },
	},
	// Half of the time the address is of no family: for an IPv6 socket that
	// is no address.
	"family": {
		func(r *racer) { r.sendto(r.six, r.addr6) },
		func(r *racer, i int) { r.addr6[0] = pick(i, byte(unix.AF_UNSPEC), byte(unix.AF_INET6)) },
	},
	// The header names another address, or none.
	"header": {
		func(r *racer) {
			unix.RawSyscall(unix.SYS_SENDMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.hdr)), unix.MSG_DONTWAIT)
		},
		func(r *racer, i int) { r.hdr.Name = pick(i, &r.good[0], &r.bad[0]) },
	},
	"header address": {
		func(r *racer) {
			r.hdr.Name = &r.addr[0]
			unix.RawSyscall(unix.SYS_SENDMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.hdr)), unix.MSG_DONTWAIT)
		},
		swapBytes,
	},
	// A later message of a vector changes.
	"vector": {
		func(r *racer) {
			unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.vec[0])), 2, unix.MSG_DONTWAIT, 0, 0)
		},
		func(r *racer, i int) { r.vec[1].h.Name = pick(i, &r.good[0], &r.bad[0]) },
	},
	// The page of the address, or of the header, comes and goes.
	"absent address": {func(r *racer) { r.absent(partName).sendto(r.fd) }, comeAndGo(partName)},
	"absent header":  {func(r *racer) { r.absent(partHead).sendmsg(r.fd) }, comeAndGo(partHead)},
}

// race runs the attack $NETJAIL_RACE with as many threads and tries as it says,
// against the addresses $NETJAIL_GOOD and $NETJAIL_BAD.
func race() {
	name, isStalled := strings.CutPrefix(os.Getenv("NETJAIL_RACE"), stalled)
	a, ok := attacks[name]
	b, ok2 := stalledAttacks[name]
	threads, err1 := strconv.Atoi(os.Getenv("NETJAIL_THREADS"))
	tries, err2 := strconv.Atoi(os.Getenv("NETJAIL_TRIES"))
	if isStalled && !ok2 || !isStalled && !ok || err1 != nil || err2 != nil {
		fmt.Println("no such race")
		os.Exit(1)
	}
	runtime.GOMAXPROCS(threads + 1)
	var left atomic.Int64
	left.Store(int64(tries))
	var callers, swappers sync.WaitGroup
	var done atomic.Bool
	for range threads / 2 {
		r := newRacer()
		call := func() { a.call(r) }
		if isStalled {
			var handle func()
			call, handle = b.pair(r)
			go handle()
		} else {
			swappers.Go(func() {
				runtime.LockOSThread()
				for i := 0; !done.Load(); i++ {
					a.swap(r, i)
				}
			})
		}
		callers.Go(func() {
			runtime.LockOSThread()
			for left.Add(-1) >= 0 {
				call()
			}
		})
	}
	callers.Wait()
	done.Store(true)
	swappers.Wait()
	fmt.Println("tried", tries)
}

func newRacer() *racer {
	r := &racer{good: sa4(os.Getenv("NETJAIL_GOOD")), bad: sa4(os.Getenv("NETJAIL_BAD"))}
	r.fd, _ = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	pair, _ := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	r.other = pair[0]
	r.six, _ = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	r.addr6 = sa6(mapped(os.Getenv("NETJAIL_BAD")))
	r.file, _ = unix.FcntlInt(uintptr(r.other), unix.F_DUPFD_CLOEXEC, 50)
	r.addr = append([]byte(nil), r.good...)
	r.hdr = r.message(r.good)
	r.vec[0].h, r.vec[1].h = r.message(r.good), r.message(r.good)
	// One for the good address, whatever the race makes of the rest.
	r.sendto(r.fd, r.good)
	if netip.MustParseAddrPort(os.Getenv("NETJAIL_GOOD")) == netip.MustParseAddrPort(os.Getenv("NETJAIL_BAD")) {
		os.Exit(1)
	}
	return r
}

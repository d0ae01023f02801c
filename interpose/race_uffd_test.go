package interpose

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// include/uapi/linux/userfaultfd.h, the same on amd64 and arm64.
const (
	uffdUserModeOnly = 1
	uffdioAPI        = 0xc018aa3f
	uffdioRegister   = 0xc020aa00
	uffdioWake       = 0x8010aa02
	uffdioCopy       = 0xc028aa03
	uffdNew          = 0xaa00 // of /dev/userfaultfd
	uffdMsgLen       = 32
)

// openUffd returns a userfaultfd. Everybody gets one that sees the faults of
// user mode; a system call, or a process_vm_readv, fails with EFAULT at a page
// that is missing then. Kernel-mode faults, at which they stall, are for those
// with CAP_SYS_PTRACE or /dev/userfaultfd.
func openUffd(kernelFaults bool) (int, error) {
	flags := uintptr(unix.O_CLOEXEC)
	if !kernelFaults {
		flags |= uffdUserModeOnly
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, flags, 0, 0)
	if errno != 0 && kernelFaults {
		dev, err := unix.Open("/dev/userfaultfd", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, errno
		}
		defer unix.Close(dev)
		fd, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(dev), uffdNew, flags)
	}
	if errno != 0 {
		return -1, errno
	}
	api := [3]uint64{0xaa}
	if errno := uffdIoctl(int(fd), uffdioAPI, unsafe.Pointer(&api)); errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func uffdIoctl(fd int, op uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, uintptr(arg))
	return errno
}

// The parts of a message, in the order in which they are read.
const (
	partHead = iota // struct mmsghdr
	partName
	partVectors
	partControl
	partPayload
	partSecond // the next mmsghdr, behind the first in memory
	parts
)

// pages hold a message, each part in a page of its own. Each part has contents
// that are allowed, and others for whoever reads a second time. None of it is
// memory that the runtime knows.
type pages struct {
	uffd      int
	size      int
	mem       []byte
	good, bad [parts][]byte
	seen      [parts]atomic.Bool
}

func mapping(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		panic(err)
	}
	return b
}

func newPages(kernelFaults bool, r *racer) *pages {
	fd, err := openUffd(kernelFaults)
	if err != nil {
		panic(err)
	}
	p := &pages{uffd: fd, size: os.Getpagesize()}
	p.mem = mapping(parts * p.size)
	contents := mapping(2 * parts * p.size)
	for i := range parts {
		p.good[i] = contents[2*i*p.size:][:p.size]
		p.bad[i] = contents[(2*i+1)*p.size:][:p.size]
	}
	addr := func(part int) uint64 { return uint64(uintptr(p.at(part))) }
	header := func(b []byte, to uint64) {
		binary.NativeEndian.PutUint64(b, to)
		binary.NativeEndian.PutUint32(b[8:], 16)
		binary.NativeEndian.PutUint64(b[16:], addr(partVectors))
		binary.NativeEndian.PutUint64(b[24:], 1)
		binary.NativeEndian.PutUint64(b[32:], addr(partControl))
		binary.NativeEndian.PutUint64(b[40:], 24)
	}
	at := func(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }
	for i, c := range []*[parts][]byte{&p.good, &p.bad} {
		copy(c[partName], pick(i, r.good, r.bad))
		header(p.slot(c, partHead), pick(i, addr(partName), at(p.bad[partName])))
		header(c[partSecond], pick(i, at(p.good[partName]), at(p.bad[partName])))
		binary.NativeEndian.PutUint64(c[partVectors], addr(partPayload))
		binary.NativeEndian.PutUint64(c[partVectors][8:], 1)
		binary.NativeEndian.PutUint64(c[partControl], 20) // IP_TTL, or IP_TOS
		binary.NativeEndian.PutUint32(c[partControl][12:], uint32(pick(i, unix.IP_TTL, unix.IP_TOS)))
		binary.NativeEndian.PutUint32(c[partControl][16:], 64)
		c[partPayload][0] = 'x'
	}
	for part := range parts {
		copy(p.page(part), p.good[part])
	}
	return p
}

// slot is where a part is in its page: the first header is at the end of it.
func (p *pages) slot(c *[parts][]byte, part int) []byte {
	if part == partHead {
		return c[part][p.size-64:]
	}
	return c[part]
}

// page returns the memory of a part, and back: the second header is behind
// the first.
func page(part int) int { return (parts - part) % parts }

func (p *pages) page(part int) []byte { return p.mem[page(part)*p.size:][:p.size] }

func (p *pages) at(part int) unsafe.Pointer {
	b := p.page(part)
	if part == partHead {
		b = b[p.size-64:]
	}
	return unsafe.Pointer(&b[0])
}

// register makes a part's page one that is missing until it is supplied.
func (p *pages) register(part int) {
	b := p.page(part)
	arg := [4]uint64{uint64(uintptr(unsafe.Pointer(&b[0]))), uint64(p.size), 1} // MISSING
	if errno := uffdIoctl(p.uffd, uffdioRegister, unsafe.Pointer(&arg)); errno != 0 {
		panic(errno)
	}
	p.drop(part)
}

func (p *pages) drop(part int) { _ = unix.Madvise(p.page(part), unix.MADV_DONTNEED) }

// supply puts contents into a page that is missing, and wakes who waits for it.
func (p *pages) supply(part int, contents []byte) {
	to := uint64(uintptr(unsafe.Pointer(&p.page(part)[0])))
	arg := [5]uint64{to, uint64(uintptr(unsafe.Pointer(&contents[0]))), uint64(p.size)}
	if uffdIoctl(p.uffd, uffdioCopy, unsafe.Pointer(&arg)) != 0 { // it is there already
		wake := [2]uint64{to, uint64(p.size)}
		uffdIoctl(p.uffd, uffdioWake, unsafe.Pointer(&wake))
	}
}

// fault waits for somebody to stall at a page and returns its part.
func (p *pages) fault() int {
	for {
		var msg [uffdMsgLen]byte
		if n, err := unix.Read(p.uffd, msg[:]); err != nil || n != len(msg) {
			continue // interrupted
		}
		at := uintptr(binary.NativeEndian.Uint64(msg[16:]))
		return page(int(at-uintptr(unsafe.Pointer(&p.mem[0]))) / p.size)
	}
}

// absent returns what an attack without privileges uses: nobody stalls, but a
// reader finds the page of part with the one contents, with the other, or not
// at all.
func (r *racer) absent(part int) *pages {
	r.once.Do(func() {
		r.pages = newPages(false, r)
		r.pages.register(part)
	})
	return r.pages
}

func comeAndGo(part int) func(*racer, int) {
	return func(r *racer, i int) {
		p := r.absent(part)
		if i%2 == 1 {
			p.drop(part)
		} else {
			p.supply(part, pick(i/2, p.good, p.bad)[part])
		}
	}
}

// stalledAttack is a call whose reader stalls at some parts of its message.
// Meanwhile all that was read before becomes bad; and when it goes on, what it
// has just read does.
type stalledAttack struct {
	stall  []int
	call   func(*racer, *pages)
	start  func(*racer, *pages) // before each call; may be nil
	during func(*racer)         // each stall; may be nil
	keep   bool                 // what was read before stays as it is
}

func (p *pages) sendto(fd int) {
	unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(p.at(partPayload)), 1, unix.MSG_DONTWAIT, uintptr(p.at(partName)), 28)
}

func (p *pages) sendmsg(fd int) {
	unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(p.at(partHead)), unix.MSG_DONTWAIT)
}

var stalledAttacks = map[string]stalledAttack{
	"address": {stall: []int{partName}, call: func(r *racer, p *pages) { p.sendto(r.fd) }},
	// The data is read after the verdict.
	"address and data": {stall: []int{partName, partPayload}, call: func(r *racer, p *pages) { p.sendto(r.fd) }},
	// The descriptor is a local socket until the address is read.
	"descriptor": {
		stall:  []int{partName},
		call:   func(r *racer, p *pages) { p.sendto(r.file) },
		start:  func(r *racer, p *pages) { unix.Dup3(r.other, r.file, unix.O_CLOEXEC); copy(p.good[partName], r.bad) },
		during: func(r *racer) { unix.Dup3(r.fd, r.file, unix.O_CLOEXEC) },
	},
	// First the address is of no family.
	"family": {
		stall: []int{partName},
		call:  func(r *racer, p *pages) { p.sendto(r.six) },
		start: func(r *racer, p *pages) {
			copy(p.good[partName], r.addr6)
			copy(p.bad[partName], r.addr6)
			p.good[partName][0] = unix.AF_UNSPEC
		},
	},
	"header":    {stall: []int{partHead}, call: func(r *racer, p *pages) { p.sendmsg(r.fd) }},
	"vectors":   {stall: []int{partVectors}, call: func(r *racer, p *pages) { p.sendmsg(r.fd) }},
	"control":   {stall: []int{partControl}, call: func(r *racer, p *pages) { p.sendmsg(r.fd) }},
	"all of it": {stall: []int{partHead, partName, partVectors, partControl, partPayload}, call: func(r *racer, p *pages) { p.sendmsg(r.fd) }},
	// The second header is read twice, because the first message is not one
	// that can be sent in a burst.
	"second message": {stall: []int{partSecond}, keep: true, call: func(r *racer, p *pages) { p.sendmmsg(r.fd) }},
	"burst": {
		stall: []int{partSecond, partName, partVectors, partPayload},
		keep:  true,
		start: func(r *racer, p *pages) { p.plain() },
		call:  func(r *racer, p *pages) { p.sendmmsg(r.fd) },
	},
}

func (p *pages) sendmmsg(fd int) {
	unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(p.at(partHead)), 2, unix.MSG_DONTWAIT, 0, 0)
}

// plain takes the control messages from the headers.
func (p *pages) plain() {
	for _, c := range []*[parts][]byte{&p.good, &p.bad} {
		for _, part := range []int{partHead, partSecond} {
			binary.NativeEndian.PutUint64(p.slot(c, part)[40:], 0)
		}
	}
}

// pair returns what the two threads of an attack do: attack by a call, and
// handle the faults.
func (a stalledAttack) pair(r *racer) (call, handle func()) {
	p := newPages(true, r)
	var armed [parts]bool
	for _, part := range a.stall {
		armed[part] = true
		p.register(part)
	}
	spoil := func(part int) {
		p.seen[part].Store(true)
		if armed[part] {
			p.drop(part)
		} else {
			copy(p.page(part), p.bad[part])
		}
	}
	call = func() {
		if a.start != nil {
			a.start(r, p)
		}
		for part := range parts {
			p.seen[part].Store(false)
			if armed[part] {
				p.drop(part)
			} else {
				copy(p.page(part), p.good[part])
			}
		}
		a.call(r, p)
	}
	handle = func() {
		for i := 0; ; i++ {
			part := p.fault()
			for before := range part {
				if !a.keep {
					spoil(before)
				}
			}
			if a.during != nil {
				a.during(r)
			}
			if p.seen[part].Swap(true) {
				p.supply(part, p.bad[part])
			} else {
				p.supply(part, p.good[part])
			}
			// Sooner or later behind the read.
			for at := time.Now(); time.Since(at) < time.Duration(i%128)*time.Microsecond; {
			}
			spoil(part)
		}
	}
	return call, handle
}

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// pieces are pieces of the caller's memory that one system call copies, at most
// UIO_MAXIOV of them.
type pieces struct {
	local  []unix.Iovec
	remote []unix.RemoteIovec
	total  int
}

// pieces returns none yet.
func (k *call) pieces() *pieces {
	p := &k.copying
	p.local, p.remote, p.total = p.local[:0], p.remote[:0], 0
	return p
}

// add adds what is at addr, as much as there is room for in b.
func (p *pieces) add(b []byte, addr uint64) {
	if len(b) == 0 {
		return
	}
	p.local = append(p.local, unix.Iovec{Base: &b[0], Len: uint64(len(b))})
	p.remote = append(p.remote, unix.RemoteIovec{Base: uintptr(addr), Len: len(b)})
	p.total += len(b)
}

// readPieces copies all of p from the caller's memory.
func (k *call) readPieces(p *pieces) unix.Errno {
	n, errno := sys.ProcessVMReadvs(k.tid(), p.local, p.remote)
	if errno == 0 && n < p.total {
		return unix.EFAULT
	}
	return errno
}

// writePieces copies all of p to the caller's memory.
func (k *call) writePieces(p *pieces) unix.Errno {
	n, errno := sys.ProcessVMWritevs(k.tid(), p.local, p.remote)
	if errno == 0 && n < p.total {
		return unix.EFAULT
	}
	return errno
}

// read copies len(b) bytes of the caller's memory at addr.
func (k *call) read(addr uint64, b []byte) unix.Errno {
	n, errno := sys.ProcessVMReadv(k.tid(), uintptr(addr), b)
	if errno == 0 && n < len(b) {
		return unix.EFAULT
	}
	return errno
}

// write copies b into the caller's memory at addr.
func (k *call) write(addr uint64, b []byte) unix.Errno {
	n, errno := sys.ProcessVMWritev(k.tid(), uintptr(addr), b)
	if errno == 0 && n < len(b) {
		return unix.EFAULT
	}
	return errno
}

// buffer returns n bytes, the same ones each time.
func (k *call) buffer(n int) []byte {
	if cap(k.buf) < n {
		k.buf = make([]byte, n)
	}
	return k.buf[:n]
}

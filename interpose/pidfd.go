package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// pidfds keeps pidfds of threads that have called: opening and closing one takes
// a fifth of a call's time. It belongs to one receiver.
type pidfds [32]struct{ tid, fd int }

// take returns the pidfd that was kept for a thread id, or -1. It is the
// caller's from then on.
func (p *pidfds) take(tid int) int {
	if p == nil || p[tid%len(p)].tid != tid {
		return -1
	}
	p[tid%len(p)].tid = 0
	return p[tid%len(p)].fd
}

// put keeps a pidfd, in place of another one.
func (p *pidfds) put(tid, fd int) {
	e := &p[tid%len(p)]
	if e.tid != 0 {
		sys.Close(e.fd)
	}
	e.tid, e.fd = tid, fd
}

func (p *pidfds) close() {
	for i := range p {
		p.put(i, -1)
	}
}

// getfd duplicates the caller's descriptor fd.
//
// A pidfd that was kept may be of a thread that has ended, whose number is
// another one's now: then it leads to nobody, ESRCH. If it leads to somebody,
// that is the caller: a number is given away again only after its thread has
// ended, and the caller had it when the call was received.
func (k *call) getfd(fd int) (dup int, errno unix.Errno) {
	if k.pidfd = k.pidfds.take(k.tid()); k.pidfd >= 0 {
		if dup, errno = sys.PidfdGetfd(k.pidfd, fd); errno != unix.ESRCH {
			return dup, errno
		}
		sys.Close(k.pidfd)
	}
	if errno = k.openThread(); errno != 0 {
		return -1, errno
	}
	return sys.PidfdGetfd(k.pidfd, fd)
}

// openThread opens a pidfd through which the caller's own descriptor table is
// reached. A thread may have a table of its own; where the kernel knows no
// pidfd of a thread the process's is taken if both have the same table.
func (k *call) openThread() (errno unix.Errno) {
	if k.s.threads {
		k.pidfd, errno = sys.PidfdOpen(k.tid(), sys.PidfdThread)
		return errno
	}
	st, err := readStatus(k.tid())
	if err != nil {
		return unix.ESRCH
	}
	if st.tgid != k.tid() {
		if same, errno := sys.KcmpFiles(k.tid(), st.tgid); errno != 0 || !same {
			return unix.EPERM
		}
	}
	k.pidfd, errno = sys.PidfdOpen(st.tgid, 0)
	return errno
}

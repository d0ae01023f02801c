package flows

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrGone means that there is nothing to end any more.
var ErrGone = errors.New("the connection is gone")

// pidfdThread is PIDFD_THREAD, Linux 6.9.
const pidfdThread = unix.O_EXCL

// End ends a flow: its process reads the end of the stream, and cannot write any
// more. What it has written already still leaves. A socket that listens stops,
// and one of UDP neither sends nor receives any more, connected or not. The
// process keeps the descriptor. One that is being connected is disconnected.
//
// It is an ErrGone when the process has the socket no more.
func End(f Flow) error {
	fd, err := f.open()
	if err != nil {
		return fmt.Errorf("end the connection to %s: %w", f.Remote, err)
	}
	defer unix.Close(fd)
	if f.Network == "udp" {
		err = endUDP(fd)
	} else if err = unix.Shutdown(fd, unix.SHUT_RDWR); err == unix.ENOTCONN {
		err = ErrGone
	}
	if err != nil {
		return fmt.Errorf("end the connection to %s: %w", f.Remote, err)
	}
	return nil
}

// open returns a descriptor of ours for a flow's socket. It is looked for where
// the listing found it, and else among all that its process has.
func (f *Flow) open() (int, error) {
	if fd, err := f.duplicate(f.owner); err == nil {
		return fd, nil
	}
	o, err := find(*f)
	if err != nil {
		return -1, err
	}
	return f.duplicate(o)
}

func (f *Flow) duplicate(o owner) (int, error) {
	fd, err := duplicate(o)
	if err != nil {
		return -1, err
	}
	if err := f.same(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// endUDP shuts a socket down and has it receive nothing: to shut it down only
// wakes who reads. One in non-blocking mode is not shut down for reading, which
// epoll(7) would report as an event for ever, and recv(2) as nothing to read.
func endUDP(fd int) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing}); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("fcntl: %w", err)
	}
	how := unix.SHUT_RDWR
	if flags&unix.O_NONBLOCK != 0 {
		how = unix.SHUT_WR
	}
	// One that is not connected is shut down, and says ENOTCONN all the same
	// (inet_shutdown, net/ipv4/af_inet.c).
	if err := unix.Shutdown(fd, how); err != nil && err != unix.ENOTCONN {
		return fmt.Errorf("shutdown: %w", err)
	}
	return nil
}

// find looks for the descriptor that a flow has now.
func find(f Flow) (o owner, err error) {
	for _, tid := range tables(f.PID) {
		found := false
		err = sockets(f.PID, tid, func(fd int, inode uint64) bool {
			found = inode == f.Inode
			o = owner{f.PID, tid, fd}
			return !found
		})
		if found {
			return o, nil
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH) {
		return o, err
	}
	return o, fmt.Errorf("process %d has no socket %d: %w", f.PID, f.Inode, ErrGone)
}

// duplicate returns a descriptor of ours for one of another process. The caller
// closes it soon: as long as it is open the connection is, too.
func duplicate(o owner) (int, error) {
	flags := 0
	if o.tid != o.pid {
		flags = pidfdThread
	}
	process, err := unix.PidfdOpen(o.tid, flags)
	if err != nil {
		return -1, fmt.Errorf("pidfd_open: %w", gone(err))
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, o.fd, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd: %w", gone(err))
	}
	return fd, nil
}

// gone adds to an error that what was looked for is not there.
func gone(err error) error {
	if err == unix.ESRCH || err == unix.EBADF {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// same makes sure that fd is the flow's socket. The number that it was found by
// may have become another file's, and the process another process.
func (f *Flow) same(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Ino != f.Inode {
		return fmt.Errorf("descriptor of another file: %w", ErrGone)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return fmt.Errorf("getsockopt: %w", err)
	}
	if cookie != f.Cookie {
		return fmt.Errorf("another socket: %w", ErrGone)
	}
	return nil
}

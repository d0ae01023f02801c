package api

import (
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// socket is a connected socket in blocking mode. The launcher is started a
// hundred times a day and waits for one reply: the runtime's poller, and the
// threads that it takes, would double the time of that.
type socket struct {
	fd     int
	closed atomic.Bool
}

// dialSocket connects to the unix socket at path. Nothing takes longer than
// writeTimeout.
func dialSocket(path string) (*socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	tv := unix.NsecToTimeval(writeTimeout.Nanoseconds())
	for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("setsockopt: %w", err)
		}
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect %s: %w", path, err)
	}
	return &socket{fd: fd}, nil
}

func (s *socket) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s *socket) Write(b []byte) (int, error) {
	for sent := 0; ; {
		n, err := unix.SendmsgN(s.fd, b[sent:], nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return sent, fmt.Errorf("write: %w", err)
		}
		if sent += n; sent == len(b) {
			return sent, nil
		}
	}
}

// Close wakes whoever reads; the descriptor itself is closed by release, when
// nobody can be using its number any more.
func (s *socket) Close() error {
	if s.closed.CompareAndSwap(false, true) {
		return unix.Shutdown(s.fd, unix.SHUT_RDWR)
	}
	return nil
}

// patient makes reads wait for as long as it takes.
func (s *socket) patient() error {
	return unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{})
}

func (s *socket) release() { unix.Close(s.fd) }

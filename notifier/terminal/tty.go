package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// errHangup says that the terminal has gone.
var errHangup = errors.New("terminal has hung up")

// maxBurst bounds what is kept of one burst; more is a paste anyway.
const maxBurst = 256

// tty is a terminal, by its descriptor, which stays its owner's. The
// descriptor is left blocking: every read and write is preceded by a poll.
type tty struct{ fd int }

// foreground reports whether our process group may use the terminal.
func (t tty) foreground() (bool, error) {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil {
		return false, fmt.Errorf("get foreground process group: %w", err)
	}
	return group == unix.Getpgrp(), nil
}

func (t tty) modes() (unix.Termios, error) {
	m, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
	if err != nil {
		return unix.Termios{}, fmt.Errorf("get terminal modes: %w", err)
	}
	return *m, nil
}

func (t tty) setModes(m unix.Termios) error {
	if err := unix.IoctlSetTermios(t.fd, unix.TCSETS, &m); err != nil {
		return fmt.Errorf("set terminal modes: %w", err)
	}
	return nil
}

// cooked reports whether the terminal reads lines and shows them. Else a
// program has taken it over, or asks for a password.
func cooked(m unix.Termios) bool {
	const both = unix.ICANON | unix.ECHO
	return m.Lflag&both == both
}

// mark tells our modes from those of a program that wants the same. It is a
// character that means nothing while the terminal does not read lines.
const mark = 0xfe

// singleKeys is m with single keys, not echoed, and reads that return at once.
// Ctrl-C and Ctrl-Z stay signals.
func singleKeys(m unix.Termios) unix.Termios {
	m.Lflag &^= unix.ICANON | unix.ECHO
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 0, 0
	m.Cc[unix.VEOL2] = mark
	return m
}

// flushInput throws away what was typed and not read.
func (t tty) flushInput() error {
	if err := unix.IoctlSetInt(t.fd, unix.TCFLSH, unix.TCIFLUSH); err != nil {
		return fmt.Errorf("flush terminal input: %w", err)
	}
	return nil
}

// size is how many columns and rows a terminal has.
type size struct{ width, height int }

// size returns the usual one if the terminal does not know its own.
func (t tty) size() size {
	s := size{width: 80, height: 24}
	w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	if err == nil && w.Col != 0 {
		s.width = int(w.Col)
	}
	if err == nil && w.Row != 0 {
		s.height = int(w.Row)
	}
	return s
}

// poll waits for events on the terminal or for wake to become readable. A
// negative timeout waits for ever.
func (t tty) poll(events int16, wake int, timeout time.Duration) (revents int16, woken bool, err error) {
	fds := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}, {Fd: int32(t.fd), Events: events}}
	if events == 0 {
		fds = fds[:1]
	}
	ms := -1
	if timeout >= 0 {
		ms = int(timeout.Milliseconds())
	}
	if _, err := unix.Poll(fds, ms); err != nil && err != unix.EINTR {
		return 0, false, fmt.Errorf("poll terminal: %w", err)
	}
	if events != 0 {
		revents = fds[1].Revents
	}
	return revents, fds[0].Revents != 0, nil
}

// write prints s. It gives up when wake becomes readable, or when the terminal
// takes nothing (Ctrl-S) for the time of patience.
func (t tty) write(s string, wake int, patience time.Duration) (done bool, err error) {
	const chunk = 128
	for len(s) > 0 {
		revents, woken, err := t.poll(unix.POLLOUT, wake, patience)
		if err != nil {
			return false, err
		}
		if revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			return false, errHangup
		}
		if revents&unix.POLLOUT == 0 || woken && patience != 0 {
			return false, nil
		}
		n, err := unix.Write(t.fd, []byte(s[:min(chunk, len(s))]))
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return false, fmt.Errorf("write terminal: %w", err)
		}
		s = s[max(n, 0):]
	}
	return true, nil
}

// readBurst reads what was typed, until nothing has come for the time of quiet.
// One that wake cuts in two is nothing at all.
func (t tty) readBurst(wake int, quiet time.Duration) ([]byte, error) {
	var burst []byte
	buf := make([]byte, 64)
	for {
		// A program in the foreground may have read it first, or changed the
		// modes: a read must not block.
		if n, err := unix.IoctlGetInt(t.fd, unix.TIOCINQ); err != nil || n == 0 {
			return burst, nil
		}
		n, err := unix.Read(t.fd, buf)
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return nil, fmt.Errorf("read terminal: %w", err)
		}
		if n = max(n, 0); len(burst) < maxBurst {
			burst = append(burst, buf[:n]...)
		}
		revents, woken, err := t.poll(unix.POLLIN, wake, quiet)
		if err != nil || woken {
			return nil, err
		}
		if revents&unix.POLLIN == 0 {
			return burst, nil
		}
	}
}

// unstoppable runs f on a thread on which the terminal's job control cannot
// stop the process: without it a read or a change of modes stops the whole
// group when the shell has just taken the terminal away.
func unstoppable(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	// Both signals are in the first word, however wide it is.
	block.Val[0] = 1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		return fmt.Errorf("block job control signals: %w", err)
	}
	f()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		runtime.LockOSThread() // keep the thread from being used again
		return fmt.Errorf("unblock job control signals: %w", err)
	}
	return nil
}

// waker is an eventfd that ends a poll.
type waker struct{ fd int }

func newWaker() (waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return waker{}, os.NewSyscallError("eventfd", err)
	}
	return waker{fd}, nil
}

// wake ends the poll; which number is added does not matter.
func (w waker) wake()  { unix.Write(w.fd, bytes.Repeat([]byte{1}, 8)) }
func (w waker) drain() { unix.Read(w.fd, make([]byte, 8)) }
func (w waker) close() { unix.Close(w.fd) }

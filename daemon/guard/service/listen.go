package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen returns the socket that systemd passed, see sd_listen_fds(3), or makes
// one at path. Anybody may connect: who it is decides what they get.
func Listen(path string) (*net.UnixListener, error) {
	if l, err := passed(); l != nil || err != nil {
		return l, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// One that is left behind is nobody's; one that is in use is another service's,
	// as its log group will be.
	if c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"}); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, unix.EADDRINUSE)
	} else if errors.Is(err, unix.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// passed is the socket in descriptor 3, or nil.
func passed() (*net.UnixListener, error) {
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("LISTEN_FDS is %q, want one socket", n)
	}
	const first = 3
	unix.CloseOnExec(first)
	f := os.NewFile(first, "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket that was passed: %w", err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, errors.New("the socket that was passed is not of AF_UNIX")
	}
	return ul, nil
}

package doctor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// loopback is the address of all that is sent here.
var loopback = [4]byte{127, 0, 0, 1}

// bound returns a socket on loopback that does not block, and its port.
func bound(typ int) (fd int, port uint16, err error) {
	fd, err = unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("socket: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}); err == nil && typ == unix.SOCK_STREAM {
		err = unix.Listen(fd, 1)
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return 0, 0, err
	}
	in4, _ := name.(*unix.SockaddrInet4)
	return fd, uint16(in4.Port), nil
}

// accepts says whether somebody has connected to a socket.
func accepts(fd int) bool {
	conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err == nil {
		unix.Close(conn)
	}
	return err == nil
}

// receives says whether a datagram has come.
func receives(fd int) bool {
	_, _, err := unix.Recvfrom(fd, make([]byte, 16), unix.MSG_DONTWAIT)
	return err == nil
}

// connects makes a TCP connection to a port, and returns its errno.
func connects(port int) unix.Errno {
	return onSocket(unix.SOCK_STREAM, func(fd int) error {
		return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: loopback})
	})
}

// sends sends a datagram to a port.
func sends(port int) unix.Errno {
	return onSocket(unix.SOCK_DGRAM, func(fd int) error {
		return unix.Sendto(fd, []byte("netjail"), 0, &unix.SockaddrInet4{Port: port, Addr: loopback})
	})
}

func onSocket(typ int, call func(fd int) error) unix.Errno {
	fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(fd)
	return errnoOf(call(fd))
}

// errnoOf returns the errno in err, 0 where there is none.
func errnoOf(err error) (errno unix.Errno) {
	errors.As(err, &errno)
	return errno
}

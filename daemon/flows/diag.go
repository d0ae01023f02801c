package flows

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// kind is one of the tables of sockets that the kernel keeps.
type kind struct {
	network  string
	family   uint8
	protocol uint8
	states   uint32 // those that belong to somebody
}

// Sockets in TIME-WAIT, and those that are not accepted yet, are no process's.
// A TCP socket that is closed is no flow; a UDP socket that is not connected is
// in that state.
const (
	tcpStates = 1<<stateEstablished | 1<<stateSynSent | 1<<stateFinWait1 | 1<<stateFinWait2 |
		1<<stateCloseWait | 1<<stateLastAck | 1<<stateListen | 1<<stateClosing
	udpStates = 1<<stateEstablished | 1<<stateClose
)

var kinds = [4]kind{
	{"tcp", unix.AF_INET, unix.IPPROTO_TCP, tcpStates},
	{"tcp", unix.AF_INET6, unix.IPPROTO_TCP, tcpStates},
	{"udp", unix.AF_INET, unix.IPPROTO_UDP, udpStates},
	{"udp", unix.AF_INET6, unix.IPPROTO_UDP, udpStates},
}

func (k kind) String() string {
	if k.family == unix.AF_INET6 {
		return k.network + "6"
	}
	return k.network
}

// request asks for all sockets of a kind: struct inet_diag_req_v2 of
// linux/inet_diag.h behind a header of netlink(7).
func (k kind) request() []byte {
	const length = unix.SizeofNlMsghdr + 8 + 48 // no socket's id
	b := make([]byte, length)
	binary.NativeEndian.PutUint32(b[0:], length)
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[16], b[17] = k.family, k.protocol
	if k.protocol == unix.IPPROTO_TCP {
		b[18] = 1 << (diagInfo - 1)
	}
	binary.NativeEndian.PutUint32(b[20:], k.states)
	return b
}

// answerLen is more than the kernel puts into one part of an answer.
const answerLen = 64 << 10

// patience is how long the kernel may take for a part of its answer, which it
// makes when it is asked for it.
var patience = unix.Timeval{Sec: 2}

// dump returns all sockets of a kind in a network namespace, of which there are
// about as many as expected.
func (n *Network) dump(k kind, expected int) ([]socket, error) {
	fd, err := n.open()
	if err != nil {
		return nil, fmt.Errorf("list %s sockets: %w", k, err)
	}
	defer unix.Close(fd)
	list, err := k.dump(fd, make([]socket, 0, expected))
	if err != nil {
		return list, fmt.Errorf("list %s sockets: %w", k, err)
	}
	return list, nil
}

// open returns a socket that dumps the namespace.
func (n *Network) open() (int, error) {
	if n != nil {
		return n.Socket()
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		err = fmt.Errorf("socket: %w", err)
	}
	return fd, err
}

func (k kind) dump(fd int, list []socket) ([]socket, error) {
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, fmt.Errorf("setsockopt: %w", err)
	}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, k.request(), 0, kernel); err != nil {
		return nil, fmt.Errorf("sendto: %w", err)
	}
	buf := make([]byte, answerLen)
	for done := false; !done; {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
		switch sa, ok := from.(*unix.SockaddrNetlink); {
		case err == unix.EINTR:
			continue
		case err != nil:
			return list, fmt.Errorf("recvfrom: %w", err)
		case !ok || sa.Pid != 0:
			continue // not the kernel
		case n > len(buf):
			return list, errTruncated
		}
		if list, done, err = decode(list, buf[:n]); err != nil {
			return list, err
		}
	}
	return list, nil
}

package flows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// errTruncated is an answer that ends too soon.
var errTruncated = errors.New("truncated answer")

// socket is what the kernel says of one.
type socket struct {
	local, remote  netip.AddrPort
	state          uint8
	inode          uint64
	cookie         uint64
	sent, received uint64
	known          bool // the bytes are
}

// States of include/net/tcp_states.h.
const (
	stateEstablished = iota + 1
	stateSynSent
	stateSynRecv
	stateFinWait1
	stateFinWait2
	stateTimeWait
	stateClose
	stateCloseWait
	stateLastAck
	stateListen
	stateClosing
)

var states = map[uint8]string{
	stateEstablished: StateEstablished, stateSynSent: StateSynSent, stateFinWait1: StateFinWait1,
	stateFinWait2: StateFinWait2, stateClose: StateUnconnected, stateCloseWait: StateCloseWait,
	stateLastAck: StateLastAck, stateListen: StateListen, stateClosing: StateClosing,
}

// flow is a socket in the words of this package.
func (d *socket) flow(k kind, s *sight, program string) Flow {
	return Flow{
		Network: k.network, Local: d.local, Remote: d.remote, State: states[d.state], Inode: d.inode, Cookie: d.cookie,
		PID: s.owner.pid, Program: program, Sent: d.sent, Received: d.received, Known: d.known, Since: s.since, owner: s.owner,
	}
}

// decode appends the sockets of one part of an answer to list. done says that
// it is the last part.
func decode(list []socket, b []byte) (_ []socket, done bool, err error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return list, false, errTruncated
		}
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return list, false, errTruncated
		}
		payload := b[unix.SizeofNlMsghdr:length]
		switch typ := binary.NativeEndian.Uint16(b[4:]); typ {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			return list, true, errorOf(payload)
		case unix.SOCK_DIAG_BY_FAMILY:
			d, err := decodeSocket(payload)
			if err != nil {
				return list, false, err
			}
			list = append(list, d)
		}
		b = b[min(align(length), len(b)):]
	}
	return list, false, nil
}

// errorOf reads the number of struct nlmsgerr, which also ends a listing.
func errorOf(b []byte) error {
	if len(b) < 4 {
		return nil // an end may have none
	}
	if n := int32(binary.NativeEndian.Uint32(b)); n != 0 {
		return fmt.Errorf("sock_diag: %w", unix.Errno(-n))
	}
	return nil
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// Offsets in struct inet_diag_msg, linux/inet_diag.h.
const (
	diagState      = 1
	diagLocalPort  = 4 // ports and addresses are in network order
	diagRemotePort = 6
	diagLocal      = 8
	diagRemote     = 24
	diagInterface  = 40
	diagCookie     = 44
	diagInode      = 68
	diagLen        = 72

	diagInfo = 2 // INET_DIAG_INFO, the attribute with a struct tcp_info
)

// Offsets in struct tcp_info, linux/tcp.h. It has grown at its end.
const (
	infoAcked    = 120
	infoReceived = 128 // Linux 4.1
	infoSent     = 200
	infoRetrans  = 208 // Linux 4.19
)

func decodeSocket(b []byte) (d socket, err error) {
	if len(b) < diagLen {
		return d, errTruncated
	}
	family, scope := b[0], binary.NativeEndian.Uint32(b[diagInterface:])
	d = socket{
		state:  b[diagState],
		local:  decodeAddr(family, b[diagLocal:diagLocal+16], b[diagLocalPort:], scope),
		remote: decodeAddr(family, b[diagRemote:diagRemote+16], b[diagRemotePort:], scope),
		inode:  uint64(binary.NativeEndian.Uint32(b[diagInode:])),
		// Two numbers of 32 bits, the lower one first.
		cookie: uint64(binary.NativeEndian.Uint32(b[diagCookie:])) | uint64(binary.NativeEndian.Uint32(b[diagCookie+4:]))<<32,
	}
	for b = b[diagLen:]; len(b) >= unix.SizeofNlAttr; {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return d, errTruncated
		}
		if binary.NativeEndian.Uint16(b[2:]) == diagInfo {
			d.count(b[unix.SizeofNlAttr:length])
		}
		b = b[min(align(length), len(b)):]
	}
	return d, nil
}

// count reads what there is of a struct tcp_info. What was sent and not sent
// again is what left, acknowledged or not.
func (d *socket) count(info []byte) {
	if len(info) < infoReceived+8 {
		return
	}
	d.known = true
	d.received = binary.NativeEndian.Uint64(info[infoReceived:])
	if len(info) < infoRetrans+8 {
		d.sent = binary.NativeEndian.Uint64(info[infoAcked:])
		return
	}
	sent, again := binary.NativeEndian.Uint64(info[infoSent:]), binary.NativeEndian.Uint64(info[infoRetrans:])
	d.sent = sent - min(again, sent)
}

// decodeAddr reads an address. Other families than IPv6 have four bytes.
func decodeAddr(family uint8, b, port []byte, scope uint32) netip.AddrPort {
	addr := netip.AddrFrom4([4]byte(b))
	if family == unix.AF_INET6 {
		addr = netip.AddrFrom16([16]byte(b)).Unmap()
	}
	if scope != 0 && addr.Is6() && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port))
}

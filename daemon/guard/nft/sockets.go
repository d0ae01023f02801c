package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Socket is one that a jail has connected to somebody.
type Socket struct {
	Network       uint8 // TCP or UDP
	Local, Remote netip.AddrPort
}

// Destroy ends the connections of a cgroup's sockets that match, as their
// programs see by ECONNABORTED, and returns how many. Sockets that listen, and
// those of UDP that are not connected, are none. Cgroup 0 is where all are that
// this network namespace has.
func Destroy(cgroup uint64, match func(Socket) bool) (int, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return 0, fmt.Errorf("open sock_diag: %w", err)
	}
	defer conn.Close()
	n := 0
	for _, network := range []uint8{TCP, UDP} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			list, err := conn.Execute(socketsOf(cgroup, network, family))
			if err != nil {
				return n, fmt.Errorf("list sockets: %w", err)
			}
			for _, m := range list {
				s, ok := decodeSocket(m.Data, network)
				if !ok || !match(s) {
					continue
				}
				_, err := conn.Execute(destroy(m.Data, network))
				if err != nil && !errors.Is(err, unix.ENOENT) {
					return n, fmt.Errorf("destroy socket: %w", err)
				}
				n++
			}
		}
	}
	return n, nil
}

// Of linux/inet_diag.h and linux/sock_diag.h.
const (
	sockDestroy = 21 // SOCK_DESTROY
	reqLen      = 56 // struct inet_diag_req_v2
	reqID       = 8  // its struct inet_diag_sockid
	msgID       = 4  // that of struct inet_diag_msg
	idLen       = 48
	msgLen      = 72

	reqBytecode = 1  // INET_DIAG_REQ_BYTECODE
	cgroupCond  = 13 // INET_DIAG_BC_CGROUP_COND, Linux 5.9
)

// States of include/net/tcp_states.h: all in which there is a connection that is
// somebody's.
const connected = 1<<1 | 1<<2 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11

// socketsOf asks for the sockets of a cgroup.
func socketsOf(cgroup uint64, network, family uint8) netlink.Message {
	b := make([]byte, reqLen)
	b[0], b[1] = family, network
	binary.NativeEndian.PutUint32(b[4:], connected)
	if cgroup != 0 {
		b = append(b, inCgroup(cgroup)...)
	}
	return netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
		Data:   b,
	}
}

// inCgroup is the condition that a socket is in a cgroup: the kernel runs a program
// on each, which ends behind its only condition where that holds, and further where
// not.
func inCgroup(cgroup uint64) []byte {
	program := []byte{cgroupCond, 12, 0, 0}
	binary.NativeEndian.PutUint16(program[2:], 16)
	program = binary.NativeEndian.AppendUint64(program, cgroup)
	attribute, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: reqBytecode, Data: program}})
	if err != nil {
		panic(err) // of constants
	}
	return attribute
}

// destroy asks for the end of a socket that was listed.
func destroy(listed []byte, network uint8) netlink.Message {
	b := make([]byte, reqLen)
	b[0], b[1] = listed[0], network
	binary.NativeEndian.PutUint32(b[4:], 1<<listed[1])
	copy(b[reqID:], listed[msgID:msgID+idLen])
	return netlink.Message{
		Header: netlink.Header{Type: sockDestroy, Flags: netlink.Request | netlink.Acknowledge},
		Data:   b,
	}
}

// decodeSocket reads a struct inet_diag_msg.
func decodeSocket(b []byte, network uint8) (s Socket, ok bool) {
	if len(b) < msgLen {
		return s, false
	}
	addr := func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }
	if b[0] == unix.AF_INET {
		addr = func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
	}
	id := b[msgID:]
	s = Socket{
		Network: network,
		Local:   netip.AddrPortFrom(addr(id[4:20]), binary.BigEndian.Uint16(id)),
		Remote:  netip.AddrPortFrom(addr(id[20:36]), binary.BigEndian.Uint16(id[2:])),
	}
	return s, s.Remote.Port() != 0
}

package interpose

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// option is the level and type of a control message.
type option struct{ level, typ int32 }

// harmlessCmsg are the control messages that change how a datagram is sent but
// not where to. Routing headers and source routes are not among them.
var harmlessCmsg = map[option]bool{
	{unix.SOL_UDP, unix.UDP_SEGMENT}:        true,
	{unix.SOL_IP, unix.IP_TOS}:              true,
	{unix.SOL_IP, unix.IP_TTL}:              true,
	{unix.SOL_IP, unix.IP_PKTINFO}:          true,
	{unix.SOL_IPV6, unix.IPV6_PKTINFO}:      true,
	{unix.SOL_IPV6, unix.IPV6_HOPLIMIT}:     true,
	{unix.SOL_IPV6, unix.IPV6_TCLASS}:       true,
	{unix.SOL_IPV6, unix.IPV6_DONTFRAG}:     true,
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING}: true,
	{unix.SOL_SOCKET, unix.SO_TXTIME}:       true,
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:     true,
}

// control checks the control messages of b and, where they pass descriptors,
// puts duplicates in their place, which the caller owns. Anything unknown is
// refused.
func (k *call) control(b []byte) (control []byte, rights []int, errno unix.Errno) {
	local := k.socket.domain == unix.AF_UNIX
	for rest := b; ; {
		c, next, ok, errno := sockaddr.NextCmsg(rest)
		if errno != 0 {
			return nil, rights, errno
		}
		if !ok {
			return b, rights, 0
		}
		rest = next
		switch {
		case local && c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_RIGHTS:
			if rights, errno = k.duplicate(c.Data, rights); errno != 0 {
				return nil, rights, errno
			}
		case !local && harmlessCmsg[option{c.Level, c.Type}]:
		default:
			// SCM_CREDENTIALS among them: they would be the supervisor's.
			return nil, rights, unix.EPERM
		}
	}
}

// duplicate replaces the caller's descriptor numbers in data by duplicates.
func (k *call) duplicate(data []byte, rights []int) ([]int, unix.Errno) {
	const maxRights = 253 // SCM_MAX_FD, include/net/scm.h
	for ; len(data) >= 4; data = data[4:] {
		if len(rights) == maxRights {
			return rights, unix.EINVAL
		}
		fd, errno := sys.PidfdGetfd(k.pidfd, int(int32(binary.NativeEndian.Uint32(data))))
		if errno != 0 {
			return rights, errno
		}
		rights = append(rights, fd)
		binary.NativeEndian.PutUint32(data, uint32(fd))
	}
	return rights, 0
}

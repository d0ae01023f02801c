package interpose

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// connectLed connects as the policy wants it.
func (k *call) connectLed(c *Call, addr []byte) result {
	lead := c.Lead
	if lead == nil {
		return k.connectTo(addr)
	}
	if lead.To.IsValid() {
		addr = sockaddr.Inet(lead.To, c.Addr.Addr().Is4())
	}
	r := k.connectTo(addr)
	k.bound(lead)
	return r
}

// bound tells lead which address the socket has.
func (k *call) bound(lead *Lead) {
	if lead == nil || lead.Bound == nil {
		return
	}
	if local, errno := k.socket.localAddr(); errno == 0 && local.Port() != 0 {
		lead.Bound(local)
	}
}

// datagram is the content of one Send. Where the policy looked at it, what it
// saw is what is sent.
type datagram struct {
	k    *call
	m    *message
	data []byte // nil: not read
}

func (d *datagram) read() ([]byte, error) {
	if d.data != nil {
		return d.data, nil
	}
	n := sockaddr.Total(d.m.data)
	if n > maxDatagram {
		return nil, unix.EMSGSIZE
	}
	b, errno := d.m.copied, unix.Errno(0)
	if b == nil {
		b, errno = d.k.gather(d.m.data, n)
	}
	if errno != 0 {
		return nil, errno
	}
	d.data = append([]byte{}, b...)
	return d.data, nil
}

// sendLed sends as the policy wants it.
func (k *call) sendLed(c *Call, m *message) result {
	if c.datagram.data == nil {
		return k.transmit(m)
	}
	m.copied = c.datagram.data
	r := k.transmit(m)
	if r.errno != 0 || r.later != nil {
		return r
	}
	r.val = int64(sockaddr.Total(m.data))
	if c.Lead != nil && c.Lead.Reply != nil {
		return result{later: func(ctx context.Context) result {
			k.peek(ctx, c)
			return r
		}}
	}
	return r
}

// peekEvery is how often a wait for replies looks whether its caller is there.
const peekEvery = 50 * time.Millisecond

// peek shows lead the datagrams from where the Send went that are queued for the
// program's socket: others can send there as well. SO_PEEK_OFF lets it see more
// than the first one; a program that uses that itself keeps its own.
func (k *call) peek(ctx context.Context, c *Call) {
	fd := k.socket.fd
	if off, errno := sys.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF); errno != 0 || off >= 0 {
		return
	}
	defer func() { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, -1) }()
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0)
	buf, name := make([]byte, 1<<16), make([]byte, sockaddr.MaxLen)
	for end := time.Now().Add(c.Lead.Wait); ctx.Err() == nil && time.Now().Before(end); {
		for { // each is seen once: the offset moves on
			n, named, errno := sys.Recvfrom(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT, name)
			if errno != 0 {
				break
			}
			if sentBy(name[:named], c.Addr) && c.Lead.Reply(buf[:n]) {
				return
			}
		}
		queued := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(queued, int(peekEvery.Milliseconds()))
		if queued[0].Revents != 0 {
			// What was seen already makes it readable as well.
			time.Sleep(time.Millisecond)
		}
	}
}

// sentBy says whether a datagram came from an address.
func sentBy(name []byte, a netip.AddrPort) bool {
	from, errno := sockaddr.Parse(name)
	return errno == 0 && from.Inet.Port() == a.Port() && plain(from.Inet) == plain(a)
}

// plain is an address without what depends on the socket that it is seen by.
func plain(a netip.AddrPort) netip.Addr { return a.Addr().Unmap().WithZone("") }

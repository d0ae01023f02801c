package names

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How often and how long a socket is used. One that is used again offers its
// port for longer to whoever would guess the id; that is bounded, and one that
// received anything but its answer is closed. Making one each time adds a fifth
// to a lookup on this machine, see BenchmarkLookup.
const (
	maxUses = 16
	maxAge  = 2 * time.Second
	maxIdle = 4
)

// sockets are the ones to servers. Each is used by one query at a time.
type sockets struct {
	timeout time.Duration // for an answer

	mu     sync.Mutex
	closed bool
	idle   []*socket
	live   map[*socket]struct{} // idle ones, too
	sweep  *time.Timer
}

// socket is connected to a server, at a port that the kernel picked at random.
type socket struct {
	*net.UDPConn
	server netip.AddrPort
	uses   int
	born   time.Time
	odd    bool // it received what was no answer to its query
}

// exchange sends a query and waits for its answer.
func (s *socket) exchange(p *packet, id uint16, buf []byte) (int, error) {
	s.uses++
	if _, err := s.Write(p.raw); err != nil {
		return 0, err
	}
	for {
		n, err := s.Read(buf)
		if err != nil {
			return 0, err
		}
		if answers(buf[:n], id, p.asked()) {
			return n, nil
		}
		s.odd = true
	}
}

// empty says whether nothing came since the last answer: a guess at the next id
// may lie there already.
func (s *socket) empty() bool {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	empty := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		empty = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && empty
}

func (k *sockets) get(server netip.AddrPort) (*socket, error) {
	if s := k.reuse(server); s != nil {
		return s, nil
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	s := &socket{UDPConn: c, server: server, born: time.Now()}
	// One deadline for all its queries: to move it wakes the runtime's poller.
	if err := c.SetReadDeadline(s.born.Add(maxAge + k.timeout)); err != nil {
		c.Close()
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	if k.live == nil {
		k.live = make(map[*socket]struct{})
	}
	k.live[s] = struct{}{}
	return s, nil
}

func (k *sockets) reuse(server netip.AddrPort) *socket {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, s := range slices.Backward(k.idle) {
		if s.server != server {
			continue
		}
		k.idle = slices.Delete(k.idle, i, i+1)
		if time.Since(s.born) < maxAge && s.empty() {
			return s
		}
		k.dropLocked(s)
	}
	return nil
}

// put takes a socket back.
func (k *sockets) put(s *socket, good bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !good || s.odd || s.uses >= maxUses || len(k.idle) >= maxIdle || k.closed {
		k.dropLocked(s)
		return
	}
	k.idle = append(k.idle, s)
	if k.sweep == nil {
		k.sweep = time.AfterFunc(maxAge, k.rest)
	}
}

func (k *sockets) dropLocked(s *socket) {
	delete(k.live, s)
	s.Close()
}

// rest closes what is idle.
func (k *sockets) rest() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.idle {
		k.dropLocked(s)
	}
	k.idle, k.sweep = nil, nil
}

// close closes all, in use or not.
func (k *sockets) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for s := range k.live {
		s.Close()
	}
	k.live, k.idle = nil, nil
	if k.sweep != nil {
		k.sweep.Stop()
	}
}

package names

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
)

// buffers hold one message, of the largest size there is.
var buffers = sync.Pool{New: func() any { return new([65535]byte) }}

// receive serves datagrams until the resolver is closed.
func (r *Resolver) receive(c *net.UDPConn) {
	var buf [65535]byte
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.log.Debug("resolver: receive", "error", err)
			continue
		}
		from = unmapped(from)
		server, known := r.clients.server(client{false, from})
		if !known && r.cfg.Owner == nil {
			continue
		}
		raw := append([]byte(nil), buf[:n]...)
		p, err := parseQuery(raw)
		if err != nil {
			if known {
				send(c, trouble(raw, err), from)
			}
			continue
		}
		p.Server = server
		if !r.take() {
			send(c, p.fail(), from)
			continue
		}
		r.tasks.Go(func() {
			defer func() { <-r.slots }()
			defer r.survive(p, func(reply []byte) { send(c, reply, from) })
			if known || r.owns(p, from) {
				r.datagram(p, c, from)
			}
		})
	}
}

// owns says whether a query is the jail's that nobody has told of, and which
// server it is for.
func (r *Resolver) owns(p *packet, from netip.AddrPort) bool {
	servers := r.cfg.Upstreams()
	if len(servers) == 0 || !r.cfg.Owner(from) {
		return false
	}
	p.Server = dialable(servers[0])
	r.Expect("udp", from, servers[0])
	return true
}

// send sends a datagram, if there is one. A client that is gone needs none.
func send(c *net.UDPConn, raw []byte, to netip.AddrPort) {
	if raw != nil {
		_, _ = c.WriteToUDPAddrPort(raw, to)
	}
}

// datagram answers one query.
func (r *Resolver) datagram(p *packet, c *net.UDPConn, from netip.AddrPort) {
	reply, err := r.decide(r.ctx, p, from)
	if err != nil {
		return
	}
	if reply != nil {
		send(c, reply, from)
		return
	}
	buf := buffers.Get().(*[65535]byte)
	defer buffers.Put(buf)
	reply, err = r.exchange(p, buf[:])
	if err == nil {
		err = r.learn(p, reply)
	}
	switch {
	case r.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return // as silent as the server was
	case err != nil:
		r.log.Debug("resolver: no answer", "name", p.Name, "server", p.Server, "error", err)
		reply = p.fail()
	}
	send(c, reply, from)
}

// exchange asks the server. Others can hardly answer in its place: they would
// have to know the port and the id, which are random. math/rand/v2 draws from
// the runtime's ChaCha8, seeded by the kernel.
func (r *Resolver) exchange(p *packet, buf []byte) ([]byte, error) {
	s, err := r.sockets.get(p.Server)
	if err != nil {
		return nil, err
	}
	id := p.id()
	other := uint16(rand.Uint32())
	binary.BigEndian.PutUint16(p.raw, other)
	defer binary.BigEndian.PutUint16(p.raw, id)
	n, err := s.exchange(p, other, buf)
	r.sockets.put(s, err == nil)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(buf, id)
	return buf[:n], nil
}

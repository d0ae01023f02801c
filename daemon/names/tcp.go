package names

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// idleTimeout is how long a connection may be silent.
const idleTimeout = 30 * time.Second

// accept serves connections until the resolver is closed.
func (r *Resolver) accept(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.log.Warn("resolver: accept", "error", err)
			select {
			case <-time.After(time.Second): // out of descriptors
			case <-r.ctx.Done():
			}
			continue
		}
		select {
		case r.conns <- struct{}{}:
		default:
			c.Close()
			continue
		}
		r.tasks.Go(func() {
			defer func() { <-r.conns }()
			if r.adopt(c) {
				defer r.closeNow(c)
				r.converse(c)
			}
		})
	}
}

// converse serves one connection.
func (r *Resolver) converse(c *net.TCPConn) {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	from = unmapped(from)
	server, ok := r.clients.take(r.ctx, client{true, from})
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	s := &stream{r: r, c: c, server: server, ctx: ctx}
	if err := s.serve(); err != nil && !errors.Is(err, io.EOF) {
		cancel() // it is gone; a program that only closed its half still listens
	}
	s.queries.Wait()
	cancel()
	s.hangUp()
	s.readers.Wait()
}

// stream is a connection from the program and the one to its server, which is
// made at the first query that is forwarded.
type stream struct {
	r      *Resolver
	c      *net.TCPConn
	server netip.AddrPort
	ctx    context.Context

	queries sync.WaitGroup
	pending atomic.Int32 // queries
	readers sync.WaitGroup

	write sync.Mutex // one message at a time

	mu sync.Mutex
	up *pipe
}

// serve reads queries until the program closes, or falls silent.
func (s *stream) serve() error {
	in := bufio.NewReaderSize(s.c, 2048)
	for {
		if err := s.await(in); err != nil {
			return err
		}
		raw, err := readMessage(in)
		if err != nil {
			return err
		}
		p, err := parseQuery(raw)
		if err != nil {
			if len(raw) < headerLen {
				return err
			}
			s.send(trouble(raw, err))
			continue
		}
		p.Server = s.server
		select {
		case s.r.slots <- struct{}{}:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		s.pending.Add(1)
		s.queries.Go(func() {
			defer func() { <-s.r.slots }()
			defer s.pending.Add(-1)
			defer s.r.survive(p, s.send)
			s.answer(p)
		})
	}
}

// await waits for the next query. A connection with queries under way is not
// idle: people may be reading.
func (s *stream) await(in *bufio.Reader) error {
	for {
		if err := s.c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		_, err := in.Peek(1)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || s.pending.Load() == 0 {
			return err
		}
	}
}

// readMessage reads a message and the two bytes of length before it.
func readMessage(in io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(in, n[:]); err != nil {
		return nil, err
	}
	raw := make([]byte, binary.BigEndian.Uint16(n[:]))
	_, err := io.ReadFull(in, raw)
	return raw, err
}

func writeMessage(c net.Conn, raw []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
		return err
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(raw)), uint16(len(raw))), raw...))
	return err
}

// send sends a message, if there is one, to the program.
func (s *stream) send(raw []byte) {
	if raw == nil {
		return
	}
	s.write.Lock()
	defer s.write.Unlock()
	if writeMessage(s.c, raw) != nil {
		s.c.Close() // serve notices
	}
}

// answer answers one query.
func (s *stream) answer(p *packet) {
	reply, err := s.r.decide(s.ctx, p, netip.AddrPort{})
	if err != nil {
		return
	}
	if reply != nil {
		s.send(reply)
		return
	}
	switch err := s.forward(p); {
	case err == nil || s.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
	case errors.Is(err, errHungUp):
		// So does the program's server, as far as it knows. What is under way
		// is still sent.
		_ = s.c.CloseRead()
	default:
		s.r.log.Debug("resolver: no answer", "name", p.Name, "server", p.Server, "error", err)
		s.send(p.fail())
	}
}

// forward asks the server, and passes on what it says.
func (s *stream) forward(p *packet) error {
	up, err := s.pipe()
	if err != nil {
		return err
	}
	w, err := up.ask(p)
	if err != nil {
		return err
	}
	defer up.forget(w)
	timeout := time.NewTimer(s.r.cfg.Timeout)
	defer timeout.Stop()
	for {
		select {
		case reply := <-w.replies:
			if err := s.pass(p, reply); err != nil {
				return err
			}
			if !w.many {
				return nil
			}
			timeout.Reset(s.r.cfg.Timeout)
		case <-up.dead:
			select {
			case reply := <-w.replies:
				if err := s.pass(p, reply); err != nil || !w.many {
					return err
				}
			default:
				return errHungUp
			}
		case <-timeout.C:
			return os.ErrDeadlineExceeded
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// pass passes an answer on.
func (s *stream) pass(p *packet, reply []byte) error {
	if count(reply, 0) == 1 {
		if err := s.r.learn(p, reply); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint16(reply, p.id())
	s.send(reply)
	return nil
}

// pipe returns the connection to the server.
func (s *stream) pipe() (*pipe, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up != nil && !s.up.over() {
		return s.up, nil
	}
	s.hangUpLocked()
	d := net.Dialer{Timeout: s.r.cfg.Timeout}
	c, err := d.DialContext(s.ctx, "tcp", s.server.String())
	if err != nil {
		return nil, err
	}
	if !s.r.adopt(c) {
		return nil, net.ErrClosed
	}
	up := &pipe{c: c, waiting: make(map[uint16]*wait), dead: make(chan struct{})}
	s.up = up
	s.readers.Go(up.read)
	return up, nil
}

func (s *stream) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUpLocked()
}

func (s *stream) hangUpLocked() {
	if s.up != nil {
		s.r.closeNow(s.up.c)
		s.up = nil
	}
}

var errHungUp = errors.New("the server closed the connection")

// pipe is a connection to a server, which may answer in any order.
type pipe struct {
	c    net.Conn
	dead chan struct{} // closed when nothing more comes

	mu      sync.Mutex
	next    uint16
	waiting map[uint16]*wait
}

// wait is a query that was sent.
type wait struct {
	p       *packet
	id      uint16
	many    bool // a zone transfer: its messages need no question, and end when they end
	replies chan []byte
	done    chan struct{}
}

func (u *pipe) over() bool {
	select {
	case <-u.dead:
		return true
	default:
		return false
	}
}

// ask sends a query under an id that no other has.
func (u *pipe) ask(p *packet) (*wait, error) {
	w := &wait{p: p, replies: make(chan []byte, 1), done: make(chan struct{})}
	w.many = p.Type == dns.TypeAXFR || p.Type == dns.TypeIXFR
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.waiting[u.next] != nil {
		u.next++
	}
	w.id = u.next
	u.next++
	u.waiting[w.id] = w
	raw := append([]byte(nil), p.raw...)
	binary.BigEndian.PutUint16(raw, w.id)
	if err := writeMessage(u.c, raw); err != nil {
		delete(u.waiting, w.id)
		return nil, errHungUp
	}
	return w, nil
}

func (u *pipe) forget(w *wait) {
	close(w.done)
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.waiting, w.id)
}

// read hands out answers until the connection ends.
func (u *pipe) read() {
	defer close(u.dead)
	in := bufio.NewReader(u.c)
	for {
		raw, err := readMessage(in)
		if err != nil {
			return
		}
		if len(raw) < headerLen {
			continue
		}
		u.mu.Lock()
		w := u.waiting[binary.BigEndian.Uint16(raw)]
		u.mu.Unlock()
		if w == nil || !w.accepts(raw) {
			continue
		}
		select {
		case w.replies <- raw:
		case <-w.done:
		}
	}
}

func (w *wait) accepts(raw []byte) bool {
	return answers(raw, w.id, w.p.asked()) || w.many && raw[2]&flagQR != 0 && count(raw, 0) == 0
}

// Package client talks to netjail's root service, which has the kernel drop what
// a jail was not allowed.
//
//	c, err := client.Dial(client.Socket)
//	jail, err := c.Confine(pidfd)
//	// the process starts the program
//	err = c.Free()
//	err = c.Allow(client.Dest{Proto: "tcp", Addr: addr, Port: 443})
//	err = c.Deny(dest)
//	for d := range c.Dropped() {
//		// ask about d, then Allow or Deny it
//	}
//	err = c.Close()
//
// A connection has one jail. When it ends, however it ends, the jail is shut:
// what runs in it has no network any more. The process that is confined is a
// descendant of the caller's. What it starts from then on is in the jail as well:
// its sockets and its children are no older than that. A program that is born
// there has none that are; whoever started it can be let go.
//
// The package and the service it talks to know no rules: who may be reached is
// what the caller says. It also has the words that the two exchange, a line of
// JSON each.
package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/cgroup"
)

// Socket is where the service listens.
const Socket = "/run/netjail/guard.sock"

// ErrNotRunning means that nobody listens there.
var ErrNotRunning = errors.New("the guard is not running")

// ErrClosed means that the connection has ended, and the jail is shut.
var ErrClosed = errors.New("the guard has gone, and the jail is shut")

// Conn is a connection, and a jail. Its methods are called from any goroutine.
type Conn struct {
	conn    *net.UnixConn
	network uint64 // NetworkCookie
	dropped chan Dest

	ended   chan struct{} // closed when nothing is read any more
	stopped error         // then: why
	rest    []byte        // then: of a line

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *Reply // nil: it has ended
	err     error                  // why
}

// Dial connects to the service.
func Dial(path string) (*Conn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the guard: %w", err)
	}
	return newConn(conn, nil)
}

func newConn(conn *net.UnixConn, rest []byte) (*Conn, error) {
	network, err := NetworkCookie()
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &Conn{
		conn: conn, network: network, dropped: make(chan Dest, maxDropped), ended: make(chan struct{}),
		waiting: make(map[uint64]chan *Reply),
	}
	go c.read(rest)
	return c, nil
}

// maxDropped is how many packets may wait to be looked at. What comes then is
// left out: who sends will try again.
const maxDropped = 256

// Close ends the connection, and all that the jail was allowed.
func (c *Conn) Close() error { return c.conn.Close() }

// Dropped returns where the jail sent packets that were dropped because nothing
// was said of them. It is closed when the connection ends.
func (c *Conn) Dropped() <-chan Dest { return c.dropped }

// Jail is one that was made.
type Jail struct {
	ID     string
	Cgroup string
}

// Holds says whether a process is in the jail. It cannot leave by itself, but may
// have had itself moved by one that is root's and does so for its user: systemd,
// for instance, which the session bus leads to. New sockets of it are not covered
// then.
func (j Jail) Holds(pid int) bool {
	group, err := new(cgroup.Tree).Of(pid)
	return err == nil && j.Cgroup != "" && group == j.Cgroup
}

// Confine makes a jail for a process.
func (c *Conn) Confine(pidfd int) (Jail, error) {
	r, err := c.do(&Request{Op: OpConfine, Network: c.network}, unix.UnixRights(pidfd))
	if err != nil {
		return Jail{}, fmt.Errorf("confine: %w", err)
	}
	return Jail{r.Jail, r.Cgroup}, nil
}

// Free lets the process go that was confined. What it has started stays.
func (c *Conn) Free() error {
	if _, err := c.do(&Request{Op: OpFree}, nil); err != nil {
		return fmt.Errorf("free: %w", err)
	}
	return nil
}

// Allow lets the jail send to destinations, each for its timeout, and take
// answers. What has begun goes on when the timeout is over.
func (c *Conn) Allow(dests ...Dest) error { return c.tell(OpAllow, dests) }

// Deny ends what the jail has open to destinations, and refuses it at once until
// they are allowed again. They have no timeouts.
func (c *Conn) Deny(dests ...Dest) error { return c.tell(OpDeny, dests) }

// Forget has nothing said of destinations any more: they are neither allowed nor
// denied. What is open goes on; what begins is dropped, and told of.
func (c *Conn) Forget(dests ...Dest) error { return c.tell(OpForget, dests) }

// Listen lets others begin to send to ports of the jail's own.
func (c *Conn) Listen(ports ...Dest) error { return c.tell(OpListen, ports) }

// Unlisten takes that back, and ends what others have open.
func (c *Conn) Unlisten(ports ...Dest) error { return c.tell(OpUnlisten, ports) }

// Resolver lets the jail ask for names at an address.
func (c *Conn) Resolver(at netip.AddrPort) error {
	return c.Allow(Dest{Proto: "udp", Addr: at.Addr(), Port: at.Port()}, Dest{Proto: "tcp", Addr: at.Addr(), Port: at.Port()})
}

// Lead has who listens at an address of loopback answer for servers of its family:
// what the program sends to one, over UDP or TCP, goes there, and the answers
// come from the server as far as the program can see. Nothing goes to the servers
// themselves any more, whatever is allowed. For all servers of a family it is the
// last address that counts.
//
// Some reach neither: who asks a server that is denied; a program of another
// user's, such as one that is setuid; a socket that is bound to a device.
func (c *Conn) Lead(to netip.AddrPort, servers ...netip.AddrPort) error {
	if _, err := c.do(&Request{Op: OpLead, To: to, Servers: servers}, nil); err != nil {
		return fmt.Errorf("lead: %w", err)
	}
	return nil
}

func (c *Conn) tell(op string, dests []Dest) error {
	for len(dests) > 0 {
		n := min(len(dests), MaxDests)
		if _, err := c.do(&Request{Op: op, Dests: dests[:n]}, nil); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		dests = dests[n:]
	}
	return nil
}

// do sends a request and waits for its reply.
func (c *Conn) do(r *Request, rights []byte) (*Reply, error) {
	reply := make(chan *Reply, 1)
	if err := c.send(r, rights, reply); err != nil {
		return nil, err
	}
	got, ok := <-reply
	switch {
	case !ok:
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, c.err
	case got.Error != "":
		return nil, errors.New(got.Error)
	}
	return got, nil
}

func (c *Conn) send(r *Request, rights []byte, reply chan *Reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return c.err
	}
	c.last++
	r.ID = c.last
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	c.waiting[r.ID] = reply
	if _, _, err := c.conn.WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		if !errors.Is(err, unix.EPIPE) && !errors.Is(err, net.ErrClosed) {
			delete(c.waiting, r.ID)
			return fmt.Errorf("write to the guard: %w", err)
		}
		// It has gone, and may have said why: whoever reads that tells.
	}
	return nil
}

// HandOver ends the connection here, and returns what another process makes it
// of again: the jail stays as it is. Nothing else may be under way.
func (c *Conn) HandOver() (f *os.File, rest []byte, err error) {
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	<-c.ended
	if !errors.Is(c.stopped, os.ErrDeadlineExceeded) {
		return nil, nil, ErrClosed
	}
	f, err = c.conn.File()
	if err != nil {
		err = fmt.Errorf("hand over: %w", err)
	}
	c.conn.Close()
	return f, c.rest, err
}

// Resume takes a connection over. It owns f.
func Resume(f *os.File, rest []byte) (*Conn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("take over: that is no connection to the guard")
	}
	_ = uc.SetReadDeadline(time.Time{})
	return newConn(uc, rest)
}

// read hands on what the service says, until it says no more.
func (c *Conn) read(rest []byte) {
	why := ErrClosed
	buf := make([]byte, 4096)
	for c.stopped == nil {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if ok {
			rest = after
			if err := c.take(line); err != nil {
				why, c.stopped = err, err
			}
			continue
		}
		var n int
		n, c.stopped = c.conn.Read(buf)
		if rest = append(bytes.Clone(rest), buf[:n]...); len(rest) > MaxLine {
			c.stopped = io.ErrShortBuffer
		}
	}
	c.rest = rest
	c.mu.Lock()
	c.err = why
	for _, w := range c.waiting {
		close(w)
	}
	c.waiting = nil
	c.mu.Unlock()
	close(c.dropped)
	if !errors.Is(c.stopped, os.ErrDeadlineExceeded) {
		c.conn.Close()
	}
	close(c.ended)
}

// take hands on one line. An error is why there is no connection any more.
func (c *Conn) take(line []byte) error {
	var r Reply
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if r.Dropped != nil {
		select {
		case c.dropped <- *r.Dropped:
		default:
		}
		return nil
	}
	if r.ID == 0 {
		return fmt.Errorf("the guard does not serve: %s", r.Error)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[r.ID]; w != nil {
		delete(c.waiting, r.ID)
		w <- &r
	}
	return nil
}

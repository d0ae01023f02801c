package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// conn is a connection that is served.
type conn struct {
	*net.UnixConn
	peer peer
	lost chan nft.Dest // was dropped
}

// Of a connection.
const (
	patience    = 10 * time.Second // for its first request, and for it to take replies
	maxTold     = 64               // packets that were dropped and are not told of yet
	maxMessages = 1                // descriptors in one message
)

// dropped tells of a packet, unless there is much to tell already.
func (c *conn) dropped(d nft.Dest) {
	select {
	case c.lost <- d:
	default:
	}
}

// converse answers a client until it leaves, and shuts its jail.
func (s *service) converse(ctx context.Context, uc *net.UnixConn, p peer) {
	c := &conn{UnixConn: uc, peer: p, lost: make(chan nft.Dest, maxTold)}
	var j *jail
	replies := make(chan *client.Reply)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(replies) })
	s.pace(ctx, p.uid) // to connect is a request, too
	_ = c.SetReadDeadline(time.Now().Add(patience))
	err := c.requests(func(r *client.Request, pidfd int) {
		s.pace(ctx, p.uid)
		reply := &client.Reply{ID: r.ID}
		var err error
		if r.Op == client.OpConfine && j == nil {
			j, err = s.begin(c, r, pidfd)
			if err == nil {
				reply.Jail, reply.Cgroup = j.ID, j.group.Path
				_ = c.SetReadDeadline(time.Time{})
			}
		} else {
			reply.Ended, err = s.handle(j, r)
		}
		if err != nil {
			s.log.Info("refused", "user", p.uid, "pid", p.pid, "request", r.Op, "error", err)
			reply.Error = err.Error()
		}
		replies <- reply
	})
	close(replies)
	writer.Wait()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("connection ends", "user", p.uid, "pid", p.pid, "error", err)
	}
	if j != nil {
		j.first.drop()
		s.mu.Lock()
		j.conn = nil
		s.mu.Unlock()
	}
}

// pace has a user's requests wait who has too many.
func (s *service) pace(ctx context.Context, uid int) {
	if d := s.wait(uid); d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// write writes what there is to say. It takes all replies, even those that
// nobody reads.
func (c *conn) write(replies <-chan *client.Reply) {
	for {
		var r *client.Reply
		var ok bool
		select {
		case r, ok = <-replies:
			if !ok {
				return
			}
		case d := <-c.lost:
			r = &client.Reply{Dropped: &client.Dest{Proto: protoOf(d.Network), Addr: d.Addr, Port: d.Port}}
		}
		line, err := json.Marshal(r)
		if err == nil {
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			_, err = c.Write(append(line, '\n'))
		}
		if err != nil {
			c.Close()
		}
	}
}

var errLong = errors.New("request is too long")

// requests reads lines, each with the descriptor that came with it, or -1. It
// ends with the first that is none.
func (c *conn) requests(handle func(r *client.Request, fd int)) error {
	var (
		line []byte
		fd   = -1
		buf  = make([]byte, 16<<10)
		oob  = make([]byte, unix.CmsgSpace(4*maxMessages))
	)
	defer func() { closeFD(fd) }()
	for {
		n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
		got, rerr := rights(oob[:oobn])
		if len(got) > 0 {
			closeFD(fd)
			fd = got[0]
			for _, extra := range got[1:] {
				closeFD(extra)
			}
		}
		switch {
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		case rerr != nil || len(got) > 1 || flags&unix.MSG_CTRUNC != 0:
			return errors.New("one descriptor comes with a request, at most")
		}
		line = append(line, buf[:n]...)
		for {
			head, rest, ok := bytes.Cut(line, []byte("\n"))
			if len(head) > client.MaxLine {
				return errLong
			}
			if !ok {
				break
			}
			r, err := decode(head)
			if err != nil {
				return err
			}
			handle(r, fd)
			closeFD(fd)
			fd, line = -1, rest
		}
		line = bytes.Clone(line)
	}
}

// rights returns the descriptors that came with a message.
func rights(oob []byte) (list []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, ferr := unix.ParseUnixRights(&messages[i])
		list = append(list, fds...)
		err = errors.Join(err, ferr)
	}
	return list, err
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// decode reads a request.
func decode(line []byte) (*client.Request, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var r client.Request
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("request: more than one in a line")
	}
	return &r, nil
}

// begin is the first request.
func (s *service) begin(c *conn, r *client.Request, pidfd int) (*jail, error) {
	if pidfd < 0 {
		return nil, errors.New("no pidfd came with it")
	}
	here, err := client.NetworkCookie()
	if err != nil {
		return nil, err
	}
	if r.Network != here {
		return nil, errors.New("the process is in another network namespace than the guard")
	}
	return s.confine(c, pidfd)
}

// handle performs a request for a jail, and returns how many connections it
// ended.
func (s *service) handle(j *jail, r *client.Request) (int, error) {
	if j == nil {
		return 0, errors.New("nothing is confined yet")
	}
	switch r.Op {
	case client.OpFree:
		return 0, s.free(j)
	case client.OpLead:
		l, err := leadOf(r, j.user)
		if err != nil {
			return 0, err
		}
		return 0, s.table.Lead(j.Jail, *l)
	}
	local := r.Op == client.OpListen || r.Op == client.OpUnlisten
	dests, err := destsOf(r, local)
	if err != nil {
		return 0, err
	}
	switch r.Op {
	case client.OpAllow:
		return 0, s.table.Allow(j.Jail, dests)
	case client.OpForget:
		return 0, s.table.Forget(j.Jail, dests)
	case client.OpListen:
		return 0, s.table.Listen(j.Jail, dests)
	case client.OpDeny:
		// What is open is ended while the packet that tells the other end is let
		// through, and once more what had begun meanwhile.
		remote := func(k nft.Socket) netip.AddrPort { return k.Remote }
		if err := s.table.Forget(j.Jail, dests); err != nil {
			return 0, err
		}
		n := s.end(j, dests, remote)
		if err := s.table.Deny(j.Jail, dests); err != nil {
			return n, err
		}
		return n + s.end(j, dests, remote), nil
	case client.OpUnlisten:
		local := func(k nft.Socket) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, k.Local.Port()) }
		n := s.end(j, dests, local)
		if err := s.table.Unlisten(j.Jail, dests); err != nil {
			return n, err
		}
		return n + s.end(j, dests, local), nil
	}
	return 0, fmt.Errorf("there is no request %q", r.Op)
}

// end ends connections. The kernel lets nothing through that they send already:
// this tells their programs.
func (s *service) end(j *jail, dests []nft.Dest, side func(nft.Socket) netip.AddrPort) int {
	type key struct {
		network uint8
		at      netip.AddrPort
	}
	keys := make(map[key]bool)
	for _, d := range dests {
		keys[key{d.Network, netip.AddrPortFrom(d.Addr, d.Port)}] = true
	}
	n, err := nft.Destroy(j.Cgroup, func(k nft.Socket) bool {
		at := side(k)
		return keys[key{k.Network, netip.AddrPortFrom(at.Addr().WithZone(""), at.Port())}]
	})
	if err != nil {
		s.log.Warn("end connections", "jail", j.ID, "error", err)
	}
	return n
}

// destsOf reads a request's destinations.
func destsOf(r *client.Request, local bool) ([]nft.Dest, error) {
	if len(r.Dests) == 0 || len(r.Dests) > client.MaxDests {
		return nil, fmt.Errorf("%d destinations; 1 to %d make a request", len(r.Dests), client.MaxDests)
	}
	list := make([]nft.Dest, len(r.Dests))
	for i, in := range r.Dests {
		addr := in.Addr.Unmap()
		d := nft.Dest{Network: networkOf(in.Proto, addr), Addr: addr, Port: in.Port}
		if in.Timeout < 0 || in.Timeout > int64(maxTimeout/time.Millisecond) || in.Timeout != 0 && r.Op != client.OpAllow && r.Op != client.OpListen {
			return nil, fmt.Errorf("a timeout of %d ms makes no sense", in.Timeout)
		}
		d.Timeout = time.Duration(in.Timeout) * time.Millisecond
		if err := d.Check(local); err != nil {
			return nil, err
		}
		list[i] = d
	}
	return list, nil
}

// leadOf reads a request to lead a user's program.
func leadOf(r *client.Request, user int) (*nft.Lead, error) {
	unmap := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
	l := &nft.Lead{User: uint32(user), To: unmap(r.To)}
	for _, s := range r.Servers {
		l.Servers = append(l.Servers, unmap(s))
	}
	return l, l.Check()
}

// maxTimeout is the longest that is allowed for: what is longer has none.
const maxTimeout = 365 * 24 * time.Hour

func networkOf(proto string, addr netip.Addr) uint8 {
	switch {
	case proto == "tcp":
		return nft.TCP
	case proto == "udp":
		return nft.UDP
	case proto == "icmp" && addr.Is6():
		return nft.ICMPv6
	case proto == "icmp":
		return nft.ICMP
	}
	return 0
}

func protoOf(network uint8) string {
	switch network {
	case nft.TCP:
		return "tcp"
	case nft.UDP:
		return "udp"
	}
	return "icmp"
}

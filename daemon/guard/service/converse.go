package service

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/conversation"
)

// conn is a connection that is served.
type conn struct {
	*conversation.Conn
	peer peer
}

// patience is how long a connection may take for its first request.
const patience = 10 * time.Second

// converse answers a client until it leaves, and shuts its jail.
func (s *service) converse(ctx context.Context, uc *net.UnixConn, p peer) {
	c := &conn{conversation.New(uc), p}
	var j *jail
	s.pace(ctx, p.uid) // to connect is a request, too
	_ = c.SetReadDeadline(time.Now().Add(patience))
	err := c.Serve(func(r *client.Request, pidfd int) *client.Reply {
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
		return reply
	})
	if err != nil {
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
	switch {
	case j == nil:
		return 0, errors.New("nothing is confined yet")
	case r.Op == client.OpFree:
		return 0, s.free(j)
	}
	of := conversation.Jail{Jail: j.Jail, User: j.user, Table: s.table, Log: s.log}
	return of.Perform(r)
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// Package service is netjail's root service: it takes network away from
// processes of the users who ask, and from no others.
//
//	l, err := service.Listen(client.Socket)
//	err = service.Run(ctx, service.Config{Listener: l, Log: log})
//
// Who asks is known by the socket, and the process by a pidfd: one of the same
// user, that descends from who asks, and neither of them in a jail. It is moved
// into a cgroup that its user cannot have it leave, see package cgroup, from
// which nothing goes out and nothing comes in but what is asked for, see package
// nft.
//
// A jail belongs to its connection. When that ends, or the service does, the jail
// is shut, and removed when nothing runs in it. What a service that was killed has
// left behind stays as closed as it was, and is shut by the next one.
//
// The service knows no rules, asks nobody, and gives nobody more than they had.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/guard/cgroup"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// Limits of a user.
const (
	maxJails       = 64 // with those that are shut and not empty
	maxConnections = 96
	perSecond      = 200 // requests; more wait
	burst          = 400
)

// Config says how to serve. Zero fields mean what a machine has.
type Config struct {
	Listener *net.UnixListener
	Tree     *cgroup.Tree // nil: found
	Group    uint16       // that dropped packets are logged to; 0: nft.Group
	Log      *slog.Logger // nil: nothing is logged
	Plain    bool         // do not own the table, as before Linux 6.9
}

// service serves.
type service struct {
	log   *slog.Logger
	tree  *cgroup.Tree
	table *nft.Table

	sweeping sync.Mutex // before mu

	mu    sync.Mutex
	users map[int]*user
	jails map[string]*jail // by id
}

// user is what is kept of one.
type user struct {
	connections int
	jails       int
	spent       time.Time // until when its requests have used up their time
}

// jail is one that there is. conn is nil when it is shut.
type jail struct {
	nft.Jail
	group *cgroup.Group
	user  int // -1: not known
	conn  *conn
	first first // of its connection

	shut bool // the kernel knows it; of who sweeps
}

// sweepEvery is how often jails that are shut are looked at.
const sweepEvery = time.Second

// Run serves until ctx ends, and shuts all jails then.
func Run(ctx context.Context, cfg Config) error {
	s := &service{
		log: cfg.Log, tree: cfg.Tree,
		users: make(map[int]*user), jails: make(map[string]*jail),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Group == 0 {
		cfg.Group = nft.Group
	}
	var err error
	if s.tree == nil {
		if s.tree, err = cgroup.Find(); err != nil {
			return err
		}
	}
	if s.table, err = nft.Open(cfg.Group); err != nil {
		return err
	}
	defer s.table.Close()
	if cfg.Plain {
		s.table.Plain()
	}
	log, err := nft.OpenLog(cfg.Group) // which another service would have, if there were one
	if err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return errors.Join(err, log.Close())
	}
	return s.serve(ctx, cfg.Listener, log)
}

// serve runs what there is to run at once.
func (s *service) serve(ctx context.Context, l *net.UnixListener, log *nft.Log) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { s.sweepAll(ctx) })
	tasks.Go(func() { s.tell(ctx, log, cancel) })
	tasks.Go(func() { s.accept(ctx, l, &tasks, cancel) })
	<-ctx.Done()
	l.Close()
	log.Close()
	tasks.Wait()
	s.sweep() // the last connections have ended
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// recover shuts what an earlier service has left behind.
func (s *service) recover() error {
	left, err := s.tree.Left(prefix)
	if err != nil {
		return err
	}
	var shut []nft.Jail
	for _, g := range left {
		if gone, err := g.Remove(); gone || err != nil {
			if gone {
				err = errors.Join(err, orphans(g.ID))
			}
			if err != nil {
				s.log.Warn("left behind", "cgroup", g.Path, "error", err)
			}
			continue
		}
		id, ok := idOf(g)
		if !ok || s.jails[id] != nil {
			continue
		}
		j := &jail{Jail: nft.Jail{ID: id, Cgroup: g.ID, Level: g.Level}, group: g, user: -1, shut: true, first: first{pidfd: -1}}
		s.jails[id] = j
		shut = append(shut, j.Jail)
		s.log.Info("shut what was left behind", "cgroup", g.Path)
	}
	return s.table.Reset(shut)
}

// accept takes connections.
func (s *service) accept(ctx context.Context, l *net.UnixListener, tasks *sync.WaitGroup, cancel context.CancelCauseFunc) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return
		case errors.Is(err, net.ErrClosed):
			cancel(fmt.Errorf("accept: %w", err))
			return
		case err != nil: // no descriptors, no memory: there will be
			s.log.Error("accept", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		p, err := s.admit(c)
		if err != nil {
			s.log.Warn("not served", "user", p.uid, "pid", p.pid, "error", err)
			refuse(c, err)
			continue
		}
		tasks.Go(func() {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			s.converse(ctx, c, p)
			s.dismiss(c, p)
			s.sweep()
		})
	}
}

// tell hands on what was dropped to who has the jail.
func (s *service) tell(ctx context.Context, log *nft.Log, cancel context.CancelCauseFunc) {
	for {
		list, err := log.Read()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			cancel(err)
			return
		}
		for _, d := range list {
			s.mu.Lock()
			if j := s.jails[d.Jail]; j != nil && j.conn != nil {
				j.conn.Dropped(d.Dest)
			}
			s.mu.Unlock()
		}
	}
}

// sweepAll sweeps now and then: nobody tells when a cgroup is empty.
func (s *service) sweepAll(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.restore()
			s.sweep()
		}
	}
}

// restore makes the table anew when somebody has deleted it. What was allowed is
// not known here: all jails are shut.
func (s *service) restore() {
	gone, err := s.table.Gone()
	if err != nil {
		s.log.Error("look at the table", "error", err)
	}
	if !gone {
		return
	}
	s.log.Error("somebody has deleted the table: all jails are shut", "table", nft.Name)
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var shut []nft.Jail
	for _, j := range s.jails {
		if j.conn != nil {
			j.conn.Close()
		}
		j.shut = true
		shut = append(shut, j.Jail)
	}
	if err := s.table.Reset(shut); err != nil {
		s.log.Error("make the table anew", "error", err)
	}
}

// sweep shuts jails that have no connection any more, and removes those that are
// empty.
func (s *service) sweep() {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	var list []*jail
	s.mu.Lock()
	for _, j := range s.jails {
		if j.conn == nil {
			list = append(list, j)
		}
	}
	s.mu.Unlock()
	for _, j := range list {
		if err := s.close(j); err != nil {
			s.log.Error("a jail stays as it is", "jail", j.ID, "error", err)
		}
	}
}

// close shuts a jail, and removes it if it is empty.
func (s *service) close(j *jail) error {
	if !j.shut {
		if err := s.table.Shut(j.Jail); err != nil {
			return err
		}
		j.shut = true
	}
	if gone, err := j.group.Remove(); !gone {
		return err
	}
	err := errors.Join(orphans(j.Cgroup), s.table.Remove(j.Jail))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jails, j.ID)
	if u := s.users[j.user]; u != nil {
		u.jails--
		s.forgetLocked(j.user)
	}
	return err
}

// orphans ends the connections that programs of an empty cgroup have left behind.
// The kernel sends what they had to say until somebody answers, in no jail from
// now on.
func orphans(group uint64) error {
	_, err := nft.Destroy(group, func(nft.Socket) bool { return true })
	return err
}

// forgetLocked forgets a user who has nothing here.
func (s *service) forgetLocked(uid int) {
	if u := s.users[uid]; u != nil && u.connections == 0 && u.jails == 0 && time.Now().After(u.spent) {
		delete(s.users, uid)
	}
}

package service

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/cgroup"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// idLen is the length of a jail's id, in bytes: no two jails ever have the same.
const idLen = 8

// confine makes a jail for a process.
func (s *service) confine(c *conn, pidfd int) (*jail, error) {
	p, err := s.prove(c.peer, pidfd)
	if err != nil {
		return nil, err
	}
	group, err := s.tree.Of(p.pid)
	if err != nil {
		return nil, err
	}
	if jailed(group) {
		return nil, fmt.Errorf("process %d is in a jail already", p.pid)
	}
	place, err := s.tree.Place(group, c.peer.uid)
	if err != nil {
		return nil, err
	}
	if err := s.reserve(c.peer.uid); err != nil {
		return nil, err
	}
	j, err := s.put(p, pidfd, c, group, place)
	if err != nil {
		s.mu.Lock()
		s.users[c.peer.uid].jails--
		s.mu.Unlock()
		return nil, err
	}
	j.first = first{pid: p.pid, pidfd: -1, home: group}
	if j.first.pidfd, err = unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		s.log.Warn("it cannot be freed", "pid", p.pid, "error", err)
	}
	return j, nil
}

// first is the process that was confined, which whoever asked for that may have
// back. It is none of those that it has started.
type first struct {
	pid, pidfd int
	home       string
}

// free moves a jail's first process back. Its number is another's when it has
// ended: one of the same user's is not let out.
func (s *service) free(j *jail) error {
	f := &j.first
	if f.pidfd < 0 {
		return errors.New("it was let go already")
	}
	group, err := s.tree.Of(f.pid)
	if err != nil {
		return err
	}
	if group != j.group.Path || !alive(f.pidfd) {
		return fmt.Errorf("process %d has ended", f.pid)
	}
	if err := s.tree.Move(f.pid, f.home); err != nil {
		return err
	}
	if !alive(f.pidfd) {
		err = fmt.Errorf("process %d has ended", f.pid)
		if p, perr := processOf(f.pid); perr == nil && p.uids[0] == j.user {
			err = errors.Join(err, j.group.Take(f.pid))
		}
		return err
	}
	f.drop()
	return nil
}

// drop forgets the process.
func (f *first) drop() {
	closeFD(f.pidfd)
	f.pidfd = -1
}

func (s *service) reserve(uid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[uid].jails >= maxJails {
		return fmt.Errorf("user %d has %d jails", uid, maxJails)
	}
	s.users[uid].jails++
	return nil
}

// prove makes sure that a pidfd's process is one of the peer's that it may take
// network away from.
func (s *service) prove(who peer, pidfd int) (p process, err error) {
	pid, err := pidOf(pidfd)
	if err != nil {
		return p, err
	}
	if p, err = processOf(pid); err != nil {
		return p, err
	}
	for _, uid := range p.uids {
		if uid != who.uid {
			return p, fmt.Errorf("process %d is another user's", pid)
		}
	}
	if err := descends(p, who.pid); err != nil {
		return p, err
	}
	if !alive(pidfd) {
		return p, fmt.Errorf("process %d has ended", pid) // and all that was read may be another's
	}
	return p, nil
}

// descends makes sure that a process runs below another.
func descends(p process, ancestor int) error {
	const most = 1000
	pid := p.pid
	for range most {
		if p.parent == ancestor {
			return nil
		}
		var err error
		if p, err = processOf(p.parent); err != nil {
			break
		}
	}
	return fmt.Errorf("process %d was not started by %d", pid, ancestor)
}

// put makes a cgroup, moves the process there, and has the kernel know of it. A
// process is moved by its number, which may be another's when it has ended:
// therefore it is looked at again, and the kernel told only then.
func (s *service) put(p process, pidfd int, c *conn, home, place string) (*jail, error) {
	id := newID()
	g, err := s.tree.Make(place, prefix+id)
	if err != nil {
		return nil, err
	}
	err = g.Take(p.pid)
	if err == nil {
		err = s.arrived(p, pidfd, c.peer, g)
	}
	j := &jail{Jail: nft.Jail{ID: id, Cgroup: g.ID, Level: g.Level}, group: g, user: c.peer.uid, conn: c}
	if err == nil {
		s.mu.Lock()
		s.jails[id] = j
		s.mu.Unlock()
		err = s.table.Add(j.Jail)
	}
	if err != nil {
		s.mu.Lock()
		delete(s.jails, id)
		s.mu.Unlock()
		return nil, errors.Join(err, g.Release(s.tree, map[int]string{p.pid: home}))
	}
	return j, nil
}

// arrived makes sure that the process that was proved is the one that was moved.
func (s *service) arrived(p process, pidfd int, who peer, g *cgroup.Group) error {
	again, err := s.prove(who, pidfd)
	if err != nil {
		return err
	}
	group, err := s.tree.Of(again.pid)
	if err != nil {
		return err
	}
	if again.pid != p.pid || group != g.Path || !alive(pidfd) {
		return fmt.Errorf("process %d is not where it was put", p.pid)
	}
	return nil
}

func newID() string {
	b := make([]byte, idLen)
	_, _ = rand.Read(b) // it does not fail
	return hex.EncodeToString(b)
}

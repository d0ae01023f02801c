package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/cgroup"
	"github.com/netjail/netjail/daemon/guard/client"
)

// peer is who connected, as the kernel noted it then.
type peer struct{ uid, pid int }

// admit checks who connected, and counts the connection.
func (s *service) admit(c *net.UnixConn) (p peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	if cerr := raw.Control(func(fd uintptr) { p, err = s.identify(int(fd)) }); cerr != nil {
		return p, cerr
	}
	if err != nil {
		return p, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[p.uid]
	if u == nil {
		u = new(user)
		s.users[p.uid] = u
	}
	if u.connections >= maxConnections {
		return p, fmt.Errorf("user %d has %d connections", p.uid, u.connections)
	}
	u.connections++
	return p, nil
}

// identify finds out who is at the other end, and that it is in no jail: it would
// allow itself what it likes.
func (s *service) identify(fd int) (p peer, err error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return p, fmt.Errorf("peer credentials: %w", err)
	}
	p = peer{uid: int(cred.Uid), pid: int(cred.Pid)}
	if p.pid <= 0 {
		return p, errors.New("a process that cannot be seen from here")
	}
	group, err := s.tree.Of(p.pid)
	if err != nil {
		return p, err
	}
	if jailed(group) {
		return p, errors.New("a program in a jail is not served")
	}
	// Linux 6.5. Without it the process may have ended, and another have its number.
	if pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
		defer unix.Close(pidfd)
		if !alive(pidfd) {
			return p, errors.New("who connected has ended")
		}
	}
	return p, nil
}

// dismiss ends a connection.
func (s *service) dismiss(c *net.UnixConn, p peer) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[p.uid].connections--
	s.forgetLocked(p.uid)
}

// refuse says why somebody is not served.
func refuse(c *net.UnixConn, err error) {
	line, _ := json.Marshal(&client.Reply{Error: err.Error()})
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(append(line, '\n'))
	c.Close()
}

// wait returns how long a request of a user has to wait.
func (s *service) wait(uid int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, now := s.users[uid], time.Now()
	if u.spent.Before(now) {
		u.spent = now
	}
	u.spent = u.spent.Add(time.Second / perSecond)
	return u.spent.Sub(now) - burst*time.Second/perSecond
}

// prefix begins the names of jails' cgroups.
const prefix = "netjail-"

// jailed says whether a group is a jail's, or below one.
func jailed(group string) bool {
	for name := range strings.SplitSeq(group, "/") {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// idOf returns the id of a jail that was left behind.
func idOf(g *cgroup.Group) (string, bool) {
	_, id, ok := strings.Cut(g.Path, "/"+prefix)
	if !ok || len(id) != 2*idLen || strings.Trim(id, "0123456789abcdef") != "" {
		return "", false
	}
	return id, true
}

// alive says whether a pidfd's process has not ended.
func alive(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 0
}

// process is what /proc says of one.
type process struct {
	pid, parent int
	uids        [4]int // real, effective, saved, and of the file system
}

// pidOf returns the process of a pidfd, see PIDFD in proc_pid_fdinfo(5).
func pidOf(pidfd int) (int, error) {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil || pid <= 0 {
				return 0, errors.New("the process has ended, or cannot be seen from here")
			}
			return pid, nil
		}
	}
	return 0, errors.New("that is no pidfd")
}

func processOf(pid int) (p process, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		name, v, _ := strings.Cut(line, ":")
		f := strings.Fields(v)
		switch {
		case name == "Tgid" && len(f) == 1:
			p.pid, err = strconv.Atoi(f[0])
			n++
		case name == "PPid" && len(f) == 1:
			p.parent, err = strconv.Atoi(f[0])
			n++
		case name == "Uid" && len(f) == len(p.uids):
			for i := range f {
				if p.uids[i], err = strconv.Atoi(f[i]); err != nil {
					break
				}
			}
			n++
		}
		if err != nil {
			return p, err
		}
	}
	if n != 3 || p.pid != pid {
		return p, fmt.Errorf("%d is no process", pid)
	}
	return p, nil
}

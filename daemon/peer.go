package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// peer is who connected.
type peer struct {
	pid int

	// supervisor says that it may only speak for a jail. A program in a jail
	// that connects appears as its supervisor, which made the connect for it;
	// and nobody but a supervisor makes itself undumpable, so that its files
	// in /proc belong to root (PR_SET_DUMPABLE(2const)).
	supervisor bool
}

// admit checks who connected. Only the user's own processes are served, and of
// those none that runs in a jail: it would approve itself.
func (s *server) admit(c *net.UnixConn) (p peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return p, cerr
	}
	if err != nil {
		return p, fmt.Errorf("peer credentials: %w", err)
	}
	p.pid = int(cred.Pid)
	if int(cred.Uid) != os.Getuid() {
		return p, fmt.Errorf("user %d is not served here", cred.Uid)
	}
	jailed, err := s.jailed(p.pid)
	if err != nil {
		return p, fmt.Errorf("find out who asks: %w", err)
	}
	if jailed || s.supervises(p.pid) {
		return p, errors.New("a program in a jail cannot talk to the daemon")
	}
	var st unix.Stat_t
	err = unix.Lstat("/proc/"+strconv.Itoa(p.pid)+"/exe", &st)
	p.supervisor = err != nil || int(st.Uid) != os.Getuid()
	return p, nil
}

// supervises says whether a process has registered as a supervisor. It has one
// connection.
func (s *server) supervises(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.jails {
		if j.pid == pid {
			return true
		}
	}
	return false
}

// jailed says whether a process descends from a supervisor, or from one that
// is about to be. Below a supervisor is a subreaper, so that nothing leaves its
// tree.
func (s *server) jailed(pid int) (bool, error) {
	supervisors := make(map[int]bool)
	s.mu.Lock()
	for j := range s.jails {
		if j.heir == pid {
			s.mu.Unlock()
			return false, nil
		}
		supervisors[j.pid], supervisors[j.heir] = true, true
	}
	s.mu.Unlock()
	for pid > 1 && len(supervisors) > 0 {
		parent, err := parentOf(pid)
		if err != nil {
			return false, err
		}
		if supervisors[parent] {
			return true, nil
		}
		pid = parent
	}
	return false, nil
}

// parentOf returns the process id of a process's parent.
func parentOf(pid int) (int, error) {
	st, err := statOf(pid)
	return st.parent, err
}

// suspended says whether a process was stopped by a signal.
func suspended(pid int) bool {
	st, err := statOf(pid)
	return err == nil && st.state == "T"
}

// stat is what /proc/PID/stat says, see proc_pid_stat(5).
type stat struct {
	state  string
	parent int
}

// statOf reads the third and the fourth field; the second, the command's name
// in parentheses, may contain anything.
func statOf(pid int) (st stat, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return st, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 {
		return st, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	st.state = string(fields[0])
	st.parent, err = strconv.Atoi(string(fields[1]))
	return st, err
}

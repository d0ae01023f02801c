package interpose

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/filter"
	"github.com/netjail/netjail/interpose/internal/sys"
)

// Command is a program to start. It inherits the caller's terminal, session,
// working directory, umask, and the descriptors 0, 1, 2 and Keep.
type Command struct {
	Path string   // of the executable, with a slash in it
	Args []string // with the program's name as the first
	Env  []string
	Keep []int // further descriptors to inherit

	// Compat lets 32-bit programs run as well. The supervisor then creates
	// their sockets, because socketcall(2) hides what it does from the filter.
	Compat bool

	// Messages leaves sendmsg and sendmmsg to the kernel, because a guard has what
	// they send. No socket that the program inherits may be one that the guard does
	// not know, and Compat cannot be had with it.
	Messages bool

	// Landlock is what stands behind the filter.
	Landlock Domain

	// Namespaces are those that the program enters; nil: the caller's own.
	Namespaces *Namespaces

	// SuccessorArgs are the arguments, the name first, with which the
	// caller's own executable is started to supervise what the program leaves
	// behind, see Inherit. Handover is a descriptor it gets; the caller keeps
	// it open until Left. No arguments: the caller stays the supervisor.
	SuccessorArgs []string
	Handover      int
}

// Namespaces are descriptors of a user namespace that belongs to the caller's
// user, and of a network namespace that belongs to that. The caller owns them. A
// program that enters them has no capability there. Its supervisor stays outside,
// and may do with it what an owner may: read it and duplicate its descriptors,
// whatever Yama says.
type Namespaces struct{ User, Net int }

// Process is a program that runs under the filter.
type Process struct {
	PID int

	keeper   *sys.Keeper
	listener int
}

// Keeper returns the process id of what becomes the successor.
func (p *Process) Keeper() int { return p.keeper.PID }

// TakeListener returns the listener. The caller owns it from then on.
func (p *Process) TakeListener() int {
	l := p.listener
	p.listener = -1
	return l
}

// Event is what became of a program.
type Event struct {
	Status unix.WaitStatus // Stopped, Continued, Exited or Signaled
	Left   bool            // it has ended and left others behind
}

// ErrKeeper means that the process between the caller and the program is gone,
// and the program with it.
var ErrKeeper = errors.New("the program's keeper was killed")

// Wait waits until the program has stopped, goes on, or has ended. When nothing was left
// behind the keeper has ended too.
func (p *Process) Wait() (Event, error) {
	r, err := p.keeper.Report()
	if err == io.EOF {
		p.keeper.Reap()
		return Event{}, ErrKeeper
	}
	if err != nil {
		return Event{}, fmt.Errorf("read report: %w", err)
	}
	if r.Kind == sys.Exited {
		p.keeper.Reap()
	}
	return Event{Status: unix.WaitStatus(r.Status), Left: r.Kind == sys.Left}, nil
}

// StartError says which step of a start failed. It unwraps to the errno.
type StartError struct {
	Op    string // the system call
	Path  string // the executable
	Errno unix.Errno
}

func (e *StartError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Errno) }
func (e *StartError) Unwrap() error { return e.Errno }

// ErrNested means that a listener exists already in the caller's own filters:
// the kernel knows one for each chain of filters.
var ErrNested = errors.New("a seccomp listener supervises this process already")

var stages = map[sys.Stage]string{
	sys.StageFork: "clone", sys.StageSetpgid: "setpgid", sys.StageNofile: "prlimit",
	sys.StageUserns: "setns(user)", sys.StageNetns: "setns(net)", sys.StageCapabilities: "prctl(PR_CAPBSET_DROP)",
	sys.StageNoNewPrivs: "prctl(PR_SET_NO_NEW_PRIVS)", sys.StageLandlock: "landlock_restrict_self", sys.StageSeccomp: "seccomp", sys.StageExecve: "execve",
}

// Starter is a program about to be started.
type Starter struct {
	launch sys.Launch
	keeper *sys.Keeper
}

// Prepare makes all ready to start c under the filter. The new program will be
// a descendant of the caller, which may read it under any value of
// kernel.yama.ptrace_scope but 2 and 3, and join the caller's process group.
//
// Between the two is a keeper: it reaps what the program leaves behind, and
// becomes its supervisor when the caller ends with the program. The program is
// killed when the thread that calls Prepare ends; the calling goroutine stays
// locked to it.
//
// The caller becomes fit to be a supervisor: it is no longer dumpable, so that
// no process of the same user can attach to it, and its descriptors from 3 on
// become close-on-exec.
func Prepare(c *Command) (*Starter, error) {
	if err := prepare(c.Keep); err != nil {
		return nil, err
	}
	nofile, err := sys.Nofile()
	if err != nil {
		return nil, fmt.Errorf("getrlimit: %w", err)
	}
	ruleset, err := c.Landlock.ruleset()
	if err != nil {
		return nil, err
	}
	var flags uintptr
	if sys.WaitKillable() {
		flags = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	compat, err := c.compat()
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	s := &Starter{launch: sys.Launch{
		Path: c.Path, Args: c.Args, Env: c.Env, Pgid: unix.Getpgrp(), Nofile: nofile,
		Filter: filter.Program(filter.Native, filter.Options{Compat: compat, Messages: c.Messages}), Flags: flags,
		Landlock: ruleset, Userns: -1, Netns: -1, SuccessorArgs: c.SuccessorArgs, Handover: c.Handover,
	}}
	if n := c.Namespaces; n != nil {
		s.launch.Userns, s.launch.Netns = n.User, n.Net
	}
	s.keeper, err = sys.Fork(&s.launch)
	return s, err
}

// Keeper returns the process id of what the program will be forked from. Where
// that has been put, cgroups among others, the program begins.
func (s *Starter) Keeper() int { return s.keeper.PID }

// Cancel gives the start up.
func (s *Starter) Cancel() { s.keeper.Kill() }

// Start starts the program. Errors are *StartError, or ErrNested.
func (s *Starter) Start() (*Process, error) {
	if s.launch.Landlock >= 0 {
		defer sys.Close(s.launch.Landlock)
	}
	r, err := s.keeper.Start()
	switch {
	case err != nil:
		s.keeper.Kill()
		return nil, fmt.Errorf("start %s: %w", s.launch.Path, err)
	case r.Kind == sys.Started:
		_ = sys.NotifSyncWakeUp(int(r.Value)) // Linux 6.6; without it only slower
		return &Process{PID: int(r.PID), keeper: s.keeper, listener: int(r.Value)}, nil
	}
	s.keeper.Reap()
	stage, errno := sys.Stage(r.Value), unix.Errno(r.Status)
	if stage == sys.StageSeccomp && errno == unix.EBUSY {
		return nil, ErrNested
	}
	return nil, &StartError{stages[stage], s.launch.Path, errno}
}

func prepare(keep []int) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_DUMPABLE): %w", err)
	}
	return CloseOnExec(keep...)
}

// CloseOnExec marks every descriptor from 3 on close-on-exec, but for keep.
func CloseOnExec(keep ...int) error {
	// Linux 5.10 does not know the flag, 5.8 and some containers not the call.
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err != nil {
		err = closeEachOnExec()
	}
	if err != nil {
		return fmt.Errorf("close on exec: %w", err)
	}
	for _, fd := range keep {
		if _, errno := sys.Fcntl(fd, unix.F_SETFD, 0); errno != 0 {
			return fmt.Errorf("keep descriptor %d: %w", fd, errno)
		}
	}
	return nil
}

// closeEachOnExec is for kernels that cannot do it at once. A descriptor that
// comes meanwhile is this program's own, and close-on-exec already.
func closeEachOnExec() error {
	list, err := os.ReadDir("/proc/self/fd")
	for _, e := range list {
		if fd, _ := strconv.Atoi(e.Name()); fd > 2 { // that of the list is closed by now
			_, _ = sys.Fcntl(fd, unix.F_SETFD, unix.FD_CLOEXEC)
		}
	}
	return err
}

// Inside says whether this process runs under netjail's filter already.
func Inside() bool { return sys.ListenerRefused() == unix.EBUSY }

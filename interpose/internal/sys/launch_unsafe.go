package sys

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime keeps these three open to packages that fork by themselves
// (runtime/proc.go names gVisor's); they block signals around the fork, and
// give the child the dispositions and the mask that a new program expects.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// rawVfork is clone(flags) with no stack for the child, which shares the
// caller's memory and stack until it executes a program or ends. A negative pid
// is an errno.
func rawVfork(flags uintptr) (pid uintptr)

// Launch says what Fork runs, under which filter, and who keeps what it
// leaves behind.
type Launch struct {
	Path   string
	Args   []string // with the program's name as the first
	Env    []string
	Pgid   int               // the process group that the program joins
	Nofile unix.Rlimit       // the program's RLIMIT_NOFILE
	Filter []unix.SockFilter // installed with a listener
	Flags  uintptr           // SECCOMP_FILTER_FLAG_*, beside NEW_LISTENER

	Landlock int // a ruleset that restricts the program; -1: none

	// Namespaces that the program enters, without any capability there; -1:
	// the caller's own.
	Userns, Netns int

	// When the program has ended and others are left, the keeper executes
	// this very executable with SuccessorArgs. It inherits the listener as
	// descriptor 3 and Handover as descriptor 4. No arguments: the keeper
	// goes on waiting.
	SuccessorArgs []string
	Handover      int
}

// Stage is the step of a start that failed.
type Stage int32

// The steps of a child on its way to the new program.
const (
	StageNone Stage = iota
	StageFork
	StageSetpgid
	StageNofile
	StageUserns
	StageNetns
	StageCapabilities
	StageNoNewPrivs
	StageLandlock
	StageSeccomp
	StageExecve
)

// Kind is what a keeper reports.
type Kind int32

// Reports. Left is Exited with processes left behind, of which the keeper takes
// care as it was told.
const (
	Started Kind = iota + 1
	Failed
	Stopped
	Continued
	Exited
	Left
)

// Report is what a keeper says: of Started the listener, of Failed stage and
// errno, else the wait status.
type Report struct {
	Kind   Kind
	PID    int32 // the program's
	Value  int32
	Status int32
}

const reportLen = int(unsafe.Sizeof(Report{}))

// plan is a Launch as raw system calls take it. The keeper uses its copy.
type plan struct {
	path      *byte
	args, env **byte
	pgid      uintptr
	nofile    *unix.Rlimit
	prog      *unix.SockFprog
	flags     uintptr
	landlock  uintptr
	userns    uintptr
	netns     uintptr
	self      *byte
	successor **byte // nil: none
	handover  uintptr
	parent    uintptr
	gate      uintptr // read end of a pipe: the program is started when a byte comes
	report    uintptr // write end of a pipe

	// Written by the keeper's child, which shares the keeper's memory.
	listener uintptr
	failed   Stage
	errno    unix.Errno
}

// none is a descriptor that there is not.
const none = ^uintptr(0)

// Keeper is the process between the caller and a program.
type Keeper struct {
	PID     int
	gate    *os.File
	reports *os.File
	shared  [2]int // the keeper's ends of the pipes, ours as well until the program is started
}

// Fork forks a keeper, which forks and executes the program when Start is
// called.
//
// Keeper and program share the caller's descriptor table until the program is
// executed, so the listener is born as a descriptor of the caller,
// close-on-exec like all listeners: there is nothing to hand over, no call that
// must be exempt from the filter, and no moment at which the jail holds it.
// execve(2) gives the program a table of its own and closes there what is
// close-on-exec.
//
// The keeper is a copy of the caller that never leaves forkKeeper: the parent
// of the program and the reaper of all that descends from it, in a process
// group of its own, so that the terminal does not stop it. It dies with the
// thread that called Fork, and the program with it.
func Fork(l *Launch) (*Keeper, error) {
	p, err := l.plan()
	if err != nil {
		return nil, err
	}
	var gate, report [2]int
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe2: %w", err)
	}
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		unix.Close(gate[0])
		unix.Close(gate[1])
		return nil, fmt.Errorf("pipe2: %w", err)
	}
	p.gate, p.report = uintptr(gate[0]), uintptr(report[1])
	p.parent = uintptr(unix.Getpid())

	syscall.ForkLock.Lock()
	pid, errno := forkKeeper(p)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		for _, fd := range append(gate[:], report[:]...) {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("clone: %w", errno)
	}
	k := &Keeper{PID: pid, gate: os.NewFile(uintptr(gate[1]), "gate"), reports: os.NewFile(uintptr(report[0]), "reports")}
	k.shared = [2]int{gate[0], report[1]}
	return k, nil
}

// Start starts the program and returns Started or Failed. The keeper has a
// descriptor table of its own then.
func (k *Keeper) Start() (Report, error) {
	_, err := k.gate.Write([]byte{1})
	if err != nil {
		return Report{}, fmt.Errorf("open the gate: %w", err)
	}
	if err := k.reported(); err != nil {
		return Report{}, err
	}
	r, err := k.Report()
	k.gate.Close()
	for _, fd := range k.shared {
		unix.Close(fd)
	}
	return r, err
}

// reported waits for a report, or the keeper's end: while its end of the pipe is
// the caller's, too, the pipe does not tell that it was killed.
func (k *Keeper) reported() error {
	pidfd, errno := PidfdOpen(k.PID, 0)
	if errno != 0 {
		return fmt.Errorf("pidfd_open: %w", errno)
	}
	defer unix.Close(pidfd)
	fds := []unix.PollFd{{Fd: int32(k.reports.Fd()), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case fds[0].Revents != 0:
			return nil
		default:
			return errKilled
		}
	}
}

var errKilled = errors.New("its keeper was killed")

// Report waits for the next report. It returns io.EOF when the keeper is gone,
// or has become the successor.
func (k *Keeper) Report() (Report, error) {
	var b [reportLen]byte
	n, err := k.reports.Read(b[:])
	if err == nil && n != reportLen { // a pipe keeps them whole
		err = fmt.Errorf("report of %d bytes", n)
	}
	return *(*Report)(unsafe.Pointer(&b)), err
}

// Reap waits for the end of the keeper.
func (k *Keeper) Reap() {
	for {
		if _, err := unix.Wait4(k.PID, nil, unix.WALL, nil); err != unix.EINTR {
			return
		}
	}
}

// Kill ends the keeper, and the program if it was started.
func (k *Keeper) Kill() {
	_ = unix.Kill(k.PID, unix.SIGKILL)
	k.Reap()
}

func (l *Launch) plan() (*plan, error) {
	if len(l.Filter) == 0 || len(l.Args) == 0 {
		return nil, errors.New("no filter or no arguments")
	}
	p := &plan{
		pgid: uintptr(l.Pgid), landlock: uintptr(l.Landlock), nofile: &l.Nofile, handover: uintptr(l.Handover),
		userns: uintptr(l.Userns), netns: uintptr(l.Netns),
		prog:  &unix.SockFprog{Len: uint16(len(l.Filter)), Filter: &l.Filter[0]},
		flags: l.Flags | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
	}
	var errs [5]error
	p.path, errs[0] = syscall.BytePtrFromString(l.Path)
	p.self, errs[1] = syscall.BytePtrFromString("/proc/self/exe")
	p.args, errs[2] = vector(l.Args)
	p.env, errs[3] = vector(l.Env)
	if len(l.SuccessorArgs) > 0 {
		p.successor, errs[4] = vector(l.SuccessorArgs)
	}
	return p, errors.Join(errs[:]...)
}

func vector(s []string) (**byte, error) {
	v, err := syscall.SlicePtrFromStrings(s)
	if err != nil {
		return nil, err
	}
	return &v[0], nil
}

// forkKeeper returns in the caller only. The keeper has a copy of one thread
// of a program with many: what it runs from then on, here and in the functions
// below, may do nothing but raw system calls, may not grow its stack and may
// not allocate.
//
//go:norace
//go:noinline
//go:nocheckptr
func forkKeeper(p *plan) (int, unix.Errno) {
	beforeFork()
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|unix.CLONE_FILES, 0, 0, 0, 0, 0)
	if pid != 0 || e != 0 {
		afterFork()
		return int(pid), e
	}
	afterForkInChild()
	p.keep()
	return 0, 0 // not reached
}

// keep is the keeper's life.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) keep() {
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	if parent, _, _ := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); parent != p.parent {
		exit()
	}
	unix.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0)
	var b [8]byte
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, p.gate, uintptr(unsafe.Pointer(&b)), 1)
		if e == 0 && n == 1 {
			break
		}
		if e != unix.EINTR {
			exit()
		}
	}
	p.listener = none
	pid := rawVfork(uintptr(unix.SIGCHLD) | unix.CLONE_FILES | unix.CLONE_VFORK | unix.CLONE_VM)
	if pid == 0 {
		p.exec()
	}
	all := ^uint64(0)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), 0, 8, 0, 0)
	if int(pid) < 0 {
		p.failed, p.errno = StageFork, unix.Errno(-pid)
	}
	if p.failed != StageNone {
		unix.RawSyscall6(unix.SYS_WAIT4, pid, 0, unix.WALL, 0, 0, 0)
		if p.listener != none {
			unix.RawSyscall(unix.SYS_CLOSE, p.listener, 0, 0)
		}
		p.say(Failed, pid, int32(p.failed), int32(p.errno))
		exit()
	}
	listener := int32(p.listener)
	p.separate()
	p.say(Started, pid, listener, 0)
	p.wait(pid)
}

// separate gives the keeper a descriptor table of its own with only what it
// needs there: what the caller closes is closed.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) separate() {
	const base = 100 // out of the way of a successor's descriptors
	if _, _, e := unix.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_FILES, 0, 0); e != 0 {
		// Docker's seccomp profile refuses all of unshare(2), and knows this one.
		if _, _, e := unix.RawSyscall(unix.SYS_CLOSE_RANGE, 0xffffffff, 0xffffffff, unix.CLOSE_RANGE_UNSHARE); e != 0 {
			exit()
		}
	}
	p.report = move(p.report, base)
	p.listener = move(p.listener, base)
	if p.successor != nil {
		p.handover = move(p.handover, base)
	}
	unix.RawSyscall(unix.SYS_CLOSE_RANGE, 0, base-1, 0)
	unix.RawSyscall(unix.SYS_CLOSE_RANGE, max(p.report, p.listener, p.handover)+1, 0xffffffff, 0)
}

// move duplicates fd to the first free descriptor from base on.
//
//go:norace
//go:nosplit
func move(fd, base uintptr) uintptr {
	to, _, e := unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, base)
	if e != 0 {
		exit()
	}
	return to
}

// wait reaps everything below the keeper, and reports what becomes of main.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) wait(main uintptr) {
	var ws int32
	for {
		pid, _, e := unix.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&ws)), unix.WUNTRACED|unix.WCONTINUED|unix.WALL, 0, 0, 0)
		switch {
		case e == unix.EINTR:
		case e != 0: // ECHILD
			exit()
		case pid != main:
		case ws == 0xffff:
			p.say(Continued, main, 0, ws)
		case ws&0xff == 0x7f:
			p.say(Stopped, main, 0, ws)
		default:
			switch {
			case p.alone():
				p.say(Exited, main, 0, ws)
				exit()
			case p.successor != nil:
				p.succeed(main, ws)
			default:
				p.say(Left, main, 0, ws)
			}
		}
	}
}

// alone reaps what has ended and says whether nothing is left.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) alone() bool {
	for {
		pid, _, e := unix.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), 0, unix.WNOHANG|unix.WALL, 0, 0, 0)
		if e != 0 || pid == 0 {
			return e == unix.ECHILD
		}
	}
}

// succeed makes the keeper the next supervisor, or ends it.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) succeed(main uintptr, ws int32) {
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0, 0, 0, 0, 0)
	p.say(Left, main, 0, ws)
	unix.RawSyscall(unix.SYS_DUP3, p.listener, 3, 0)
	unix.RawSyscall(unix.SYS_DUP3, p.handover, 4, 0)
	empty := uint64(0)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&empty)), 0, 8, 0, 0)
	unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.self)), uintptr(unsafe.Pointer(p.successor)), uintptr(unsafe.Pointer(p.env)))
	exit()
}

// exec makes the keeper's child the program.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) exec() {
	var e unix.Errno
	var r uintptr
	p.failed = StageSetpgid
	if _, _, e = unix.RawSyscall(unix.SYS_SETPGID, 0, p.pgid, 0); e == 0 {
		p.failed = StageNofile
		_, _, e = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(p.nofile)), 0, 0, 0)
	}
	if e == 0 && p.userns != none {
		e = p.enter()
	}
	if e == 0 {
		// The program ends when its keeper is killed, as it would without
		// netjail between it and whoever started it. To enter a user namespace
		// takes that back.
		unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
		p.failed = StageNoNewPrivs
		_, _, e = unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	}
	if e == 0 && p.landlock != none {
		p.failed = StageLandlock
		_, _, e = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, p.landlock, 0, 0)
	}
	if e == 0 {
		p.failed = StageSeccomp
		r, _, e = unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, p.flags, uintptr(unsafe.Pointer(p.prog)))
	}
	if e == 0 {
		p.listener = r
		p.failed = StageNone // as long as execve does not return
		_, _, e = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), uintptr(unsafe.Pointer(p.args)), uintptr(unsafe.Pointer(p.env)))
		p.failed = StageExecve
	}
	p.errno = e
	exit()
}

// enter enters the namespaces. Whoever enters a user namespace has every
// capability there, which would be to do as one likes with its networks: execve(2)
// gives none of them back to a program whose bounding set is empty, not even to
// one of user 0. To enter clears the other sets that are inherited. What is said
// of dumping is said of the keeper, too, whose memory this is.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) enter() unix.Errno {
	p.failed = StageUserns
	if _, _, e := unix.RawSyscall(unix.SYS_SETNS, p.userns, unix.CLONE_NEWUSER, 0); e != 0 {
		return e
	}
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0)
	p.failed = StageNetns
	if _, _, e := unix.RawSyscall(unix.SYS_SETNS, p.netns, unix.CLONE_NEWNET, 0); e != 0 {
		return e
	}
	p.failed = StageCapabilities
	for capability := uintptr(0); ; capability++ {
		_, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability, 0, 0, 0, 0)
		if e == unix.EINVAL && capability > unix.CAP_SYS_ADMIN { // there are no more
			return 0
		}
		if e != 0 {
			return e
		}
	}
}

// say reports. The pipe is written whole.
//
//go:norace
//go:nosplit
//go:nocheckptr
func (p *plan) say(k Kind, pid uintptr, value, status int32) {
	r := Report{k, int32(pid), value, status}
	unix.RawSyscall(unix.SYS_WRITE, p.report, uintptr(unsafe.Pointer(&r)), uintptr(reportLen))
}

//go:norace
//go:nosplit
func exit() {
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

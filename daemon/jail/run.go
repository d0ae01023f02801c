package jail

import (
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/daemon/guard/netns"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
)

// SuccessorName is the name under which netjail supervises what a program has
// left behind: main must call Succeed when it is started so.
const SuccessorName = "netjail: successor"

// supervisor answers the system calls of one jail.
type supervisor struct {
	cfg    Config
	id     string // of the jail
	tty    *tty   // nil: none to ask on
	policy *policy
	guard  guard.Guard // the program's
	gate   *gate       // nil: the guard has to be told nothing
	link   *link

	traffic traffic
	revoker revoker

	process *interpose.Process // the program itself
	serving *interpose.Supervisor
	served  chan error

	starting, running chan struct{} // closed when the program is; a successor has none, and its jail runs

	// How often the program was continued, and how often it will have been
	// when it goes on after its last stop.
	continued, stoppedAt atomic.Int64

	out    sync.Mutex // held while a line is written, which may take its time
	stderr io.Writer  // nil when nobody reads it any more

	mu       sync.Mutex
	timedOut bool
	stopping bool // somebody has asked for the end of everything in the jail
	ended    bool // the program has, and its process id may be another's
}

func newSupervisor(cfg Config, id string, stderr io.Writer) (*supervisor, error) {
	s := &supervisor{
		cfg: cfg, id: id, stderr: stderr, served: make(chan error, 1),
		starting: make(chan struct{}), running: make(chan struct{}),
	}
	var err error
	if s.policy, err = newPolicy(&s.cfg, id, s.line); err != nil {
		return nil, err
	}
	s.link = newLink(s)
	s.policy.link = s.link
	s.traffic.init(s)
	s.revoker.init(s)
	return s, nil
}

// Run runs a program and returns its exit code: its own, or 128 and the number
// of the signal that ended it. Lines for the user go to stderr. An error is an
// *Error when the program was not run.
//
// The calling goroutine stays locked to its thread: the program does not
// outlive it.
func Run(ctx context.Context, cfg Config, stderr io.Writer) (int, error) {
	if err := inspectable(); err != nil {
		return ExitFailure, err
	}
	id, err := newID()
	if err != nil {
		return ExitFailure, err
	}
	s, err := newSupervisor(cfg, id, stderr)
	if err != nil {
		return ExitFailure, err
	}
	if !cfg.Compat && is32bit(cfg.Path) {
		return ExitCannotExec, &Error{Code: ExitCannotExec, Text: fmt.Sprintf("run %s: it is a 32-bit program", cfg.Path), Hint: compatHint}
	}
	if cfg.Ask {
		s.tty = openTTY(s.link)
		defer s.tty.close()
	}
	heir, err := newHeir()
	if err != nil {
		return ExitFailure, err
	}
	starter, err := s.prepare(ctx, heir)
	if err != nil {
		return ExitFailure, err
	}
	// Catching takes a tenth of a millisecond, in which the daemon answers.
	caught := make(chan struct{})
	go s.forward(caught)
	if err := s.link.connect(ctx); err != nil {
		starter.Cancel()
		return ExitFailure, asFailure(err)
	}
	defer s.link.close()
	defer s.gate.close()
	<-caught
	if err := s.start(starter); err != nil {
		return startFailure(err, cfg.Path)
	}
	if err := s.release(ctx); err != nil {
		return ExitFailure, err
	}
	s.serve(ctx, nil)
	if cfg.Timeout > 0 {
		go s.timeout(ctx)
	}
	return s.follow(heir)
}

// newID returns a jail's id, which nobody can guess. It asks the kernel itself:
// crypto/rand sets up a timer, and with it the runtime's poller.
func newID() (string, error) {
	var b [16]byte
	if n, err := unix.Getrandom(b[:], 0); err != nil || n != len(b) {
		return "", fmt.Errorf("getrandom: %d bytes: %w", n, err)
	}
	return hex.EncodeToString(b[:]), nil
}

// start starts the program.
func (s *supervisor) start(starter *interpose.Starter) error {
	close(s.starting)
	p, err := starter.Start()
	if err == nil {
		s.process = p
		close(s.running)
	}
	return err
}

// keeper is the process that everything in the jail is below.
func (s *supervisor) keeper() int {
	if s.process == nil {
		return unix.Getpid() // a successor was the keeper
	}
	return s.process.Keeper()
}

// ready says whether there is a jail that can be looked into.
func (s *supervisor) ready() bool {
	select {
	case <-s.running:
		return !s.over()
	default:
		return false
	}
}

// over says whether the program has ended: the keeper's process id may be
// another's, and the jail another supervisor's.
func (s *supervisor) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// serve answers calls in the background, those of adopted first.
func (s *supervisor) serve(ctx context.Context, adopted []interpose.Pending) {
	s.serving = s.newServing(s.process.TakeListener())
	s.serving.Adopt(adopted)
	go func() { s.served <- s.serving.Serve(ctx) }()
}

// newServing returns what answers the calls that come through listener.
func (s *supervisor) newServing(listener int) *interpose.Supervisor {
	serving := interpose.NewSupervisor(listener, s.policy, nil)
	serving.Compat, serving.Origin = s.cfg.Compat, s.policy.dns.resolver.Server
	if s.guard.Kind == guard.Netns {
		serving.Mark = netns.Mark
	}
	serving.Foreign = func(exe string) {
		s.line(fmt.Sprintf("netjail: refused: %s is a 32-bit program. %s", notifier.Clean(exe, 300), compatHint))
	}
	return serving
}

// compatHint is what to do about a 32-bit program.
const compatHint = "netjail --32bit COMMAND lets such programs run"

// is32bit says whether the executable at path is for a 32-bit machine, see
// elf(5). It speaks of no other files: execve(2) will.
func is32bit(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var ident [5]byte
	_, err = io.ReadFull(f, ident[:])
	return err == nil && string(ident[:4]) == elf.ELFMAG && elf.Class(ident[4]) == elf.ELFCLASS32
}

// follow follows the program to its end.
func (s *supervisor) follow(heir *heir) (int, error) {
	for {
		e, err := s.process.Wait()
		if err != nil {
			return ExitFailure, fmt.Errorf("%w: what it was running has no network any more", err)
		}
		switch {
		case e.Status.Stopped():
			s.stop()
			continue
		case e.Status.Continued():
			s.continued.Add(1)
			continue
		}
		s.mu.Lock()
		s.ended = true
		timedOut, stopping := s.timedOut, s.stopping
		s.mu.Unlock()
		code := exitCode(e.Status)
		if timedOut {
			code = ExitTimeout
		}
		if e.Left && (timedOut || stopping) {
			s.killAll()
		}
		s.cfg.Seen.end(s.policy.dns.of, e.Left)
		if e.Left {
			s.handOver(heir)
		}
		s.policy.deeds.flush(true)
		s.policy.reports.saying.Wait()
		s.policy.summarize()
		return code, nil
	}
}

// exitCode is what a shell makes of a wait status.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func startFailure(err error, path string) (int, error) {
	var start *interpose.StartError
	switch {
	case errors.Is(err, interpose.ErrNested):
		return ExitFailure, &Error{Code: ExitFailure, Text: err.Error(),
			Hint: "the kernel allows one for each process: run netjail outside of this container or sandbox"}
	case !errors.As(err, &start) || start.Op != "execve":
		return ExitFailure, err
	}
	e := &Error{Code: ExitCannotExec, Text: fmt.Sprintf("run %s: %v", path, start.Errno)}
	if start.Errno == unix.ENOENT {
		e.Code = ExitNotFound
		e.Hint = "is its interpreter, or its dynamic loader, missing?"
	}
	return e.Code, e
}

func asFailure(err error) error {
	e := &Error{Code: ExitFailure, Text: err.Error()}
	var said *api.Error
	if errors.As(err, &said) {
		e.Text, e.Hint = said.Text, said.Hint
	}
	return e
}

// line prints a line for whoever started the jail.
func (s *supervisor) line(text string) {
	s.out.Lock()
	defer s.out.Unlock()
	if s.stderr != nil {
		fmt.Fprintln(s.stderr, text)
	}
}

// catch takes the signals that the program shall get, or has got already. One
// that is ignored stays so, in the program too: SIGHUP, SIGINT and SIGTSTP. Of
// others the runtime does not keep that they were ignored at the start.
func catch(c chan<- os.Signal) {
	for _, s := range []os.Signal{
		unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT,
	} {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// forward hands signals on to the program, once all are caught. What the
// terminal sends to its foreground group has reached the program by itself.
//
// They are caught before the program starts: one that found netjail without a
// handler then would end it, and kill the program.
func (s *supervisor) forward(caught chan<- struct{}) {
	signals := make(chan os.Signal, 64)
	catch(signals)
	close(caught)
	for sig := range signals {
		if !s.started() {
			asDefault(sig)
			continue
		}
		switch sig {
		case unix.SIGINT, unix.SIGQUIT:
			if s.tty.foreground() {
				continue
			}
		case unix.SIGTSTP:
			continue // the program has it too, and we stop when it does
		case unix.SIGCONT:
			s.tty.resume()
			if s.goesOn() {
				continue // a shell continues the whole group
			}
		}
		s.signal(sig.(unix.Signal))
	}
}

// started says whether there is a program to hand a signal on to. One that is
// just being started is waited for, but not for long: Ctrl-Z may have stopped
// it on its way, and it goes on only after this process was stopped, too.
func (s *supervisor) started() bool {
	select {
	case <-s.starting:
	default:
		return false
	}
	select {
	case <-s.running:
		return true
	case <-time.After(time.Second):
		return false
	}
}

// asDefault does what a signal does to a process that does not catch it. There
// is no program yet to hand it on to.
func asDefault(sig os.Signal) {
	switch sig {
	case unix.SIGCONT:
	case unix.SIGTSTP:
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
	default:
		signal.Reset(sig)
		_ = unix.Kill(unix.Getpid(), sig.(unix.Signal))
	}
}

// signal signals the program, if it has not ended. The keeper reports the end
// before the process id can be another's.
func (s *supervisor) signal(sig unix.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		_ = unix.Kill(s.process.PID, sig)
	}
}

// stop stops this process because the program was stopped, so that the shell
// sees it. The shell continues the whole process group.
func (s *supervisor) stop() {
	s.tty.suspend()
	s.stoppedAt.Store(s.continued.Load() + 1)
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
}

// goesOn says whether the program has been continued since it was stopped last.
// The report of that comes through the keeper, and may take a while.
func (s *supervisor) goesOn() bool {
	for range 20 {
		if s.continued.Load() >= s.stoppedAt.Load() {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// grace is what a program has between SIGTERM and SIGKILL.
const grace = 5 * time.Second

// timeout ends everything in the jail when its time is up.
func (s *supervisor) timeout(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(s.cfg.Timeout):
	}
	s.mu.Lock()
	s.timedOut = true
	s.mu.Unlock()
	s.signalAll(unix.SIGTERM)
	s.killLater(ctx)
}

// errNotRunning is why a jail cannot be looked into.
var errNotRunning = errors.New("the program is just being started")

// stopAll ends everything in the jail because somebody has asked for it.
func (s *supervisor) stopAll() error {
	if !s.ready() {
		return errNotRunning
	}
	s.mu.Lock()
	stopping := s.stopping
	s.stopping = true
	s.mu.Unlock()
	if !stopping {
		s.signalAll(unix.SIGTERM)
		go s.killLater(context.Background()) // or until the supervisor ends
	}
	return nil
}

func (s *supervisor) killLater(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(grace):
		if s.ready() {
			s.killAll()
		}
	}
}

// signalAll signals everything in the jail, and wakes what is stopped.
func (s *supervisor) signalAll(sig unix.Signal) {
	for _, pid := range descendants(s.keeper()) {
		_ = unix.Kill(pid, sig)
		_ = unix.Kill(pid, unix.SIGCONT)
	}
}

// killAll kills everything in the jail, and what was started meanwhile.
func (s *supervisor) killAll() {
	const rounds = 100 // more than any program can start, which is killed one round later
	killed := make(map[int]bool)
	for range rounds {
		before := len(killed)
		for _, pid := range descendants(s.keeper()) {
			killed[pid] = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if len(killed) == before {
			return
		}
	}
}

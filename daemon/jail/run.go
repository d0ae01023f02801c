package jail

import (
	"context"
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
	"github.com/netjail/netjail/interpose"
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
	link   *link

	process *interpose.Process // the program itself
	serving *interpose.Supervisor
	served  chan error

	// How often the program was continued, and how often it will have been
	// when it goes on after its last stop.
	continued, stoppedAt atomic.Int64

	mu       sync.Mutex
	stderr   io.Writer // nil when nobody reads it any more
	timedOut bool
	ended    bool // the program has, and its process id may be another's
}

func newSupervisor(cfg Config, id string, stderr io.Writer) (*supervisor, error) {
	s := &supervisor{cfg: cfg, id: id, stderr: stderr, served: make(chan error, 1)}
	var err error
	if s.policy, err = newPolicy(&s.cfg, id, s.line); err != nil {
		return nil, err
	}
	s.link = newLink(s)
	s.policy.link = s.link
	return s, nil
}

// Run runs a program and returns its exit code: its own, or 128 and the number
// of the signal that ended it. Lines for the user go to stderr. An error is an
// *Error when the program was not run.
//
// The calling goroutine stays locked to its thread: the program does not
// outlive it.
func Run(ctx context.Context, cfg Config, stderr io.Writer) (int, error) {
	id, err := newID()
	if err != nil {
		return ExitFailure, err
	}
	s, err := newSupervisor(cfg, id, stderr)
	if err != nil {
		return ExitFailure, err
	}
	if cfg.Ask {
		s.tty = openTTY(s.link)
		defer s.tty.close()
	}
	heir, err := newHeir()
	if err != nil {
		return ExitFailure, err
	}
	starter, err := interpose.Prepare(&interpose.Command{
		Path: cfg.Path, Args: cfg.Args, Keep: cfg.Keep,
		Env:           append(os.Environ(), "NETJAIL=1", "NETJAIL_APP="+cfg.App),
		SuccessorArgs: []string{SuccessorName}, Handover: heir.theirs,
	})
	if err != nil {
		return ExitFailure, err
	}
	if err := s.link.connect(ctx); err != nil {
		starter.Cancel()
		return ExitFailure, asFailure(err)
	}
	defer s.link.close()
	if s.process, err = starter.Start(); err != nil {
		return startFailure(err, cfg.Path)
	}
	s.serve(ctx, nil)
	signals := make(chan os.Signal, 64)
	go s.forward(signals)
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

// serve answers calls in the background, those of adopted first.
func (s *supervisor) serve(ctx context.Context, adopted []interpose.Pending) {
	s.serving = interpose.NewSupervisor(s.process.TakeListener(), s.policy, nil)
	s.serving.Adopt(adopted)
	go func() { s.served <- s.serving.Serve(ctx) }()
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
		timedOut := s.timedOut
		s.mu.Unlock()
		code := exitCode(e.Status)
		if timedOut {
			code = ExitTimeout
		}
		if e.Left && timedOut {
			s.signalAll(unix.SIGKILL)
		}
		if e.Left {
			s.handOver(heir)
		}
		s.policy.reports.saying.Wait()
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
	s.mu.Lock()
	defer s.mu.Unlock()
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

// forward hands signals on to the program. What the terminal sends to its
// foreground group has reached the program by itself.
//
// Until it has caught them signals end netjail, and the program with it. That
// is for a tenth of a millisecond, which a program need not wait for: catching
// takes many turns between goroutines.
func (s *supervisor) forward(signals chan os.Signal) {
	catch(signals)
	for sig := range signals {
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
	for _, step := range []struct {
		after time.Duration
		sig   unix.Signal
	}{{s.cfg.Timeout, unix.SIGTERM}, {grace, unix.SIGKILL}} {
		select {
		case <-ctx.Done():
			return
		case <-time.After(step.after):
		}
		s.mu.Lock()
		s.timedOut = true
		s.mu.Unlock()
		s.signalAll(step.sig)
	}
}

// signalAll signals everything in the jail, and wakes what is stopped.
func (s *supervisor) signalAll(sig unix.Signal) {
	for _, pid := range descendants(s.process.Keeper()) {
		_ = unix.Kill(pid, sig)
		_ = unix.Kill(pid, unix.SIGCONT)
	}
}

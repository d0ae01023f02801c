package interpose

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/filter"
	"github.com/netjail/netjail/interpose/internal/sys"
)

// Limits of one supervisor. Beyond them calls are denied.
const (
	maxReceivers = 256 // all but one of them may be held up
	maxWaiting   = 4096
)

// Supervisor answers the trapped calls of one jail. Its exported fields are set
// before Serve.
type Supervisor struct {
	Compat  bool             // the program was started with Command.Compat
	Foreign func(exe string) // told once of a 32-bit program that is refused; may be nil

	// Mark is put on sockets that the program receives on, for guards to know them
	// by: SO_MARK of socket(7). It takes CAP_NET_ADMIN where the socket is. 0: none is.
	Mark int

	// Origin returns, for a socket by its two addresses, the one that the program
	// connected it to before a Lead made that another: recvfrom says that datagrams
	// come from there. It must not block. Nil: none was led.
	Origin func(local, peer netip.AddrPort) (origin netip.AddrPort, ok bool)

	foreignOnce sync.Once

	listener int
	policy   Policy
	log      *slog.Logger
	threads  bool // pidfd_open knows PIDFD_THREAD

	poller *poller
	watch  watch

	// toggle is held while O_NONBLOCK is set on a description that is the
	// program's as well, so that nobody takes our flag for its own.
	toggle sync.Mutex
	// names is held while a socket gets a local address, and while a listen
	// that was decided about is performed, so that nothing comes between.
	names sync.Mutex

	idle, receivers atomic.Int32
	users           atomic.Int32   // of the listener
	answered        atomic.Uint64  // calls, by receivers
	alarm           int            // a timer, for relieve
	alarmed         atomic.Bool    // it has been set
	before          atomic.Uint64  // answered then
	waiting, wg     sync.WaitGroup // goroutines of calls, and of the rest
	replay          replay
	handing         handover
	adopted         []Pending
}

// NewSupervisor returns a supervisor for listener, which it owns from then on.
// A nil log discards.
func NewSupervisor(listener int, p Policy, log *slog.Logger) *Supervisor {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Supervisor{
		listener: listener, policy: p, log: log, threads: pidfdThread(), replay: newReplay(!sys.WaitKillable()),
		alarm: -1,
	}
}

// pidfdThread probes for PIDFD_THREAD.
func pidfdThread() bool {
	fd, errno := sys.PidfdOpen(unix.Getpid(), sys.PidfdThread)
	if errno == 0 {
		sys.Close(fd)
	}
	return errno == 0
}

// Serve answers calls until no process is left under the filter, which is no
// error, or until ctx ends. It closes the listener: calls after that fail with
// ENOSYS.
func (s *Supervisor) Serve(ctx context.Context) (err error) {
	s.users.Store(1)
	defer s.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	if s.poller, err = newPoller(s.alarm, func() { s.relieve(ctx) }); err != nil {
		return err
	}
	defer s.poller.close()
	s.watch.start(ctx, s.listener)
	s.handleAdopted(ctx)
	s.startReceiver(ctx)

	// The listener hangs up when nobody runs under it any more.
	err = s.poller.ready(ctx, s.listener, 0)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	s.watch.close()
	s.waiting.Wait()
	s.wg.Wait()
	return err
}

// leave closes the listener and the alarm when Serve and all receivers have left.
// A receiver may be inside the ioctl for longer than Serve, where only the end of
// the filter wakes it, and on old kernels not even that.
func (s *Supervisor) leave() {
	if s.users.Add(-1) == 0 {
		sys.Close(s.listener)
		sys.Close(s.alarm)
	}
}

// startReceiver counts it first.
func (s *Supervisor) startReceiver(ctx context.Context) {
	s.receivers.Add(1)
	s.users.Add(1)
	go s.receive(ctx)
}

// relieveAfter is how long a call may hold its receiver up before another one
// takes the calls behind it.
const relieveAfter = 5 * time.Millisecond

// watchOver has relieve look in a while whether anybody makes progress. It sets a
// timer of the kernel's, which is quicker than to wake a goroutine and its thread
// for each call that comes alone.
func (s *Supervisor) watchOver() {
	if s.alarmed.CompareAndSwap(false, true) {
		s.before.Store(s.answered.Load())
		_ = unix.TimerfdSettime(s.alarm, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(relieveAfter.Nanoseconds())}, nil)
	}
}

// relieve starts another receiver when none is idle and none has made progress: a
// page with an address may be a file system of the program's own making, and
// must hold up nothing but the call that it belongs to.
func (s *Supervisor) relieve(ctx context.Context) {
	stuck := s.idle.Load() == 0 && s.answered.Load() == s.before.Load()
	s.alarmed.Store(false) // first: a receiver that is stuck from now on says so
	switch {
	case ctx.Err() != nil:
	case stuck && s.receivers.Load() < maxReceivers:
		s.startReceiver(ctx)
	case s.idle.Load() == 0:
		s.watchOver()
	}
}

// receive takes calls and answers them, on a thread of its own: a change of
// thread between RECV and SEND costs more than all the rest.
func (s *Supervisor) receive(ctx context.Context) {
	runtime.LockOSThread()
	defer s.leave()
	defer s.receivers.Add(-1)
	var n sys.Notif
	s.handing.receivers.Store(unix.Gettid(), &n)
	defer s.handing.receivers.Delete(unix.Gettid())
	var kept *pidfds
	if s.threads { // a process's tells nothing of the tables of its threads
		kept = new(pidfds)
		defer kept.close()
	}
	k := newCall(kept)
	for {
		s.idle.Add(1)
		if s.handing.started.Load() {
			return
		}
		errno := sys.NotifRecv(s.listener, &n)
		idle := s.idle.Add(-1)
		switch {
		case ctx.Err() != nil:
			return
		case errno == unix.EINTR, errno == unix.ENOENT:
			// That caller is gone. At the end of the filter RECV says so
			// for ever: look whether it is that.
			if s.hungUp() {
				return
			}
			continue
		case errno != 0:
			s.log.Error("receive", "error", errno)
			return
		}
		if idle == 0 {
			s.watchOver()
		}
		if idle == 0 && s.receivers.Load() >= maxReceivers {
			s.refuse(k, &n) // not held up as well: this is the last
		} else if s.answer(ctx, k, &n) {
			k = newCall(kept) // the old one is still in use
		}
		s.answered.Add(1)
		if s.idle.Load() > 0 {
			return // another one took over meanwhile
		}
	}
}

// refuse denies a call that there is nobody to handle.
func (s *Supervisor) refuse(k *call, n *sys.Notif) {
	k.reset(s, n)
	s.log.Warn("a call cannot be handled, too many are held up", "limit", maxReceivers)
	k.send(fail(unix.EACCES))
}

func (s *Supervisor) hungUp() bool {
	fds := []unix.PollFd{{Fd: int32(s.listener)}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLHUP != 0
}

// answer handles one call. It reports whether k was kept for later.
func (s *Supervisor) answer(ctx context.Context, k *call, n *sys.Notif) (kept bool) {
	if resp, again := s.replay.begin(n); again {
		_ = sys.NotifSend(s.listener, &resp)
		return false
	}
	k.reset(s, n)
	r := s.handle(k)
	if r.later != nil && !s.watch.add(ctx, k) {
		s.log.Warn("a call cannot wait", "limit", maxWaiting)
		r = fail(unix.EACCES)
	}
	if r.later == nil {
		k.done(r)
		return false
	}
	k.pidfds = nil // it is not this thread's any more
	go func() {
		defer s.waiting.Done()
		defer s.watch.remove(k)
		k.done(s.finish(k, r))
	}()
	return true
}

// done answers the caller and gives up what the call owns.
func (k *call) done(r result) {
	k.send(r)
	k.s.replay.end(&k.n)
	k.close()
}

// handle performs the call as far as it can without blocking. A panic denies
// this call and nothing else.
func (s *Supervisor) handle(k *call) (r result) {
	defer s.contain(&r)
	if k.n.Data.Arch == filter.Native.Audit {
		return k.perform(uint32(k.n.Data.Nr))
	}
	return s.other(k)
}

// calls are those that the filter traps, of the native ABI.
var calls = map[uint32]func(*call) result{
	filter.Native.Number.Connect: (*call).connect, filter.Native.Number.Sendto: onSocket((*call).sendto),
	filter.Native.Number.Sendmsg: onSocket((*call).sendmsg), filter.Native.Number.Sendmmsg: onSocket((*call).sendmmsg),
	filter.Native.Number.Bind: onSocket((*call).bind), filter.Native.Number.Listen: onSocket((*call).listen),
	filter.Native.Number.Recvfrom: (*call).recvfrom,
}

// perform performs a call of the native ABI.
func (k *call) perform(nr uint32) result {
	if f := calls[nr]; f != nil {
		return f(k)
	}
	k.s.log.Error("trapped a call that is not handled", "nr", nr)
	return fail(unix.EACCES)
}

// finish performs what handle left for later, in a goroutine that may block.
func (s *Supervisor) finish(k *call, r result) (last result) {
	defer s.contain(&last)
	for r.later != nil {
		r = r.later(k.ctx)
	}
	return r
}

// contain turns a panic into a denial.
func (s *Supervisor) contain(r *result) {
	if p := recover(); p != nil {
		s.log.Error("a handler panicked: please report this", "panic", p, "stack", string(debug.Stack()))
		*r = fail(unix.EACCES)
	}
}

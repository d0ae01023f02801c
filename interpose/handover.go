package interpose

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// The descriptors that a successor inherits.
const (
	successorListener = 3
	successorHandover = 4
)

// Inherit prepares the process that SuccessorArgs started: it returns the
// listener and the descriptor given as Handover, both the caller's.
func Inherit() (listener, handover int, err error) {
	unix.CloseOnExec(successorListener)
	unix.CloseOnExec(successorHandover)
	if _, err := unix.FcntlInt(successorListener, unix.F_GETFD, 0); err != nil {
		return 0, 0, fmt.Errorf("inherit the listener: %w", err)
	}
	if err := prepare(nil); err != nil {
		return 0, 0, err
	}
	return successorListener, successorHandover, nil
}

// Pending is a call that was received and is not answered.
type Pending struct {
	N sys.Notif `json:"n"`
}

// handover is the state of a supervisor that gives its calls away.
type handover struct {
	started, over atomic.Bool
	receivers     sync.Map // of *sys.Notif, what each handles, by thread id
}

// interrupt makes receivers return from RECV, and returns what they handle.
// SIGURG does nothing else: the runtime uses it for itself in the same way.
func (h *handover) interrupt() (held []*sys.Notif) {
	h.receivers.Range(func(tid, n any) bool {
		_ = sys.Tgkill(unix.Getpid(), tid.(int), unix.SIGURG)
		held = append(held, n.(*sys.Notif))
		return true
	})
	return held
}

// handOverWait is how long a call that is just being performed may take. Its
// receiver may be held up by the memory that it reads.
const handOverWait = time.Second

// HandOver stops receiving and returns the calls that wait, for another
// supervisor of the same listener to Adopt. The supervisor is of no use
// afterwards. What is just being performed is finished first, unless that takes
// long.
func (s *Supervisor) HandOver() []Pending {
	s.handing.started.Store(true)
	_ = sys.NoRestart(unix.SIGURG) // RECV is restarted by newer kernels
	end := time.Now().Add(handOverWait)
	held := s.handing.interrupt()
	for len(held) > 0 && time.Now().Before(end) {
		time.Sleep(100 * time.Microsecond) // the signal may come before the ioctl
		held = s.handing.interrupt()
	}
	s.handing.over.Store(true)
	list := s.watch.takeAll()
	for _, n := range held {
		list = append(list, Pending{*n})
	}
	finished := make(chan struct{})
	go func() { s.waiting.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(handOverWait): // held up as well
	}
	return slices.DeleteFunc(list, func(p Pending) bool { return !sys.NotifIDValid(s.listener, p.N.ID) })
}

// Adopt handles calls that another supervisor handed over, as if they had just
// been received: what is left of one is begun again. To be called before Serve.
func (s *Supervisor) Adopt(calls []Pending) { s.adopted = calls }

func (s *Supervisor) handleAdopted(ctx context.Context) {
	for i := range s.adopted {
		if k := newCall(nil); sys.NotifIDValid(s.listener, s.adopted[i].N.ID) {
			s.answer(ctx, k, &s.adopted[i].N)
		}
	}
	s.adopted = nil
}

package interpose

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// watchEvery is how often waiting calls are looked at: the longest that a
// signal, or the death of the caller, goes unnoticed.
const watchEvery = 50 * time.Millisecond

// Why a waiting call ends before it has its result.
var (
	errCallerGone  = errors.New("the caller is gone")
	errInterrupted = errors.New("the caller has a signal to handle")
	errHandedOver  = errors.New("the call is another supervisor's now")
)

// watch looks after calls that wait: for an answer, for a connection, for room
// in a buffer. With WAIT_KILLABLE_RECV the kernel lets only a fatal signal end
// such a call, which keeps calls from being performed twice; a signal that
// would have interrupted it natively is seen here instead.
type watch struct {
	listener int

	mu      sync.Mutex
	calls   map[*call]struct{}
	running bool
	closed  bool // nothing may begin to wait any more
	ctx     context.Context
}

func (w *watch) start(ctx context.Context, listener int) {
	w.ctx, w.listener, w.calls = ctx, listener, make(map[*call]struct{})
}

// add gives k a context, looks after it, and counts it as waiting. It refuses
// when too many wait, and at the end.
func (w *watch) add(ctx context.Context, k *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.calls) >= maxWaiting {
		return false
	}
	k.s.waiting.Add(1)
	k.ctx, k.end = context.WithCancelCause(ctx)
	w.calls[k] = struct{}{}
	if !w.running {
		w.running = true
		k.s.wg.Go(w.run)
	}
	return true
}

// close lets nothing begin to wait any more.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// takeAll ends the wait of all calls without an answer, and returns them.
func (w *watch) takeAll() []Pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Pending
	for k := range w.calls {
		k.end(errHandedOver)
		list = append(list, Pending{k.n})
	}
	return list
}

func (w *watch) remove(k *call) {
	w.mu.Lock()
	delete(w.calls, k)
	w.mu.Unlock()
	k.end(nil)
}

// run looks at the calls until none is left.
func (w *watch) run() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		calls := make([]*call, 0, len(w.calls))
		for k := range w.calls {
			calls = append(calls, k)
		}
		if len(calls) == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		stops := make(map[int]bool)
		for _, k := range calls {
			w.look(k, stops)
		}
	}
}

// look ends a call that a signal would have ended. It keeps in stops which
// processes are being stopped.
func (w *watch) look(k *call, stops map[int]bool) {
	st, err := readStatus(k.tid())
	if !sys.NotifIDValid(w.listener, k.n.ID) {
		k.end(errCallerGone)
		return
	}
	if err != nil {
		return
	}
	// A signal to the process may be another thread's to handle. It is this
	// thread's business if it is still there at the second look.
	own, process := st.due()
	stop, known := stops[st.tgid]
	if !known && st.threads > 1 {
		stop = stopping(st.tgid)
		stops[st.tgid] = stop
	}
	if own != 0 || process&k.seen != 0 || stop {
		k.end(errInterrupted)
	}
	k.seen = process
}

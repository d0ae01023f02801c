package notifier

import (
	"context"
	"errors"
)

// maxUnread bounds what is kept for a watch that does not keep up.
const maxUnread = 4096

// errUnread ends a watch that does not keep up.
var errUnread = errors.New("too many changes were not read")

// Watch tells of every question: of each that is open, again whenever it
// changes, and last when it is closed. Changes that come faster than they are
// read are told as one. A question in a summary and the summary are both told of.
type Watch struct {
	queue *Queue
	wake  chan struct{} // of size 1

	// Guarded by the queue's mu.
	changed []*entry // each once, in the order of their first change
	marked  map[*entry]bool
	told    map[*entry]bool
	err     error
}

// Change is what has become of a question.
type Change struct {
	Question Question
	Closed   error // nil while it is open; ErrAnswered, ErrTimeout ...
	Answer   Answer
}

// Watch begins with the questions that are open. It must be closed.
func (q *Queue) Watch() *Watch {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &Watch{queue: q, wake: make(chan struct{}, 1), marked: make(map[*entry]bool), told: make(map[*entry]bool)}
	q.watches[w] = struct{}{}
	for _, e := range q.allLocked() {
		w.markLocked(e)
	}
	if q.closed {
		w.err = ErrClosed
	}
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	delete(w.queue.watches, w)
	w.endLocked(ErrClosed)
}

// Next waits for a change. It fails when ctx ends, with ErrClosed when the
// queue or the watch is closed, and when the reader did not keep up.
func (w *Watch) Next(ctx context.Context) (Change, error) {
	for {
		c, ok, err := w.next()
		if ok || err != nil {
			return c, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return Change{}, context.Cause(ctx)
		}
	}
}

func (w *Watch) next() (c Change, ok bool, err error) {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	for len(w.changed) > 0 {
		e := w.changed[0]
		w.changed = w.changed[1:]
		delete(w.marked, e)
		if e.settled && !w.told[e] {
			continue // opened and closed unseen
		}
		c := Change{Question: e.snapshotLocked()}
		w.told[e] = true
		if e.settled {
			delete(w.told, e)
			c.Closed, c.Answer = ErrAnswered, e.answer
			if e.err != nil {
				c.Closed = e.err
			}
		}
		return c, true, nil
	}
	return Change{}, false, w.err
}

// markLocked notes that e has changed.
func (w *Watch) markLocked(e *entry) {
	if w.marked[e] || w.err != nil {
		return
	}
	if len(w.changed) >= maxUnread {
		w.changed = nil
		w.endLocked(errUnread)
		return
	}
	w.marked[e] = true
	w.changed = append(w.changed, e)
	w.poke()
}

func (w *Watch) endLocked(why error) {
	if w.err == nil {
		w.err = why
	}
	w.poke()
}

func (w *Watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

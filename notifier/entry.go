package notifier

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// maxNames bounds what joining calls can add to a question.
const maxNames = 16

// entry is one open question. Its mutable fields are guarded by Queue.mu;
// answer and err may be read once done is closed.
type entry struct {
	key    key
	ctx    context.Context // ends when the question is settled
	cancel context.CancelCauseFunc
	done   chan struct{}
	left   chan struct{} // the last waiting call has left

	q       Question
	empty   time.Time // since when nobody waits, if Waiting is 0
	shown   []Prompter
	updates []chan struct{} // wakes the updaters
	active  int             // prompters that have not given up
	human   bool            // one of those that gave up had reached a person
	settled bool
	answer  Answer
	err     error
}

// snapshotLocked returns the question as it is now, sharing nothing.
func (e *entry) snapshotLocked() Question {
	q := e.q
	q.Names = slices.Clone(q.Names)
	return q
}

func (e *entry) mergeNamesLocked(names []string) {
	for _, n := range names {
		if len(e.q.Names) < maxNames && !slices.Contains(e.q.Names, n) {
			e.q.Names = append(e.q.Names, n)
		}
	}
}

// changedLocked tells the updaters that Waiting or About has changed.
func (e *entry) changedLocked() {
	for _, c := range e.updates {
		select {
		case c <- struct{}{}:
		default: // one is on its way and will carry the newest value
		}
	}
}

// showLocked shows e through those of the prompters that do not have it yet.
func (q *Queue) showLocked(e *entry, prompters []Prompter) {
	for _, p := range prompters {
		if slices.Contains(e.shown, p) {
			continue
		}
		e.shown = append(e.shown, p)
		e.active++
		question := e.snapshotLocked()
		q.wg.Go(func() { q.prompt(e, p, question) })
		if u, ok := p.(Updater); ok {
			wake := make(chan struct{}, 1)
			e.updates = append(e.updates, wake)
			q.wg.Go(func() { q.update(e, u, question, wake) })
		}
	}
}

// prompt shows the question through one prompter and takes what it brings.
func (q *Queue) prompt(e *entry, p Prompter, question Question) {
	a, err := askSafely(e.ctx, p, question)
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.settled {
		return
	}
	if err == nil {
		err = e.q.check(a)
	}
	if err == nil {
		q.settleLocked(e, a, nil)
		return
	}
	q.cfg.Log.Warn("prompter gave up", "prompter", fmt.Sprintf("%T", p), "id", e.q.ID, "app", e.q.App, "dest", e.key.dest, "err", err)
	e.human = e.human || !errors.Is(err, ErrNobody)
	if e.active--; e.active > 0 {
		return
	}
	if e.human {
		q.settleLocked(e, Answer{}, ErrDismissed)
	} else {
		q.settleLocked(e, Answer{}, ErrNobody)
	}
}

// askSafely turns a panic of the prompter into an error.
func askSafely(ctx context.Context, p Prompter, q Question) (a Answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("prompter %T panicked: %v\n%s", p, r, debug.Stack())
		}
	}()
	return p.Ask(ctx, q)
}

// update carries changes to one updater, which has last, until e is settled.
func (q *Queue) update(e *entry, u Updater, last Question, wake <-chan struct{}) {
	defer func() {
		if r := recover(); r != nil {
			q.cfg.Log.Error("updater panicked", "prompter", fmt.Sprintf("%T", u), "panic", r)
		}
	}()
	for {
		select {
		case <-e.done:
			return
		case <-wake:
		}
		q.mu.Lock()
		question, settled := e.snapshotLocked(), e.settled
		q.mu.Unlock()
		if settled {
			return
		}
		if question.Waiting != last.Waiting || question.About != last.About {
			last = question
			u.Update(question)
		}
	}
}

// watch closes e at its deadline, or when nobody has waited for the grace time.
func (q *Queue) watch(e *entry) {
	t := time.NewTimer(time.Until(e.q.Deadline))
	defer t.Stop()
	for {
		select {
		case <-e.done:
			return
		case <-e.left:
		case <-t.C:
		}
		wait := q.expire(e, time.Now())
		if wait <= 0 {
			return
		}
		t.Reset(wait)
	}
}

// expire settles e if its time has come and returns how long to wait for the
// next look, 0 when e is settled.
func (q *Queue) expire(e *entry, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.settled {
		return 0
	}
	end, why := e.q.Deadline, ErrTimeout
	if e.q.Waiting == 0 && e.empty.Add(grace).Before(end) {
		end, why = e.empty.Add(grace), ErrGone
	}
	if wait := end.Sub(now); wait > 0 {
		return wait
	}
	q.settleLocked(e, Answer{}, why)
	return 0
}

// settleLocked closes e everywhere.
func (q *Queue) settleLocked(e *entry, a Answer, err error) {
	if e.settled {
		return
	}
	e.settled, e.answer, e.err = true, a, err
	delete(q.open, e.key)
	q.missLocked(e)
	if err == nil {
		err = ErrAnswered
	}
	e.cancel(err)
	close(e.done)
}

// missLocked tells of a question that nobody decided.
func (q *Queue) missLocked(e *entry) {
	why := e.err
	switch {
	case why == nil && e.answer.Dismissed:
		why = ErrDismissed
	case why != ErrTimeout && why != ErrDismissed && why != ErrNobody, e.q.Waiting == 0:
		return
	}
	q.cfg.Missed(e.snapshotLocked(), why)
}

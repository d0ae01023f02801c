package notifier

import (
	"cmp"
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

	// Of a question in a summary: that, its number there, and whom it is shown
	// through when it is asked by itself.
	summary *entry
	number  int
	want    []Prompter

	// Of a summary: its questions, and how many there have been.
	items []*entry
	taken int
}

func newEntry(k key, question Question) *entry {
	e := &entry{key: k, q: question, done: make(chan struct{}), left: make(chan struct{}, 1)}
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	return e
}

// snapshotLocked returns the question as it is now, sharing nothing.
func (e *entry) snapshotLocked() Question {
	q := e.q
	q.Names, q.Hosts, q.Aliases = slices.Clone(q.Names), slices.Clone(q.Hosts), slices.Clone(q.Aliases)
	q.Items = slices.Clone(q.Items)
	return q
}

// mergeLocked adds what another call knows of the destination's names.
func (e *entry) mergeLocked(o Question) {
	for _, l := range []struct {
		to   *[]string
		from []string
	}{{&e.q.Names, o.Names}, {&e.q.Hosts, o.Hosts}, {&e.q.Aliases, o.Aliases}} {
		for _, n := range l.from {
			if len(*l.to) < maxNames && !slices.Contains(*l.to, n) {
				*l.to = append(*l.to, n)
			}
		}
	}
}

// changedLocked tells all who show or watch a question that it has changed.
func (q *Queue) changedLocked(e *entry) {
	for _, c := range e.updates {
		select {
		case c <- struct{}{}:
		default: // one is on its way and will carry the newest value
		}
	}
	for w := range q.watches {
		w.markLocked(e)
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
		if !question.looksLike(last) {
			last = question
			u.Update(question)
		}
	}
}

// isSummary says whether e is one question about several others.
func (e *entry) isSummary() bool { return e.key.dest.IsZero() }

// looksLike says whether there is nothing new to show.
func (q Question) looksLike(o Question) bool {
	return q.Waiting == o.Waiting && q.About == o.About && len(q.Items) == len(o.Items) && q.Last() == o.Last() &&
		len(q.Names) == len(o.Names) && len(q.Aliases) == len(o.Aliases)
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
	if e.isSummary() {
		delete(q.summaries, e.key.app)
	} else {
		delete(q.open, e.key)
		q.missLocked(e)
		if err == nil && !a.Dismissed {
			q.cfg.Answered(e.snapshotLocked(), a)
		}
	}
	e.cancel(cmp.Or(err, ErrAnswered))
	close(e.done)
	q.changedLocked(e)
	switch {
	case e.isSummary():
		q.spreadLocked(e)
	case e.summary != nil:
		q.dropLocked(e)
	}
	if err == nil && !e.isSummary() && !a.Dismissed {
		q.settleCoveredLocked(e.key.app, a)
	}
}

// settleCoveredLocked gives an answer to the other questions of its app that
// it decides as well.
func (q *Queue) settleCoveredLocked(app string, a Answer) {
	now := time.Now()
	for _, e := range q.open {
		if e.key.app == app && !e.settled && e.q.covers(a, now) {
			q.settleLocked(e, a, nil)
		}
	}
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

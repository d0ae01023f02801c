package notifier

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/rules"
)

const (
	defaultLimit   = 256
	defaultPerApp  = 128
	defaultTimeout = time.Minute

	// grace is how long a question stays open without a waiting call: an
	// interrupted system call that is restarted finds it again.
	grace = time.Second
)

// Config says how a Queue works. Its zero value is ready to use.
type Config struct {
	Limit   int           // questions open at once, the rest is refused; 0: 256
	PerApp  int           // of them by one app; 0: 128
	Timeout time.Duration // how long a question stays open; 0: 60 s
	Log     *slog.Logger  // nil: silent

	// Missed is told of each question that a call waited for and nobody
	// decided, before the call is told: why is ErrTimeout, ErrDismissed,
	// ErrNobody or ErrFull. One that was never open, as with the last two, has
	// no ID. It must not block and must not call the queue. nil: nobody is told.
	Missed func(q Question, why error)

	// Answered is told of each question that a person decided, as Missed is. A
	// summary is none of them, its questions are. nil: nobody is told.
	Answered func(q Question, a Answer)
}

// Queue holds the open questions. It is safe for concurrent use.
type Queue struct {
	cfg Config
	wg  sync.WaitGroup // every goroutine of the queue

	mu        sync.Mutex
	open      map[key]*entry
	summaries map[string]*entry    // by app, of questions in open
	recent    map[string][]opening // the latest questions of an app
	watches   map[*Watch]struct{}
	closed    bool
}

// key makes two questions the same one.
type key struct {
	app  string
	dest rules.Destination
}

// NewQueue returns an empty queue. The caller must Close it.
func NewQueue(cfg Config) *Queue {
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	if cfg.PerApp <= 0 {
		cfg.PerApp = defaultPerApp
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Missed == nil {
		cfg.Missed = func(Question, error) {}
	}
	if cfg.Answered == nil {
		cfg.Answered = func(Question, Answer) {}
	}
	return &Queue{
		cfg: cfg, open: make(map[key]*entry), summaries: make(map[string]*entry),
		recent: make(map[string][]opening), watches: make(map[*Watch]struct{}),
	}
}

// Ask asks one question and waits for its answer. A question already open for
// the same app and destination is joined, and shown also through those of the
// prompters that do not show it yet. One that comes in a storm is shown as part
// of a summary. ID, Waiting, Opened and Deadline are filled in by the queue.
//
// An answer decides every open question of the app that a rule for its
// destination would decide.
//
// An error means deny. It is ErrNobody, ErrFull, ErrTimeout, ErrDismissed,
// ErrGone, ErrClosed, or the cause of ctx's end.
func (q *Queue) Ask(ctx context.Context, question Question, prompters []Prompter) (Answer, error) {
	if ctx.Err() != nil {
		return Answer{}, context.Cause(ctx)
	}
	if question.Dest.IsZero() {
		return Answer{}, errNoDest
	}
	e, err := q.join(question, prompters)
	if err != nil {
		if errors.Is(err, ErrNobody) || errors.Is(err, ErrFull) {
			question.ID, question.Waiting = "", 1
			q.cfg.Missed(question, err)
		}
		return Answer{}, err
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		if q.leave(e) {
			return Answer{}, context.Cause(ctx)
		}
	}
	return e.answer, e.err
}

// Asks says whether a question for the same app and destination is open.
func (q *Queue) Asks(question Question) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open[key{question.App, question.Dest}] != nil
}

// Amend adds what has become known about the program of a question that is
// open. One that is not, or is another program's, stays as it is.
func (q *Queue) Amend(question Question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.open[key{question.App, question.Dest}]; e != nil && e.q.PID == question.PID && e.q.Exe == question.Exe {
		e.q.About = question.About
		q.changedLocked(e)
	}
}

// Open returns the open questions, the oldest first, and the summaries of those
// that have one.
func (q *Queue) Open() []Question {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.allLocked()
	all := make([]Question, 0, len(list))
	for _, e := range list {
		all = append(all, e.snapshotLocked())
	}
	return all
}

// allLocked returns what is open, the oldest first.
func (q *Queue) allLocked() []*entry {
	all := slices.AppendSeq(slices.Collect(maps.Values(q.open)), maps.Values(q.summaries))
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(a.q.Opened.Compare(b.q.Opened), cmp.Compare(a.number, b.number), cmp.Compare(a.q.ID, b.q.ID))
	})
	return all
}

// Answer answers the open question with this id, as a prompter would. It
// returns ErrGone when there is none, and an error that wraps ErrBadAnswer,
// leaving the question open, when a does not fit it.
func (q *Queue) Answer(id string, a Answer) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.allLocked() {
		if e.q.ID != id {
			continue
		}
		if err := e.q.check(a); err != nil {
			return err
		}
		q.settleLocked(e, a, nil)
		return nil
	}
	return ErrGone
}

// Close closes every open question with ErrClosed and waits until the
// prompters have taken them down.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	for _, e := range q.allLocked() {
		q.settleLocked(e, Answer{}, ErrClosed)
	}
	for w := range q.watches {
		w.endLocked(ErrClosed)
	}
	q.mu.Unlock()
	q.wg.Wait()
}

// join finds or opens the question and counts one more waiting call.
func (q *Queue) join(question Question, prompters []Prompter) (*entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, ErrClosed
	}
	k := key{question.App, question.Dest}
	e := q.open[k]
	if e == nil {
		if prompters = q.usable(prompters); len(prompters) == 0 {
			return nil, ErrNobody
		}
		if q.fullLocked(question.App) {
			q.cfg.Log.Warn("question refused: too many are open", "app", question.App, "dest", k.dest)
			return nil, ErrFull
		}
		e = q.openLocked(k, question)
		q.gatherLocked(e)
	}
	e.q.Waiting++
	e.mergeLocked(question)
	prompters = q.usable(prompters)
	if s := e.summary; s != nil {
		e.want = append(e.want, prompters...) // showing drops what is there twice
		s.listLocked()
		q.showLocked(s, prompters)
		q.changedLocked(s)
	} else {
		q.showLocked(e, prompters)
	}
	q.changedLocked(e)
	return e, nil
}

// fullLocked says whether an app cannot open another question.
func (q *Queue) fullLocked(app string) bool {
	own := 0
	for k := range q.open {
		if k.app == app {
			own++
		}
	}
	return len(q.open) >= q.cfg.Limit || own >= q.cfg.PerApp
}

// openLocked makes a new question and starts its clock.
func (q *Queue) openLocked(k key, question Question) *entry {
	now := time.Now()
	question.ID = q.newIDLocked()
	question.Opened, question.Deadline = now, now.Add(q.cfg.Timeout)
	question.Waiting = 0
	e := newEntry(k, question)
	e.q = e.snapshotLocked() // the caller's slices stay its own
	e.q.Items, e.q.Summarized = nil, ""
	q.open[k] = e
	q.wg.Go(func() { q.watch(e) })
	return e
}

// newIDLocked returns an id that no open question has.
func (q *Queue) newIDLocked() string {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		taken := false
		for _, e := range q.allLocked() {
			taken = taken || e.q.ID == id
		}
		if !taken {
			return id
		}
	}
}

// usable drops what cannot prompt.
func (q *Queue) usable(prompters []Prompter) []Prompter {
	return slices.DeleteFunc(slices.Clone(prompters), func(p Prompter) bool {
		if p == nil {
			return true
		}
		if !reflect.TypeOf(p).Comparable() {
			q.cfg.Log.Error("prompter ignored: its type is not comparable", "type", fmt.Sprintf("%T", p))
			return true
		}
		return false
	})
}

// leave takes one waiting call off. It reports false when the question was
// settled before.
func (q *Queue) leave(e *entry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.settled {
		return false
	}
	e.q.Waiting--
	if e.q.Waiting == 0 {
		e.empty = time.Now()
		select {
		case e.left <- struct{}{}:
		default:
		}
	}
	if s := e.summary; s != nil {
		s.listLocked()
		q.changedLocked(s)
	}
	q.changedLocked(e)
	return true
}

package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/origin/journal"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/notifier/desktop"
	"github.com/netjail/netjail/rules"
)

// jail is a supervisor's connection.
type jail struct {
	reg     api.Registration
	pid     int // of the supervisor
	heir    int // process id of its successor; 0: none has been named
	started time.Time
	conn    *api.Conn
	tty     *terminal // nil: nobody to ask there
	tasks   tasks
	gone    chan struct{} // closed when it has gone

	push sync.Mutex // held while a snapshot is made and sent, so that the newest comes last
}

// register makes a connection a supervisor's, and answers with the rules.
func (s *server) register(c *api.Conn, m *api.Message, pid int) (*jail, error) {
	reg, err := decode[api.Registration](m)
	if err != nil {
		return nil, err
	}
	if err := rules.CheckAppName(reg.App); err != nil {
		return nil, invalid(err)
	}
	if reg.Jail == "" {
		return nil, invalid(errors.New("a jail needs an id"))
	}
	if err := s.store.trouble(); err != nil {
		return nil, err
	}
	if err := s.lists.trouble(); err != nil {
		return nil, s.lists.advise(err)
	}
	kept, err := api.ToRules(reg.Rules)
	if err != nil {
		return nil, invalid(err)
	}
	for _, r := range kept {
		if r.Jail == reg.Jail {
			if _, err := s.store.add(r); err != nil {
				return nil, err
			}
		}
	}
	j := &jail{reg: reg, pid: pid, started: time.Now(), conn: c, gone: make(chan struct{})}
	if reg.Terminal {
		j.tty = &terminal{conn: c, answers: make(map[string]chan api.TerminalAnswer)}
	}
	s.mu.Lock()
	s.jails[j] = struct{}{}
	s.mu.Unlock()
	j.push.Lock()
	defer j.push.Unlock()
	s.reply(c, m, s.snapshot(j), nil)
	return j, nil
}

// leave forgets a supervisor that has gone, and its jail unless it has another.
func (s *server) leave(j *jail) {
	s.mu.Lock()
	delete(s.jails, j)
	succeeded := false
	for o := range s.jails {
		succeeded = succeeded || o.reg.Jail == j.reg.Jail
	}
	s.mu.Unlock()
	close(j.gone)
	if !succeeded {
		s.store.forget(j.reg.Jail)
	}
}

// succeed takes note of the process that will supervise j's jail next: the one
// process below a supervisor that is not in its jail.
func (s *server) succeed(j *jail, m *api.Message) error {
	pid, err := decode[int](m)
	if err != nil {
		return err
	}
	parent, err := parentOf(pid)
	if err != nil || parent != j.pid {
		return invalid(fmt.Errorf("%s: %d is no child of %d", m.Op, pid, j.pid))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.heir = pid
	return nil
}

func (s *server) snapshot(j *jail) api.Snapshot {
	return api.Snapshot{Rules: api.FromRules(s.store.holding(j.reg.App, j.reg.Jail)), Blocklist: s.lists.path()}
}

// pushTo tells a supervisor the rules that hold now.
func (s *server) pushTo(j *jail) {
	j.push.Lock()
	defer j.push.Unlock()
	if err := event(j.conn, api.EventSnapshot, s.snapshot(j)); err != nil {
		s.log.Warn("send rules", "app", j.reg.App, "error", err)
	}
}

// pushAll tells every supervisor, first and before it returns. No supervisor
// holds up another one.
func (s *server) pushAll(first *jail) {
	s.mu.Lock()
	for j := range s.jails {
		if j != first {
			s.wg.Go(func() { s.pushTo(j) })
		}
	}
	s.mu.Unlock()
	if first != nil {
		s.pushTo(first)
	}
}

func event(c *api.Conn, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return c.Send(&api.Message{V: api.Version, Event: name, Data: data})
}

// ask puts a supervisor's question to people, and keeps the rule that the
// answer asks for before it is given.
func (s *server) ask(ctx context.Context, j *jail, m *api.Message) (any, error) {
	q, err := decode[notifier.Question](m)
	if err != nil {
		return nil, err
	}
	q.App = j.reg.App
	prompters := s.prompters(j)
	var look *journal.Look
	if len(prompters) > 0 {
		open, end := context.WithCancel(ctx)
		defer end()
		look = s.describe(open, j, &q)
	}
	a, err := s.queue.Ask(ctx, q, prompters)
	if errors.Is(err, notifier.ErrNobody) {
		return nil, &api.Error{Text: err.Error(), Code: api.CodeNobody}
	}
	if err != nil {
		return nil, err
	}
	if a.Verdict == rules.Allow && !a.Dismissed {
		look.Allowed(time.Now())
	}
	if !a.Dismissed {
		s.missed.drop(func(m *missedQuestion) bool { return m.about(q.App, q.Dest) })
	}
	r, ok := ruleFor(j.reg.App, j.reg.Jail, a, time.Now())
	if !ok {
		return a, nil
	}
	if a.By == byCLI && lasting(a.Lifetime) { // written before it was given
		s.pushTo(j)
		return a, nil
	}
	if _, err := s.store.add(r); err != nil {
		// The person has decided; what cannot be written down holds for as
		// long as the jail runs, and the supervisor says so.
		s.log.Error("keep a rule", "app", j.reg.App, "error", err)
		held := a
		held.Lifetime = rules.Lifetime{Kind: rules.UntilExit}
		r, _ = ruleFor(j.reg.App, j.reg.Jail, held, time.Now())
		if _, err2 := s.store.add(r); err2 != nil {
			return nil, err2
		}
		e := asError(err)
		_ = event(j.conn, api.EventTrouble, e)
	}
	s.pushAll(j)
	return a, nil
}

// patience is how long a question waits for what is known about its program.
// People see no delay, and it comes once for each program.
const patience = 200 * time.Millisecond

// describe fills in what is known about the program that a question is about.
// What comes late is added to the open question. ctx ends with the question, and
// so does the look at the program's executable; it is nil for a question that is
// joined, because people see who asked first.
func (s *server) describe(ctx context.Context, j *jail, q *notifier.Question) *journal.Look {
	q.About = notifier.About{}
	if s.queue.Asks(*q) {
		return nil // it is joined at once, for it may be answered any moment
	}
	look := s.journal.Look(ctx, q.App, q.Exe, q.PID)
	known := s.learn(ctx, s.origin.Find(ctx, q.Exe, q.PID, j.reg.Path), look.Found)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case about, more := <-known:
			if !more {
				return look
			}
			q.About = about
		case <-timeout.C:
			late := *q
			s.wg.Go(func() {
				for late.About = range known {
					s.queue.Amend(late)
				}
			})
			return look
		}
	}
}

// learn joins what is found out about a program. Each value has all that is
// known by then; after the last one, or at the end of ctx, the channel is closed.
func (s *server) learn(ctx context.Context, from <-chan notifier.About, seen <-chan journal.Finding) <-chan notifier.About {
	known := make(chan notifier.About, 2)
	s.wg.Go(func() {
		defer close(known)
		var all notifier.About
		for from != nil || seen != nil {
			select {
			case about := <-from:
				about.Changed = all.Changed
				all, from = about, nil
			case f := <-seen:
				if f.State == journal.Changed {
					all.Changed = f.Allowed
				}
				seen = nil
			case <-ctx.Done():
				return
			}
			known <- all
		}
	})
	return known
}

// prompters returns whom a jail's questions can be put to.
func (s *server) prompters(j *jail) []notifier.Prompter {
	var list []notifier.Prompter
	if j.reg.Bus != "" {
		list = append(list, s.buses.get(j.reg.Bus, s.trusted))
	}
	if j.tty != nil {
		list = append(list, j.tty)
	}
	return append(list, s.asking()...)
}

// trusted says whether a process may show questions: not if it is in a jail,
// nor if it is a supervisor, as whom the programs in its jail appear on the bus.
func (s *server) trusted(pid int) bool {
	if s.supervises(pid) {
		return false
	}
	jailed, err := s.jailed(pid)
	return err == nil && !jailed
}

// buses holds a prompter for each session bus that jails were started on.
type buses struct {
	log *slog.Logger

	mu sync.Mutex
	m  map[string]*desktop.Prompter
}

// get returns the prompter of a bus. It connects by itself, as often as it takes.
func (b *buses) get(address string, trust func(int) bool) *desktop.Prompter {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.m[address]
	if !ok {
		p = desktop.New(address, b.log)
		p.Trust(trust)
		if b.m == nil {
			b.m = make(map[string]*desktop.Prompter)
		}
		b.m[address] = p
	}
	return p
}

func (b *buses) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.m {
		p.Close()
	}
}

// terminal asks on the terminal that a jail was started from, through its
// supervisor.
type terminal struct {
	conn *api.Conn

	mu      sync.Mutex
	answers map[string]chan api.TerminalAnswer // by question
}

var (
	_ notifier.Prompter = (*terminal)(nil)
	_ notifier.Updater  = (*terminal)(nil)
)

// Ask shows q until it is answered there, or ctx ends.
func (t *terminal) Ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	c := make(chan api.TerminalAnswer, 1)
	t.mu.Lock()
	t.answers[q.ID] = c
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.answers, q.ID)
		t.mu.Unlock()
	}()
	if err := event(t.conn, api.EventQuestion, q); err != nil {
		return notifier.Answer{}, err
	}
	select {
	case a := <-c:
		if a.Gone {
			return notifier.Answer{}, notifier.ErrNobody
		}
		return a.Answer, nil
	case <-ctx.Done():
		_ = event(t.conn, api.EventClosed, api.Closed{Question: q.ID, Why: context.Cause(ctx).Error()})
		return notifier.Answer{}, ctx.Err()
	}
}

// Update tells the terminal what has become of a question.
func (t *terminal) Update(q notifier.Question) {
	t.mu.Lock()
	_, open := t.answers[q.ID]
	t.mu.Unlock()
	if open {
		_ = event(t.conn, api.EventQuestion, q)
	}
}

func (j *jail) terminalAnswer(m *api.Message) error {
	a, err := decode[api.TerminalAnswer](m)
	if err != nil {
		return err
	}
	if j.tty == nil {
		return &api.Error{Text: "this jail has no terminal", Code: api.CodeInvalid}
	}
	j.tty.mu.Lock()
	c := j.tty.answers[a.Question]
	j.tty.mu.Unlock()
	if c == nil {
		return &api.Error{Text: notifier.ErrGone.Error(), Code: api.CodeNotFound}
	}
	select {
	case c <- a:
	default: // answered already
	}
	return nil
}

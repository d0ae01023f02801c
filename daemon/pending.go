package daemon

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// Limits on what is kept of missed questions.
const (
	maxMissed = 200
	maxFormer = 8
	maxNames  = 16
	maxNote   = 300
	missedFor = time.Hour // keeps a daemon that nobody talks to
)

// byCLI is who answers by netjail pending.
const byCLI = "cli"

// missed are the questions that nobody decided. They are forgotten with the
// daemon, and the oldest when there are too many.
//
// Lock order: the queue's, mu, the store's.
type missed struct {
	mu   sync.Mutex
	list []missedQuestion // the latest last
}

// missedQuestion has every id that people may have seen of it.
type missedQuestion struct {
	api.Missed
	former []string
}

func (q *missedQuestion) called(id string) bool {
	return q.ID == id || slices.Contains(q.former, id)
}

func (q *missedQuestion) about(app string, d rules.Destination) bool {
	return q.App == app && q.Dest.Equal(d)
}

// record takes note of a question, as notifier.Config.Missed.
func (m *missed) record(q notifier.Question, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UTC()
	next := missedQuestion{Missed: api.Missed{
		ID: q.ID, App: q.App, Exe: q.Exe, Op: q.Op, Dest: q.Dest, Wider: q.Wider, Addr: q.Addr,
		Names: slices.Clone(q.Names[:min(len(q.Names), maxNames)]), Note: notifier.Clean(q.Note, maxNote),
		Why: whyMissed(why), Calls: max(1, q.Waiting), First: now, Last: now,
	}}
	i := slices.IndexFunc(m.list, func(o missedQuestion) bool { return o.about(q.App, q.Dest) })
	if i >= 0 {
		old := m.list[i]
		m.list = slices.Delete(m.list, i, i+1)
		next.Calls += old.Calls
		next.First, next.former = old.First, old.former
		if next.ID == "" {
			next.ID = old.ID
		} else {
			next.former = slices.Insert(next.former, 0, old.ID)
			next.former = next.former[:min(len(next.former), maxFormer)]
		}
	}
	if next.ID == "" {
		next.ID = m.newIDLocked()
	}
	if len(m.list) >= maxMissed {
		m.list = slices.Delete(m.list, 0, len(m.list)-maxMissed+1)
	}
	m.list = append(m.list, next)
}

// whyMissed is an error of the queue's as others see it.
func whyMissed(err error) string {
	switch {
	case errors.Is(err, notifier.ErrNobody):
		return api.MissedNobody
	case errors.Is(err, notifier.ErrDismissed):
		return api.MissedDismissed
	case errors.Is(err, notifier.ErrFull):
		return api.MissedFull
	}
	return api.MissedTimeout
}

// newIDLocked names a question that the queue has not named.
func (m *missed) newIDLocked() string {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		if !slices.ContainsFunc(m.list, func(q missedQuestion) bool { return q.called(id) }) {
			return id
		}
	}
}

// all returns the missed questions, the latest last.
func (m *missed) all() []missedQuestion {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// drop forgets the questions that pick selects, and returns them.
func (m *missed) drop(pick func(*missedQuestion) bool) []api.Missed {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := []api.Missed{}
	m.list = slices.DeleteFunc(m.list, func(q missedQuestion) bool {
		if pick(&q) {
			gone = append(gone, q.Missed)
			return true
		}
		return false
	})
	return gone
}

// since returns how long ago the latest question was missed; ok is false when
// there is none.
func (m *missed) since(now time.Time) (d time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.list) == 0 {
		return 0, false
	}
	return now.Sub(m.list[len(m.list)-1].Last), true
}

// question performs one request about questions.
func (s *server) question(m *api.Message) (any, error) {
	switch m.Op {
	case api.OpQuestionList:
		return s.questions(time.Now()), nil
	case api.OpQuestionClear:
		gone := s.missed.drop(func(*missedQuestion) bool { return true })
		return api.Questions{Open: []notifier.Question{}, Missed: gone}, nil
	}
	in, err := decode[api.QuestionAnswer](m)
	if err != nil {
		return nil, err
	}
	if in.Verdict != rules.Allow && in.Verdict != rules.Deny {
		return nil, invalid(fmt.Errorf("%s: an answer allows or denies", m.Op))
	}
	for _, q := range s.queue.Open() {
		if q.ID == in.ID {
			return s.answerOpen(&q, &in)
		}
	}
	for _, q := range s.missed.all() {
		if q.called(in.ID) {
			return s.answerMissed(&q, &in)
		}
	}
	return nil, errNoQuestion
}

var errNoQuestion = &api.Error{Text: "no such question", Hint: "netjail pending", Code: api.CodeNotFound}

// questions lists what is open and, of what was missed, what no rule decides
// now and is not being asked again.
func (s *server) questions(now time.Time) api.Questions {
	out := api.Questions{Open: s.queue.Open(), Missed: []api.Missed{}}
	c := coverage{store: s.store, now: now, apps: make(map[string]*appRules)}
	s.missed.drop(func(q *missedQuestion) bool { return c.covers(&q.Missed) })
	for _, q := range s.missed.all() {
		if !slices.ContainsFunc(out.Open, func(o notifier.Question) bool { return q.about(o.App, o.Dest) }) {
			out.Missed = append(out.Missed, q.Missed)
		}
	}
	return out
}

// answerOpen answers for everybody who is asked. What is to be written is
// written first: where that fails the question stays open.
func (s *server) answerOpen(q *notifier.Question, in *api.QuestionAnswer) (any, error) {
	d, err := chosen(q.Dest, q.Wider, in.Wider)
	if err != nil {
		return nil, err
	}
	out := api.QuestionDecided{App: q.App, Answer: notifier.Answer{Verdict: in.Verdict, Lifetime: in.Lifetime, Dest: d, By: byCLI}}
	if lasting(in.Lifetime) {
		if out.Rule, err = s.write(q.App, out.Answer); err != nil {
			return nil, err
		}
	}
	err = s.queue.Answer(q.ID, out.Answer)
	switch {
	case errors.Is(err, notifier.ErrBadAnswer):
		return nil, invalid(err)
	case err != nil && out.Rule == nil: // somebody, or the clock, was faster
		return nil, errNoQuestion
	}
	s.missed.drop(func(m *missedQuestion) bool { return m.about(q.App, q.Dest) })
	return out, nil
}

// answerMissed makes a rule for the next time.
func (s *server) answerMissed(q *missedQuestion, in *api.QuestionAnswer) (any, error) {
	if !lasting(in.Lifetime) {
		return nil, &api.Error{
			Text: "nobody waits for the answer to a missed question any more: it can only be about the next time",
			Hint: fmt.Sprintf("netjail pending %v %s --for always", in.Verdict, q.ID), Code: api.CodeInvalid,
		}
	}
	d, err := chosen(q.Dest, q.Wider, in.Wider)
	if err != nil {
		return nil, err
	}
	out := api.QuestionDecided{App: q.App, Answer: notifier.Answer{Verdict: in.Verdict, Lifetime: in.Lifetime, Dest: d, By: byCLI}}
	if out.Rule, err = s.write(q.App, out.Answer); err != nil {
		return nil, err
	}
	s.missed.drop(func(m *missedQuestion) bool { return m.about(q.App, q.Dest) })
	return out, nil
}

// chosen is the destination that an answer is about.
func chosen(own, wider rules.Destination, wide bool) (rules.Destination, error) {
	switch {
	case !wide:
		return own, nil
	case wider.IsZero():
		return own, invalid(fmt.Errorf("there is no wider domain than %s", own))
	}
	return wider, nil
}

// lasting says whether an answer is written to a file.
func lasting(l rules.Lifetime) bool { return l.Kind == rules.For || l.Kind == rules.Always }

// write keeps the rule that a lasting answer asks for, and has it told to all
// supervisors.
func (s *server) write(app string, a notifier.Answer) (*api.Rule, error) {
	r, _ := ruleFor(app, "", a, time.Now())
	r, err := s.store.add(r)
	if err != nil {
		return nil, err
	}
	s.pushAll(nil)
	out := api.FromRule(&r)
	return &out, nil
}

// coverage finds out which missed questions the rules decide now.
type coverage struct {
	store *store
	now   time.Time
	apps  map[string]*appRules
}

type appRules struct {
	list []rules.Rule
	set  *rules.Set
}

// covers says whether m would not be asked in a new run.
func (c *coverage) covers(m *api.Missed) bool {
	a := c.apps[m.App]
	if a == nil {
		list := c.store.holding(m.App, "")
		a = &appRules{list, rules.NewSet(list)}
		c.apps[m.App] = a
	}
	for i := range a.list {
		r := &a.list[i]
		if r.Active(c.now) && r.Verdict != rules.Ask && r.Dest.Equal(m.Dest) && (r.Exe == "" || r.Exe == m.Exe) {
			return true
		}
	}
	r, ok := requestOf(m)
	if !ok {
		return false
	}
	d := a.set.Decide(&r, c.now)
	return d.Rule != nil && d.Verdict != rules.Ask
}

// requestOf is the request that was asked about. ok is false for a question
// about more than one.
func requestOf(m *api.Missed) (r rules.Request, ok bool) {
	r = rules.Request{App: m.App, Op: m.Op, Proto: m.Dest.Proto, Exe: m.Exe}
	addr := m.Addr
	switch h := m.Dest.Host; h.Kind {
	case rules.HostUnix:
		r.Unix = h.Name
		return r, true
	case rules.HostName:
		r.Names = []string{h.Name}
	case rules.HostAddr:
		r.Names = m.Names
		addr = cmp.Or(addr, h.Addr)
	default:
		return r, false
	}
	var port uint16
	if ranges := m.Dest.Ports.Ranges(); len(ranges) > 0 {
		port = ranges[0].First
	}
	r.Addr = netip.AddrPortFrom(addr, port)
	return r, addr.IsValid()
}

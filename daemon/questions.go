package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// byCLI is who answers by netjail answer.
const byCLI = "cli"

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
	q, missed, err := s.findQuestion(in.ID)
	if err != nil {
		return nil, err
	}
	c, err := choice(q, &in)
	if err != nil {
		return nil, err
	}
	if missed {
		return s.answerMissed(q, c)
	}
	return s.answerOpen(q, c)
}

var errNoQuestion = &api.Error{Text: "no such question", Hint: "netjail pending", Code: api.CodeNotFound}

// findQuestion returns the question with an id, of which the beginning is enough where
// no other begins so, and whether it was missed.
func (s *server) findQuestion(id string) (q *notifier.Question, missed bool, err error) {
	if id == "" {
		return nil, false, errNoQuestion
	}
	var found []*notifier.Question
	for _, o := range s.queue.Open() {
		if o.ID == id {
			return &o, false, nil
		}
		if strings.HasPrefix(o.ID, id) {
			found = append(found, &o)
		}
	}
	open := len(found)
	for _, m := range s.missed.all() {
		if m.called(id) {
			q := m.Question()
			return &q, true, nil
		}
		if strings.HasPrefix(m.ID, id) {
			q := m.Question()
			found = append(found, &q)
		}
	}
	switch len(found) {
	case 0:
		return nil, false, errNoQuestion
	case 1:
		return found[0], open == 0, nil
	}
	return nil, false, &api.Error{Text: fmt.Sprintf("%d questions begin with %q", len(found), id), Hint: "netjail pending", Code: api.CodeInvalid}
}

// choice is the answer that somebody gives to q.
func choice(q *notifier.Question, in *api.QuestionAnswer) (notifier.Choice, error) {
	scope := in.Scope
	switch {
	case in.Review && q.Summary():
		c := q.Review()
		c.Answer.By = byCLI
		return c, nil
	case scope == "" && q.Summary():
		scope = notifier.Listed
	case scope == "" && in.Wider:
		scope = notifier.Domain
	case scope == "":
		scope = notifier.Host
	}
	c, ok := q.Choose(in.Verdict, scope, in.Lifetime)
	if !ok {
		return c, invalid(fmt.Errorf("it cannot be about %q, only about: %v", scope, q.Scopes()))
	}
	if in.Through > 0 {
		c.Answer.Through = in.Through
	}
	c.Answer.By = byCLI
	if in.Verdict != rules.Allow && in.Verdict != rules.Deny {
		return c, invalid(errors.New("an answer allows or denies"))
	}
	return c, nil
}

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
func (s *server) answerOpen(q *notifier.Question, c notifier.Choice) (any, error) {
	out := api.QuestionDecided{App: q.App, Answer: c.Answer, Items: decided(q, c.Answer)}
	var err error
	if lasting(c.Answer.Lifetime) && !q.Summary() {
		if out.Rule, err = s.write(q.App, c.Answer); err != nil {
			return nil, err
		}
	}
	err = s.queue.Answer(q.ID, c.Answer)
	switch {
	case errors.Is(err, notifier.ErrBadAnswer):
		return nil, invalid(err)
	case err != nil && out.Rule == nil: // somebody, or the clock, was faster
		return nil, errNoQuestion
	}
	s.missed.drop(func(m *missedQuestion) bool { return m.about(q.App, q.Dest) })
	return out, nil
}

// decided lists what an answer to a summary decides.
func decided(q *notifier.Question, a notifier.Answer) (list []rules.Destination) {
	for _, i := range q.Items {
		if i.Number <= a.Through && !a.Review {
			list = append(list, i.Dest)
		}
	}
	return list
}

// answerMissed makes a rule for the next time.
func (s *server) answerMissed(q *notifier.Question, c notifier.Choice) (any, error) {
	if !lasting(c.Answer.Lifetime) {
		return nil, &api.Error{
			Text: "nobody waits for the answer to a missed question any more: it can only be about the next time",
			Hint: fmt.Sprintf("netjail answer %s %v always", q.ID, c.Answer.Verdict), Code: api.CodeInvalid,
		}
	}
	out := api.QuestionDecided{App: q.App, Answer: c.Answer}
	var err error
	if out.Rule, err = s.write(q.App, c.Answer); err != nil {
		return nil, err
	}
	s.missed.drop(func(m *missedQuestion) bool { return m.about(q.App, q.Dest) })
	return out, nil
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
	q := m.Question()
	r, ok := q.Request()
	if !ok {
		return false
	}
	d := a.set.Decide(&r, c.now)
	return d.Rule != nil && d.Verdict != rules.Ask
}

package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// maxReported bounds the events of one report.
const maxReported = 1000

// answered takes note of an answer, as notifier.Config.Answered.
func (s *server) answered(q notifier.Question, a notifier.Answer) {
	e := eventOf(&q)
	e.Kind, e.Verdict, e.By, e.Lifetime, e.About = api.HistoryAnswer, a.Verdict, a.By, a.Lifetime, a.Dest
	s.history.Add(e)
}

// miss takes note of a question that nobody decided, as notifier.Config.Missed.
func (s *server) miss(q notifier.Question, why error) {
	s.missed.record(q, why)
	e := eventOf(&q)
	e.Kind, e.Why = api.HistoryMissed, whyMissed(why)
	s.history.Add(e)
}

// eventOf is what the history has of a question, without its end.
func eventOf(q *notifier.Question) api.HistoryEvent {
	e := api.HistoryEvent{
		Time: time.Now(), First: q.Opened, Count: q.Waiting, App: q.App, PID: q.PID, Exe: q.Exe,
		What: q.Op.String(), Dest: q.Dest, Addr: q.Addr, Names: few(q.Names),
	}
	if !q.Opened.IsZero() {
		e.Waited = e.Time.Sub(q.Opened).Milliseconds()
	}
	return e
}

// report takes note of what a supervisor decided without a question.
func (s *server) report(j *jail, m *api.Message) error {
	r, err := decode[api.Report](m)
	if err != nil {
		return err
	}
	if len(r.Events) > maxReported {
		return invalid(fmt.Errorf("%s: %d events at once", m.Op, len(r.Events)))
	}
	now := time.Now()
	for _, e := range r.Events {
		if e.Time.After(now) {
			e.Time = now
		}
		e.Kind = api.HistoryRefused
		if e.Verdict == rules.Allow {
			e.Kind = api.HistoryAllowed
		}
		e.App, e.Jail, e.Names = j.reg.App, j.reg.Jail, few(e.Names)
		e.What, e.Why = notifier.Clean(e.What, 20), notifier.Clean(e.Why, maxNote)
		e.About, e.Lifetime, e.By, e.Waited = rules.Destination{}, rules.Lifetime{}, "", 0
		s.history.Add(e)
	}
	s.history.Lose(r.Lost)
	return nil
}

// queryHistory performs one request about the history.
func (s *server) queryHistory(ctx context.Context, m *api.Message) (any, error) {
	if m.Op == api.OpHistory {
		return api.History{Events: s.history.List(ctx)}, nil
	}
	f, err := decode[api.HistoryFilter](m)
	if err != nil {
		return nil, err
	}
	if m.Op == api.OpHistorySummary {
		return s.history.Summary(ctx, f)
	}
	return s.history.Query(ctx, f)
}

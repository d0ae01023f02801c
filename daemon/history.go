package daemon

import (
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// maxHistory bounds what is remembered of the past.
const maxHistory = 2000

// history is what was decided since the daemon was started, the latest last:
// by people, by the lack of them, and by rules that refused.
type history struct {
	mu   sync.Mutex
	list []api.HistoryEvent
}

func (h *history) add(e api.HistoryEvent) {
	e.Time = time.Now().UTC()
	e.Names = few(e.Names)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) >= maxHistory {
		h.list = slices.Delete(h.list, 0, maxHistory/10)
	}
	h.list = append(h.list, e)
}

func (h *history) all() api.History {
	h.mu.Lock()
	defer h.mu.Unlock()
	return api.History{Events: append([]api.HistoryEvent{}, h.list...)}
}

// answered takes note of an answer, as notifier.Config.Answered.
func (h *history) answered(q notifier.Question, a notifier.Answer) {
	h.add(api.HistoryEvent{
		Kind: api.HistoryAnswer, App: q.App, What: q.Op.String(), Dest: q.Dest, Names: q.Names,
		Verdict: a.Verdict, By: a.By, Lifetime: a.Lifetime, About: a.Dest,
	})
}

// missed takes note of a question that nobody decided.
func (h *history) missed(q notifier.Question, why error) {
	h.add(api.HistoryEvent{Kind: api.HistoryMissed, App: q.App, What: q.Op.String(), Dest: q.Dest, Names: q.Names, Why: whyMissed(why)})
}

// report takes note of what a supervisor refused without a question. It tells
// of each destination once.
func (s *server) report(j *jail, m *api.Message) error {
	r, err := decode[api.Refusal](m)
	if err != nil {
		return err
	}
	s.history.add(api.HistoryEvent{
		Kind: api.HistoryRefused, App: j.reg.App, What: notifier.Clean(r.What, 20), Dest: r.Dest, Verdict: rules.Deny, Why: notifier.Clean(r.Why, maxNote),
	})
	return nil
}

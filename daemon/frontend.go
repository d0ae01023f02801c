package daemon

import (
	"context"
	"errors"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
)

// maxFrontEnds bounds how many clients watch the questions at once.
const maxFrontEnds = 64

// frontEnd is a client that shows the questions to a person. It hears of them
// by watching and answers by request: as a prompter it only waits, so that a
// question has somebody to be put to.
type frontEnd struct{ gone chan struct{} }

var _ notifier.Prompter = (*frontEnd)(nil)

// Ask waits until q is settled or the client has gone.
func (f *frontEnd) Ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	select {
	case <-f.gone:
		return notifier.Answer{}, notifier.ErrNobody
	case <-ctx.Done():
		return notifier.Answer{}, context.Cause(ctx)
	}
}

// watch tells a client of the questions until it leaves.
func (s *server) watch(ctx context.Context, c *api.Conn, who peer, m *api.Message) {
	in, err := decode[api.QuestionWatch](m)
	if err == nil && who.supervisor {
		err = errOnlyJail(m.Op)
	}
	var f *frontEnd
	if err == nil {
		f, err = s.frontEnd(in.Asks)
	}
	if err != nil {
		s.reply(c, m, nil, err)
		return
	}
	defer s.forgetFrontEnd(f)
	w := s.queue.Watch()
	defer w.Close()
	s.reply(c, m, nil, nil)
	for {
		change, err := w.Next(ctx)
		if err != nil {
			return
		}
		if err := event(c, api.EventChange, describeChange(change)); err != nil {
			return
		}
	}
}

func (s *server) frontEnd(asks bool) (*frontEnd, error) {
	f := &frontEnd{make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.frontEnds) >= maxFrontEnds {
		return nil, &api.Error{Text: "too many clients watch the questions", Code: api.CodeRefused}
	}
	s.frontEnds[f] = asks
	return f, nil
}

func (s *server) forgetFrontEnd(f *frontEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.frontEnds, f)
	close(f.gone)
}

// asking returns the clients that show questions to a person.
func (s *server) asking() (list []notifier.Prompter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, asks := range s.frontEnds {
		if asks {
			list = append(list, f)
		}
	}
	return list
}

// describeChange is a change as others see it.
func describeChange(c notifier.Change) api.QuestionChange {
	out := api.QuestionChange{Question: c.Question}
	switch {
	case c.Closed == nil:
	case errors.Is(c.Closed, notifier.ErrAnswered) && !c.Answer.Dismissed:
		out.Closed, out.Answer = api.ClosedAnswered, &c.Answer
	case errors.Is(c.Closed, notifier.ErrAnswered), errors.Is(c.Closed, notifier.ErrDismissed):
		out.Closed = api.ClosedDismissed
	case errors.Is(c.Closed, notifier.ErrTimeout):
		out.Closed = api.ClosedTimeout
	case errors.Is(c.Closed, notifier.ErrNobody):
		out.Closed = api.ClosedNobody
	default:
		out.Closed = api.ClosedGone
	}
	return out
}

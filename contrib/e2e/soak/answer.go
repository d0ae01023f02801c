package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// verdict is how a question is answered: by its port.
func (w *world) verdict(q *notifier.Question) (v rules.Verdict, known bool) {
	for _, r := range w.receivers {
		if q.Dest.Ports.String() == itoa(r.port) && (r.kind == asked || r.kind == refused) {
			return map[bool]rules.Verdict{true: rules.Allow, false: rules.Deny}[r.kind == asked], true
		}
	}
	return rules.Deny, false
}

// answer is a front end: it answers every question that it knows, until ctx ends,
// whatever becomes of the daemon.
func (w *world) answer(ctx context.Context) {
	for ctx.Err() == nil {
		w.answerOne(ctx)
		pause(ctx, 2*time.Millisecond)
	}
}

// answerOne answers for as long as one daemon lives.
func (w *world) answerOne(ctx context.Context) {
	open := make(chan notifier.Question, 1024)
	c, err := w.dial(func(m *api.Message) {
		var change api.QuestionChange
		if json.Unmarshal(m.Data, &change) == nil && change.Closed == "" {
			select {
			case open <- change.Question:
			default:
			}
		}
	})
	if err != nil {
		return
	}
	defer c.Close()
	if c.Call(ctx, api.OpQuestionWatch, api.QuestionWatch{Asks: true}, nil) != nil {
		return
	}
	for {
		select {
		case q := <-open:
			v, known := w.verdict(&q)
			if !known {
				continue
			}
			in := api.QuestionAnswer{ID: q.ID, Verdict: v, Lifetime: rules.Lifetime{Kind: rules.Once}}
			if c.Call(ctx, api.OpQuestionAnswer, in, nil) == nil {
				w.count("questions answered by a front end", 1)
			}
		case <-c.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// Daemon is the Source that asks the user's daemon, and starts one if there is
// none: a question needs it to wait in.
type Daemon struct {
	dir string

	mu     sync.Mutex
	client *api.Client // of everything but the questions; nil: none yet
}

var _ Source = (*Daemon)(nil)

// NewDaemon returns a source for the daemon of a runtime directory. It must be
// closed.
func NewDaemon(runtimeDir string) *Daemon { return &Daemon{dir: runtimeDir} }

// Close ends the connection to the daemon.
func (d *Daemon) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil
	}
	return d.client.Close()
}

// Watch has a connection of its own: from then on the daemon counts on somebody
// who answers.
func (d *Daemon) Watch(ctx context.Context, ready func(), tell func(Change)) error {
	begun := make(chan struct{})
	c, err := api.DialOrStart(ctx, d.dir, func(m *api.Message) {
		<-begun
		var q api.QuestionChange
		if m.Event == api.EventChange && json.Unmarshal(m.Data, &q) == nil {
			tell(Change{Question: q.Question, Closed: howClosed(&q)})
		}
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Listen(); err != nil {
		return err
	}
	if err := c.Call(ctx, api.OpQuestionWatch, api.QuestionWatch{Asks: true}, nil); err != nil {
		close(begun)
		return err
	}
	ready()
	close(begun)
	select {
	case <-c.Done():
		return errAway
	case <-ctx.Done():
		return ctx.Err()
	}
}

// howClosed says in words how a question ended.
func howClosed(q *api.QuestionChange) string {
	switch q.Closed {
	case "":
		return ""
	case api.ClosedAnswered:
		if q.Answer != nil && q.Answer.Review {
			return "asked one by one"
		}
		if q.Answer != nil {
			return q.Answer.Done() + ", answered elsewhere"
		}
		return "answered elsewhere"
	case api.ClosedTimeout:
		return "nobody answered, denied once"
	case api.ClosedDismissed:
		return "dismissed elsewhere, denied once"
	case api.ClosedNobody:
		return "nobody can be asked, denied once"
	}
	return "no call waits for it any more"
}

// call asks the daemon that there is. Starting one is for Watch.
func (d *Daemon) call(ctx context.Context, op string, args, reply any) error {
	c, err := d.dial()
	if err != nil {
		return err
	}
	var said *api.Error
	if err = c.Call(ctx, op, args, reply); errors.As(err, &said) && said.Hint != "" {
		return fmt.Errorf("%w (%s)", err, said.Hint)
	}
	return err
}

func (d *Daemon) dial() (*api.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		select {
		case <-d.client.Done():
			d.client.Close()
			d.client = nil
		default:
			return d.client, nil
		}
	}
	c, err := api.Dial(api.SocketPath(d.dir), nil)
	if err != nil {
		return nil, err
	}
	if err := c.Listen(); err != nil {
		c.Close()
		return nil, err
	}
	d.client = c
	return c, nil
}

// Look returns what a view shows.
func (d *Daemon) Look(ctx context.Context, v View) (Contents, error) {
	switch v {
	case Connections:
		var list api.Connections
		err := d.call(ctx, api.OpConnections, nil, &list)
		return contentsOfConnections(&list), err
	case Rules:
		var list api.RuleList
		err := d.call(ctx, api.OpRulesList, api.RuleFilter{Brief: true}, &list)
		return contentsOfRules(list.Rules, time.Now()), err
	case History:
		var list api.History
		err := d.call(ctx, api.OpHistory, nil, &list)
		return contentsOfHistory(list.Events), err
	}
	var st api.Status
	err := d.call(ctx, api.OpStatus, nil, &st)
	return contentsOfStatus(&st), err
}

// Answer answers a question.
func (d *Daemon) Answer(ctx context.Context, what Decision) (string, error) {
	var said api.QuestionDecided
	err := d.call(ctx, api.OpQuestionAnswer, api.QuestionAnswer{
		ID: what.ID, Verdict: what.Verdict, Lifetime: what.Lifetime, Scope: what.Scope, Review: what.Review, Through: what.Through,
	}, &said)
	switch {
	case err != nil:
		return "", err
	case what.Review:
		return said.App + ": its questions are asked one by one", nil
	case len(said.Items) > 0:
		return fmt.Sprintf("%s, %s: %s", said.App, plural(len(said.Items), "destination"), said.Answer.Done()), nil
	}
	return fmt.Sprintf("%s, %s: %s", said.App, said.Answer.Dest, said.Answer.Done()), nil
}

// End ends a connection.
func (d *Daemon) End(ctx context.Context, f Flow) (string, error) {
	if err := d.call(ctx, api.OpEnd, api.FlowEnd{Jail: f.Jail, ID: f.ID}, nil); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: the connection %s is ended", f.App, endpoint(&f)), nil
}

// Stop ends everything in a jail.
func (d *Daemon) Stop(ctx context.Context, j Jail) (string, error) {
	if err := d.call(ctx, api.OpStop, api.JailStop{Jail: j.ID}, nil); err != nil {
		return "", err
	}
	return j.App + " is told to stop; what has not stopped in 5 s is killed", nil
}

// Remove removes a rule.
func (d *Daemon) Remove(ctx context.Context, r Rule) (string, error) {
	var gone api.RuleList
	if err := d.call(ctx, api.OpRulesRemove, api.RuleFilter{ID: r.ID, App: r.App}, &gone); err != nil {
		return "", err
	}
	return fmt.Sprintf("removed: %s %s %s", r.App, r.Verdict, r.Dest), nil
}

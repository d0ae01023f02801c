package desktop

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

// showing is a question that is being asked. The fields below wake are guarded
// by Prompter.mu; those of them that only Ask's goroutine changes, it reads
// without.
type showing struct {
	can       abilities
	page      menu
	complaint string // about what a person typed into it
	wake      chan struct{}

	q    notifier.Question // as it is now
	news bool              // q may look different from what is on the screen

	// Where it is shown. Signals count from there only.
	link   *link
	owner  string
	lost   bool // the owner is
	events []event

	// What is there, and what was there just before. They change when Notify
	// returns; while it runs, what it puts there has no id yet.
	now, before drawn
	drawing     bool
	keys        map[string]button // of the page, by action key: those that count
}

// drawn is what one Notify has put on the screen.
type drawn struct {
	id    uint32        // 0: nothing is there
	since dbus.Sequence // of the answer to Notify
	at    time.Time
	why   reason
	q     notifier.Question
	look  notification
}

// reason is why a notification is drawn.
type reason int

const (
	opened  reason = iota
	updated        // the question has changed
	turned         // a person went to another page
	revived        // the server took it down with the page before
)

// show asks at the present notification service.
func (p *Prompter) show(ctx context.Context, s *showing, l *link, owner string) (notifier.Answer, error) {
	can, err := p.examine(ctx, l, owner)
	if err != nil {
		return notifier.Answer{}, err
	}
	p.attach(s, l, owner, can)
	defer p.takeDown(s)
	for why := opened; ; {
		if err := p.draw(s, why); err != nil && (why != updated || isLost(err)) {
			return notifier.Answer{}, err
		} else if err != nil {
			p.log.Debug("update notification", "id", s.now.q.ID, "err", err)
		}
		e, err := p.await(ctx, s)
		if err != nil {
			return notifier.Answer{}, err
		}
		switch e.what {
		case nothing:
			why = updated
		case undone:
			why = revived
		case closedByUser:
			return dismissed(e.on), nil
		case closed:
			return notifier.Answer{}, fmt.Errorf("notification closed: %w", notifier.ErrDismissed)
		case pressed:
			if e.button.final {
				return e.button.answer, nil
			}
			s.page, s.complaint, why = e.button.to, "", turned
		case replied:
			c, err := e.on.ParseAnswer(strings.Fields(e.text))
			if err == nil {
				c.Answer.By = byDesktop
				return c.Answer, nil
			}
			s.complaint, why = err.Error(), turned
		}
	}
}

// attach makes signals of a service count for s: they may arrive before Notify
// returns.
func (p *Prompter) attach(s *showing, l *link, owner string, can abilities) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.can, s.link, s.owner, s.lost = can, l, owner, l.owner != owner
	s.events, s.keys, s.now, s.before = nil, nil, drawn{}, drawn{}
}

// draw puts the page on the screen, in place of what is there.
func (p *Prompter) draw(s *showing, why reason) error {
	p.mu.Lock()
	q, at := s.q, time.Now()
	n := build(q, s.can, s.page, s.complaint, at)
	if why == updated && s.can.sound {
		n.hints["suppress-sound"] = dbus.MakeVariant(true)
	}
	if why != updated {
		s.keys = nil // what was pressed too late must not be read as this page's
	}
	actions := s.actionsLocked(n.buttons)
	s.news, s.drawing = false, true
	replaces := s.now.id
	p.mu.Unlock()
	id, since, err := p.notify(s.link, s.owner, replaces, n, actions)
	p.mu.Lock()
	defer p.mu.Unlock()
	s.drawing = false
	if err != nil {
		s.news, s.now.at = true, at // an update is tried again
		return err
	}
	s.before, s.now = s.now, drawn{id, since, at, why, q, n}
	return nil
}

// actionsLocked returns the actions of buttons as Notify takes them, key, label,
// key, label. A button that does what it did keeps its key: it may be pressed
// while it is drawn anew.
func (s *showing) actionsLocked(buttons []button) []string {
	actions := []string{}
	keys := make(map[button]string, len(s.keys))
	for k, b := range s.keys {
		keys[b] = k
	}
	for _, b := range buttons {
		key, ok := keys[b]
		if !ok {
			key = randomKey()
		}
		keys[b] = key
		actions = append(actions, key, plain(b.label))
	}
	s.keys = make(map[string]button, len(keys))
	for b, k := range keys {
		s.keys[k] = b
	}
	if s.can.reply && s.page.page == front {
		actions = append(actions, replyKey, "Type an answer…")
	}
	return actions
}

// await waits for something to do about what is on the screen; nothing means
// that it must be drawn anew.
func (p *Prompter) await(ctx context.Context, s *showing) (event, error) {
	for {
		e, due, err := p.next(s)
		if err != nil || e.what != nothing {
			return e, err
		}
		var timer <-chan time.Time
		if !due.IsZero() {
			left := time.Until(due)
			if left <= 0 {
				return event{}, nil
			}
			timer = time.After(left)
		}
		select {
		case <-s.wake:
		case <-timer:
		case <-ctx.Done():
			return event{}, context.Cause(ctx)
		case <-s.link.lost():
			return event{}, errBusLost
		}
	}
}

// next takes the oldest event that means something. If there is none, due is
// when the notification is to be drawn anew, if it is.
func (p *Prompter) next(s *showing) (e event, due time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(s.events) > 0 {
		e, s.events = s.events[0], s.events[1:]
		if e = s.judge(e, time.Now(), p.pace.hasty); e.what == nothing {
			continue
		}
		if !e.was && (e.what == closed || e.what == closedByUser || e.what == undone) {
			s.now.id = 0
		}
		if s.can.actions {
			return e, due, nil
		}
		// A notice without buttons stays a notice: it is not answered by closing it.
	}
	if s.lost {
		return event{}, due, errOwnerLost
	}
	if s.news && !s.looksNew() {
		s.news = false
	}
	if s.news && s.now.id != 0 {
		due = s.now.at.Add(p.pace.update)
	}
	return event{}, due, nil
}

// judge says what an event means for s. Its last line of defence against
// signals about what is not on the screen any more is their order: what comes
// before the answer to Notify is about what was there before.
//
// Most servers take a notification down when a button of it is pressed, which
// says nothing about the page that the button opens. Some may do so a moment
// later and so take that page down: within hasty, nobody can have read it.
func (s *showing) judge(e event, now time.Time, hasty time.Duration) event {
	on := s.now
	if e.id == s.before.id && e.seq < s.now.since {
		on, e.was = s.before, true
	}
	if e.id != on.id || on.id == 0 {
		return event{}
	}
	e.on = on.q
	switch e.what {
	case pressed:
		b, ok := s.keys[e.text]
		if !ok {
			return event{}
		}
		e.button = b
	case replied:
		if !s.can.reply || s.page.page != front || e.was && s.now.why == turned {
			return event{}
		}
	case closed, closedByUser:
		page := s.now.why == turned || s.now.why == revived
		if e.was && page {
			return event{}
		}
		if s.now.why == turned && now.Sub(s.now.at) < hasty {
			e.what = undone
		}
	}
	return e
}

// looksNew says whether the question would look different now. That less time
// is left is no reason to draw it again.
func (s *showing) looksNew() bool {
	q, old := s.q, s.now.q
	q.Deadline, old.Deadline = time.Time{}, time.Time{}
	look := func(q notifier.Question) notification { return build(q, s.can, s.page, s.complaint, s.now.at) }
	return !look(q).sameAs(look(old))
}

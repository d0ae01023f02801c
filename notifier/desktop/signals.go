package desktop

import (
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

const (
	service       = "org.freedesktop.Notifications"
	path          = dbus.ObjectPath("/org/freedesktop/Notifications")
	busName       = "org.freedesktop.DBus"
	closeReasonBy = uint32(2) // NotificationClosed: dismissed by the user

	// maxEvents bounds what is kept until Notify has told the id.
	maxEvents = 64

	// maxReply is longer than any answer in words.
	maxReply = 256
)

// occurrence is what can happen to a notification on the screen.
type occurrence int

const (
	nothing      occurrence = iota
	pressed                 // a button
	replied                 // a text was typed into it
	closedByUser            //
	closed                  // expired, or removed by the server
	undone                  // removed by the server for what was pressed before
)

// event is a signal of the notification service.
type event struct {
	id   uint32
	what occurrence
	text string // of pressed the action key, of replied what was typed
	seq  dbus.Sequence

	// What showing.judge finds out.
	on     notifier.Question // what was on the screen
	was    bool              // before what is there now
	button button            // of pressed
}

// signals hands what the bus sends to p. It runs on the connection's reader,
// so that no signal overtakes another, and never blocks.
type signals struct {
	p *Prompter
	l *link
}

var _ dbus.SignalHandler = signals{}

// DeliverSignal implements dbus.SignalHandler.
func (s signals) DeliverSignal(iface, name string, sig *dbus.Signal) {
	switch {
	case iface == busName && name == "NameOwnerChanged" && sig.Sender == busName:
		if owner, ok := newOwner(sig.Body); ok {
			s.p.setOwner(s.l, owner)
		}
	case iface == service && sig.Path == path:
		if e, ok := parseEvent(name, sig.Body); ok {
			e.seq = sig.Sequence
			s.p.deliver(s.l, sig.Sender, e)
		}
	}
}

// newOwner reads the arguments of NameOwnerChanged about our service.
func newOwner(body []any) (owner string, ok bool) {
	if len(body) != 3 {
		return "", false
	}
	if name, _ := body[0].(string); name != service {
		return "", false
	}
	owner, ok = body[2].(string)
	return owner, ok
}

// parseEvent reads a signal of the notification service.
func parseEvent(name string, body []any) (event, bool) {
	if len(body) != 2 {
		return event{}, false
	}
	id, ok := body[0].(uint32)
	if !ok || id == 0 {
		return event{}, false
	}
	switch name {
	case "ActionInvoked":
		key, ok := body[1].(string)
		return event{id: id, what: pressed, text: key}, ok
	case "NotificationReplied":
		text, ok := body[1].(string)
		return event{id: id, what: replied, text: text}, ok && len(text) <= maxReply
	case "NotificationClosed":
		reason, ok := body[1].(uint32)
		if reason == closeReasonBy {
			return event{id: id, what: closedByUser}, ok
		}
		return event{id: id, what: closed}, ok
	}
	return event{}, false
}

// deliver gives an event to the notifications it may belong to.
func (p *Prompter) deliver(l *link, sender string, e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sender == "" || sender != l.owner {
		p.log.Debug("notification signal ignored: not from the notification service", "sender", sender)
		return
	}
	for s := range p.showing {
		if s.link != l || s.owner != sender || !s.concerns(e) {
			continue
		}
		if len(s.events) >= maxEvents {
			s.events = slices.Delete(s.events, 0, 1)
		}
		s.events = append(s.events, e)
		s.poke()
	}
}

// concerns says whether an event may be about s, whose id is not known while
// it is drawn.
func (s *showing) concerns(e event) bool {
	if _, ours := s.keys[e.text]; e.what == pressed && !ours {
		return false
	}
	return s.drawing || e.id == s.now.id || e.id == s.before.id
}

// setOwner notes who owns the service's name now.
func (p *Prompter) setOwner(l *link, owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.seen++
	p.setOwnerLocked(l, owner)
}

func (p *Prompter) setOwnerLocked(l *link, owner string) {
	if l.owner == owner {
		return
	}
	l.owner = owner
	close(l.changed)
	l.changed = make(chan struct{})
	for s := range p.showing {
		if s.link == l && s.owner != owner {
			s.lost = true
			s.poke()
		}
	}
}

func (s *showing) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

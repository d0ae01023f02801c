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
)

// occurrence is what can happen to a notification on the screen.
type occurrence int

const (
	nothing      occurrence = iota
	pressed                 // a button
	closedByUser            //
	closed                  // expired, or removed by the server
	lost                    // its server has gone
)

// event is a signal of the notification service.
type event struct {
	id   uint32
	what occurrence
	key  string // of pressed
}

// showing is one notification on the screen. The fields below wake are guarded
// by Prompter.mu.
type showing struct {
	owner   string
	answers map[string]notifier.Answer
	wake    chan struct{}

	id     uint32 // 0 until Notify has returned
	events []event
	gone   bool // nothing is on the screen any more
	lost   bool // the owner has
}

// register makes signals count for a notification that is about to be shown:
// they may arrive before Notify returns.
func (p *Prompter) register(owner string, answers map[string]notifier.Answer) *showing {
	s := &showing{owner: owner, answers: answers, wake: make(chan struct{}, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.lost = p.owner != owner
	p.showing[s] = struct{}{}
	return s
}

func (p *Prompter) unregister(s *showing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.showing, s)
}

// next takes the oldest event of s.
func (p *Prompter) next(s *showing) (occurrence, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(s.events) > 0 {
		e := s.events[0]
		s.events = s.events[1:]
		if e.id != s.id {
			continue
		}
		if e.what != pressed {
			s.gone = true
		}
		return e.what, e.key
	}
	if s.lost {
		s.gone = true
		return lost, ""
	}
	return nothing, ""
}

// signals hands what the bus sends to p. It runs on the connection's reader,
// so that no signal overtakes another, and never blocks.
type signals struct{ p *Prompter }

var _ dbus.SignalHandler = signals{}

// DeliverSignal implements dbus.SignalHandler.
func (s signals) DeliverSignal(iface, name string, sig *dbus.Signal) {
	switch {
	case iface == busName && name == "NameOwnerChanged" && sig.Sender == busName:
		if owner, ok := newOwner(sig.Body); ok {
			s.p.setOwner(owner)
		}
	case iface == service && sig.Path == path:
		if e, ok := parseEvent(name, sig.Body); ok {
			s.p.deliver(sig.Sender, e)
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
		return event{id, pressed, key}, ok
	case "NotificationClosed":
		reason, ok := body[1].(uint32)
		if reason == closeReasonBy {
			return event{id, closedByUser, ""}, ok
		}
		return event{id, closed, ""}, ok
	}
	return event{}, false
}

// deliver gives an event to the notifications it may belong to.
func (p *Prompter) deliver(sender string, e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sender == "" || sender != p.owner {
		p.log.Debug("notification signal ignored: not from the notification service", "sender", sender)
		return
	}
	for s := range p.showing {
		if s.owner != sender || (s.id != 0 && s.id != e.id) {
			continue
		}
		if _, ours := s.answers[e.key]; e.what == pressed && !ours {
			continue
		}
		if len(s.events) >= maxEvents {
			s.events = slices.Delete(s.events, 0, 1)
		}
		s.events = append(s.events, e)
		s.poke()
	}
}

// setOwner notes who owns the service's name now.
func (p *Prompter) setOwner(owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	p.setOwnerLocked(owner)
}

func (p *Prompter) setOwnerLocked(owner string) {
	if p.owner == owner {
		return
	}
	p.owner = owner
	close(p.changed)
	p.changed = make(chan struct{})
	for s := range p.showing {
		if s.owner != owner {
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

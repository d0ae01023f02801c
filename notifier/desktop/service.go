package desktop

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

// D-Bus errors that say the other side is not there.
const (
	errNameHasNoOwner = "org.freedesktop.DBus.Error.NameHasNoOwner"
	errServiceUnknown = "org.freedesktop.DBus.Error.ServiceUnknown"
	errNoReply        = "org.freedesktop.DBus.Error.NoReply"
)

// call makes a bounded call and returns it with its answer.
func (p *Prompter) call(ctx context.Context, l *link, dest string, at dbus.ObjectPath, method string, args ...any) (*dbus.Call, error) {
	ctx, cancel := context.WithTimeout(ctx, p.pace.call)
	defer cancel()
	c := l.conn.Object(dest, at).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if c.Err != nil {
		return nil, fmt.Errorf("%s: %w", method, c.Err)
	}
	return c, nil
}

// callBus calls the bus itself.
func (p *Prompter) callBus(ctx context.Context, l *link, method string, args ...any) ([]any, error) {
	c, err := p.call(ctx, l, busName, "/org/freedesktop/DBus", busName+"."+method, args...)
	if err != nil {
		return nil, err
	}
	return c.Body, nil
}

// findOwner returns the unique name of the notification service, and starts
// the service if the bus knows how.
func (p *Prompter) findOwner(ctx context.Context, l *link) (string, error) {
	owner, err := p.lookUp(ctx, l)
	if err == nil && owner == "" {
		if _, err = p.callBus(ctx, l, "StartServiceByName", service, uint32(0)); err == nil {
			owner, err = p.lookUp(ctx, l)
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case !l.conn.Connected():
		return "", errBusLost
	case err != nil:
		return "", fmt.Errorf("no notification service: %w: %w", err, notifier.ErrNobody)
	case owner == "":
		return "", fmt.Errorf("no notification service: %w", notifier.ErrNobody)
	}
	return owner, p.vet(ctx, l, owner)
}

// lookUp asks the bus who owns the service's name now, "" if nobody.
func (p *Prompter) lookUp(ctx context.Context, l *link) (string, error) {
	p.mu.Lock()
	seen := l.seen
	p.mu.Unlock()
	body, err := p.callBus(ctx, l, "GetNameOwner", service)
	owner := ""
	switch {
	case isDBusError(err, errNameHasNoOwner):
	case err != nil:
		return "", err
	case len(body) == 1:
		owner, _ = body[0].(string)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.seen == seen { // else a signal has told something newer
		p.setOwnerLocked(l, owner)
	}
	return l.owner, nil
}

// vet runs the check of Trust on the owner.
func (p *Prompter) vet(ctx context.Context, l *link, owner string) error {
	p.mu.Lock()
	trust := p.trust
	p.mu.Unlock()
	if trust == nil {
		return nil
	}
	body, err := p.callBus(ctx, l, "GetConnectionUnixProcessID", owner)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !l.conn.Connected():
		return errBusLost
	case isDBusError(err, errNameHasNoOwner):
		return errOwnerLost
	default:
		return err
	}
	if len(body) == 1 {
		if pid, ok := body[0].(uint32); ok && pid != 0 && trust(int(pid)) {
			return nil
		}
	}
	return fmt.Errorf("notification service %s is not trusted: %w", owner, notifier.ErrNobody)
}

// waitOwner waits until there is a notification service, and returns it.
func (p *Prompter) waitOwner(ctx context.Context, l *link) (string, error) {
	for {
		p.mu.Lock()
		changed := l.changed
		p.mu.Unlock()
		owner, err := p.findOwner(ctx, l)
		switch {
		case errors.Is(err, errOwnerLost):
			continue
		case !errors.Is(err, notifier.ErrNobody):
			return owner, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-l.lost():
			return "", errBusLost
		}
	}
}

// examine asks the service what it can do.
func (p *Prompter) examine(ctx context.Context, l *link, owner string) (abilities, error) {
	c, err := p.call(ctx, l, owner, path, service+".GetCapabilities")
	if err != nil {
		return abilities{}, explain(ctx, l, err)
	}
	var names []string
	ok := len(c.Body) == 1
	if ok {
		names, ok = c.Body[0].([]string)
	}
	if !ok {
		return abilities{}, fmt.Errorf("%s.GetCapabilities: unexpected answer: %w", service, notifier.ErrNobody)
	}
	name := ""
	if c, err := p.call(ctx, l, owner, path, service+".GetServerInformation"); err == nil && len(c.Body) > 0 {
		name, _ = c.Body[0].(string)
	}
	return parseAbilities(names, name), nil
}

// notify puts n on the screen in place of the notification with that id, and
// returns its id and the message that told it. It does not end with the
// question: the id must be known to take the notification down.
func (p *Prompter) notify(l *link, owner string, replaces uint32, n notification, actions []string) (uint32, dbus.Sequence, error) {
	ctx := context.Background()
	c, err := p.call(ctx, l, owner, path, service+".Notify",
		appName, replaces, n.icon, n.summary, n.body, actions, n.hints, n.timeout)
	if err != nil {
		return 0, 0, explain(ctx, l, err)
	}
	if len(c.Body) == 1 {
		if id, ok := c.Body[0].(uint32); ok && id != 0 {
			return id, c.ResponseSequence, nil
		}
	}
	return 0, 0, fmt.Errorf("%s.Notify: unexpected answer: %w", service, notifier.ErrNobody)
}

// takeDown removes s from the screen, unless it is gone. Nobody waits for the
// answer: there is nothing to do about a failure.
func (p *Prompter) takeDown(s *showing) {
	p.mu.Lock()
	gone := s.now.id == 0 || s.lost
	p.mu.Unlock()
	if gone {
		return
	}
	flags := dbus.FlagNoReplyExpected | dbus.FlagNoAutoStart
	if c := s.link.conn.Object(s.owner, path).Go(service+".CloseNotification", flags, nil, s.now.id); c.Err != nil {
		p.log.Debug("close notification", "err", c.Err)
	}
}

// explain sorts the errors of a call to the service. One that does not work
// reaches nobody.
func explain(ctx context.Context, l *link, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !l.conn.Connected():
		return errBusLost
	case isDBusError(err, errServiceUnknown, errNameHasNoOwner, errNoReply):
		return errOwnerLost
	}
	return fmt.Errorf("%w: %w", err, notifier.ErrNobody)
}

func isDBusError(err error, names ...string) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, n := range names {
		if e.Name == n {
			return true
		}
	}
	return false
}

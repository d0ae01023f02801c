package desktop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

// D-Bus errors that say the other side is not there.
const (
	errNameHasNoOwner = "org.freedesktop.DBus.Error.NameHasNoOwner"
	errServiceUnknown = "org.freedesktop.DBus.Error.ServiceUnknown"
	errNoReply        = "org.freedesktop.DBus.Error.NoReply"
)

// connect opens, authenticates and subscribes the connection. It does not let
// godbus dial: that would accept file descriptors from anybody on the bus and
// never close them, and would run programs for some kinds of address.
func (p *Prompter) connect(ctx context.Context, address string) error {
	raw, err := dialUnix(ctx, address)
	if err != nil {
		return fmt.Errorf("%w: %w", err, notifier.ErrNobody)
	}
	deadline, _ := ctx.Deadline()
	raw.SetDeadline(deadline)
	p.conn, err = dbus.NewConn(newWire(raw), dbus.WithSignalHandler(signals{p}))
	if err != nil {
		raw.Close()
		return err
	}
	if err := p.handshake(ctx); err != nil {
		p.conn.Close()
		return err
	}
	return raw.SetReadDeadline(time.Time{})
}

// handshake authenticates, and subscribes before anything can be missed.
func (p *Prompter) handshake(ctx context.Context) error {
	if err := p.conn.Auth(nil); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	if err := p.conn.Hello(); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	err := p.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(busName),
		dbus.WithMatchInterface(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service))
	if err != nil {
		return fmt.Errorf("subscribe to owner changes: %w", err)
	}
	err = p.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service),
		dbus.WithMatchInterface(service), dbus.WithMatchObjectPath(path))
	if err != nil {
		return fmt.Errorf("subscribe to notification signals: %w", err)
	}
	return nil
}

// dialUnix connects to the first unix socket of a D-Bus address that answers.
func dialUnix(ctx context.Context, address string) (net.Conn, error) {
	err := errors.New("no unix socket in the address")
	for part := range strings.SplitSeq(address, ";") {
		name := unixName(part)
		if name == "" {
			continue
		}
		var conn net.Conn
		var d net.Dialer
		if conn, err = d.DialContext(ctx, "unix", name); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// unixName returns the socket's name in one D-Bus address, "" if it has none.
func unixName(address string) string {
	list, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return ""
	}
	for kv := range strings.SplitSeq(list, ",") {
		k, v, _ := strings.Cut(kv, "=")
		if v, err := dbus.UnescapeBusAddressValue(v); err == nil && v != "" {
			switch k {
			case "path":
				return v
			case "abstract":
				return "@" + v
			}
		}
	}
	return ""
}

// call makes a bounded call and returns what it answers.
func (p *Prompter) call(ctx context.Context, dest string, at dbus.ObjectPath, method string, args ...any) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	c := p.conn.Object(dest, at).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if c.Err != nil {
		return nil, fmt.Errorf("%s: %w", method, c.Err)
	}
	return c.Body, nil
}

// callBus calls the bus itself.
func (p *Prompter) callBus(ctx context.Context, method string, args ...any) ([]any, error) {
	return p.call(ctx, busName, "/org/freedesktop/DBus", busName+"."+method, args...)
}

// findOwner returns the unique name of the notification service, and starts
// the service if the bus knows how.
func (p *Prompter) findOwner(ctx context.Context) (string, error) {
	owner, err := p.lookUp(ctx)
	if err == nil && owner == "" {
		if _, err = p.callBus(ctx, "StartServiceByName", service, uint32(0)); err == nil {
			owner, err = p.lookUp(ctx)
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case p.conn.Context().Err() != nil:
		return "", errBusLost
	case err != nil:
		return "", fmt.Errorf("no notification service: %w: %w", err, notifier.ErrNobody)
	case owner == "":
		return "", fmt.Errorf("no notification service: %w", notifier.ErrNobody)
	}
	return owner, p.vet(ctx, owner)
}

// lookUp asks the bus who owns the service's name now, "" if nobody.
func (p *Prompter) lookUp(ctx context.Context) (string, error) {
	p.mu.Lock()
	seen := p.seen
	p.mu.Unlock()
	body, err := p.callBus(ctx, "GetNameOwner", service)
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
	if p.seen == seen { // else a signal has told something newer
		p.setOwnerLocked(owner)
	}
	return p.owner, nil
}

// vet runs the check of Trust on the owner.
func (p *Prompter) vet(ctx context.Context, owner string) error {
	p.mu.Lock()
	trust := p.trust
	p.mu.Unlock()
	if trust == nil {
		return nil
	}
	body, err := p.callBus(ctx, "GetConnectionUnixProcessID", owner)
	if isDBusError(err, errNameHasNoOwner) {
		return errOwnerLost
	}
	if err != nil {
		return err
	}
	if len(body) == 1 {
		if pid, ok := body[0].(uint32); ok && pid != 0 && trust(int(pid)) {
			return nil
		}
	}
	return fmt.Errorf("notification service %s is not trusted: %w", owner, notifier.ErrNobody)
}

// waitOwner waits until there is a notification service.
func (p *Prompter) waitOwner(ctx context.Context) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		_, err := p.findOwner(ctx)
		switch {
		case errors.Is(err, errOwnerLost):
			continue
		case !errors.Is(err, notifier.ErrNobody):
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.Done():
			return errBusLost
		}
	}
}

// capabilities asks the service what it can do.
func (p *Prompter) capabilities(ctx context.Context, owner string) (capabilities, error) {
	body, err := p.call(ctx, owner, path, service+".GetCapabilities")
	if err != nil {
		return capabilities{}, p.explain(ctx, err)
	}
	if len(body) == 1 {
		if names, ok := body[0].([]string); ok {
			return parseCapabilities(names), nil
		}
	}
	return capabilities{}, fmt.Errorf("%s.GetCapabilities: unexpected answer: %w", service, notifier.ErrNobody)
}

// notify puts n on the screen. It does not end with the question: the
// notification's id must be known to take it down.
func (p *Prompter) notify(s *showing, n notification) error {
	ctx := context.Background()
	body, err := p.call(ctx, s.owner, path, service+".Notify",
		appName, uint32(0), n.icon, n.summary, n.body, n.actions, n.hints, n.timeout)
	if err != nil {
		return p.explain(ctx, err)
	}
	if len(body) == 1 {
		if id, ok := body[0].(uint32); ok && id != 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			s.id = id
			return nil
		}
	}
	return fmt.Errorf("%s.Notify: unexpected answer: %w", service, notifier.ErrNobody)
}

// takeDown removes s from the screen, unless it is gone. Nobody waits for the
// answer: there is nothing to do about a failure.
func (p *Prompter) takeDown(s *showing) {
	p.mu.Lock()
	gone := s.gone || s.lost
	p.mu.Unlock()
	if gone {
		return
	}
	flags := dbus.FlagNoReplyExpected | dbus.FlagNoAutoStart
	if c := p.conn.Object(s.owner, path).Go(service+".CloseNotification", flags, nil, s.id); c.Err != nil {
		p.log.Debug("close notification", "err", c.Err)
	}
}

// explain sorts the errors of a call to the service. One that does not work
// reaches nobody.
func (p *Prompter) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.conn.Context().Err() != nil:
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

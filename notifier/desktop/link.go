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

// link is one connection to the bus. The fields below conn are guarded by
// Prompter.mu.
type link struct {
	conn *dbus.Conn

	owner   string        // unique name of the notification service, "" if none
	seen    uint64        // counts NameOwnerChanged
	changed chan struct{} // closed and replaced when owner changes
}

// lost is closed when the connection is lost or closed.
func (l *link) lost() <-chan struct{} { return l.conn.Context().Done() }

// connect returns the connection to the bus, a new one if that is lost. There
// is only ever one.
func (p *Prompter) connect(ctx context.Context) (*link, error) {
	select {
	case p.dialing <- struct{}{}:
		defer func() { <-p.dialing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	l, closed := p.link, p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case l != nil && l.conn.Connected():
		return l, nil
	}
	l, err := p.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("dial session bus: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.conn.Close()
		return nil, errClosed
	}
	p.link = l
	return l, nil
}

// dial opens, authenticates and subscribes a connection. It does not let
// godbus dial: that would accept file descriptors from anybody on the bus and
// never close them, and would run programs for some kinds of address.
func (p *Prompter) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, p.pace.call)
	defer cancel()
	raw, err := dialUnix(ctx, p.address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, notifier.ErrNobody)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	l := &link{changed: make(chan struct{})}
	l.conn, err = dbus.NewConn(newWire(raw), dbus.WithSignalHandler(signals{p, l}))
	if err != nil {
		raw.Close()
		return nil, err
	}
	if err = l.handshake(ctx); err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		l.conn.Close()
		return nil, fmt.Errorf("%w: %w", err, notifier.ErrNobody)
	}
	return l, nil
}

// handshake authenticates, and subscribes before anything can be missed.
func (l *link) handshake(ctx context.Context) error {
	if err := l.conn.Auth(nil); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	if err := l.conn.Hello(); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	err := l.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(busName),
		dbus.WithMatchInterface(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service))
	if err != nil {
		return fmt.Errorf("subscribe to owner changes: %w", err)
	}
	err = l.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service),
		dbus.WithMatchInterface(service), dbus.WithMatchObjectPath(path))
	if err != nil {
		return fmt.Errorf("subscribe to notification signals: %w", err)
	}
	return nil
}

// reach returns the notification service. If that has been lost, it is waited
// for: until ctx ends, but for the bus not longer than it may be away.
func (p *Prompter) reach(ctx context.Context, again bool) (*link, string, error) {
	if !again {
		l, err := p.connect(ctx)
		if err != nil {
			return nil, "", err
		}
		owner, err := p.findOwner(ctx, l)
		return l, owner, err
	}
	end, pause := time.Now().Add(p.pace.away), p.pace.retry
	for {
		l, err := p.connect(ctx)
		if err == nil {
			owner, err := p.waitOwner(ctx, l)
			if !errors.Is(err, errBusLost) {
				return l, owner, err
			}
			end = time.Now().Add(p.pace.away)
		}
		left := time.Until(end)
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case errors.Is(err, errClosed):
			return nil, "", err
		case left <= 0:
			return nil, "", fmt.Errorf("bus does not come back: %w: %w", err, notifier.ErrNobody)
		}
		select {
		case <-time.After(min(pause, left)):
		case <-ctx.Done():
		case <-p.done:
		}
		pause = min(2*pause, p.pace.retryMax)
	}
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

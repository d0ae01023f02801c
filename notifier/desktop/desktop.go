// Package desktop asks by a desktop notification with buttons, through the
// session bus's org.freedesktop.Notifications.
//
//	p, err := desktop.Dial(ctx, os.Getenv("DBUS_SESSION_BUS_ADDRESS"), log)
//	if err != nil {
//		// no desktop: ask on the terminal only
//	}
//	defer p.Close()
//	answer, err := queue.Ask(ctx, question, []notifier.Prompter{p})
//
// A button counts only if the signal comes from the connection that was asked
// to show the question and owns the service's name; the button's key is random. A server without buttons shows the question and
// points to the terminal. The package calls nothing else on the bus, exports
// nothing to it and does not accept file descriptors from it.
package desktop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

const (
	// callTimeout bounds every call on the bus.
	callTimeout = 3 * time.Second

	// maxShows is how often one question is shown when the notification
	// service keeps restarting.
	maxShows = 5
)

var (
	errOwnerLost = errors.New("notification service has gone")
	errBusLost   = errors.New("bus connection lost")
)

// Prompter asks by notifications. It is safe for concurrent use.
type Prompter struct {
	conn    *dbus.Conn
	log     *slog.Logger
	timeout time.Duration // of a call

	mu      sync.Mutex
	owner   string        // unique name of the notification service, "" if none
	seen    uint64        // counts NameOwnerChanged
	changed chan struct{} // closed and replaced when owner changes
	showing map[*showing]struct{}
	trust   func(pid int) bool
}

var _ notifier.Prompter = (*Prompter)(nil)

// Dial connects to the bus at address, which must be a unix socket's. Without
// an address, or without a bus there, the error wraps notifier.ErrNobody. The
// notification service may come and go; it is looked for when a question is
// asked. A nil log is silent.
func Dial(ctx context.Context, address string, log *slog.Logger) (*Prompter, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if address == "" {
		return nil, fmt.Errorf("dial session bus: no address: %w", notifier.ErrNobody)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p := &Prompter{log: log, timeout: callTimeout, changed: make(chan struct{}), showing: make(map[*showing]struct{})}
	if err := p.connect(ctx, address); err != nil {
		return nil, fmt.Errorf("dial session bus: %w", err)
	}
	return p, nil
}

// Trust sets a check of the notification service: f gets the process id of
// whoever owns its name, before a question is shown there. Without a check the
// owner is trusted as it is; a jailed program that may use the session bus and
// finds the name free could own it and answer its own questions. It must be
// set before the first Ask.
func (p *Prompter) Trust(f func(pid int) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trust = f
}

// Done is closed when the connection to the bus is lost or closed. The
// prompter is of no use then.
func (p *Prompter) Done() <-chan struct{} { return p.conn.Context().Done() }

// Close closes the connection to the bus. Questions being asked give up.
func (p *Prompter) Close() error {
	if err := p.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close session bus: %w", err)
	}
	return nil
}

// Ask shows q and waits for a button. Closing the notification denies once.
// Without a notification service the error wraps notifier.ErrNobody; when the
// notification expires or the server removes it, notifier.ErrDismissed.
func (p *Prompter) Ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	if p == nil {
		return notifier.Answer{}, fmt.Errorf("no desktop: %w", notifier.ErrNobody)
	}
	for shows := 1; ; shows++ {
		a, err := p.ask(ctx, q)
		if !errors.Is(err, errOwnerLost) {
			return a, err
		}
		if shows == maxShows {
			return a, fmt.Errorf("show notification %d times: %w", shows, err)
		}
		p.log.Info("notification service has gone, waiting for a new one", "id", q.ID)
		if err := p.waitOwner(ctx); err != nil {
			return notifier.Answer{}, err
		}
	}
}

// ask shows q at the present notification service.
func (p *Prompter) ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	owner, err := p.findOwner(ctx)
	if err != nil {
		return notifier.Answer{}, err
	}
	caps, err := p.capabilities(ctx, owner)
	if err != nil {
		return notifier.Answer{}, err
	}
	n := build(q, caps, time.Now(), randomKey)
	s := p.register(owner, n.answers)
	defer p.unregister(s)
	if err := p.notify(s, n); err != nil {
		return notifier.Answer{}, err
	}
	defer p.takeDown(s)
	return p.await(ctx, s, q, caps.actions)
}

// await waits for what happens to a notification on the screen.
func (p *Prompter) await(ctx context.Context, s *showing, q notifier.Question, buttons bool) (notifier.Answer, error) {
	for {
		what, key := p.next(s)
		switch {
		case what == lost:
			return notifier.Answer{}, errOwnerLost
		case what == nothing || !buttons:
			// A notice without buttons stays a notice: it is not answered by closing it.
		case what == pressed:
			return s.answers[key], nil
		case what == closedByUser:
			return dismissed(q), nil
		case what == closed:
			return notifier.Answer{}, fmt.Errorf("notification closed: %w", notifier.ErrDismissed)
		}
		if what != nothing {
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return notifier.Answer{}, context.Cause(ctx)
		case <-p.Done():
			return notifier.Answer{}, errBusLost
		}
	}
}

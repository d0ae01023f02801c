// Package desktop asks by a desktop notification with buttons, through the
// session bus's org.freedesktop.Notifications.
//
//	p := desktop.New(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), log)
//	defer p.Close()
//	answer, err := queue.Ask(ctx, question, []notifier.Prompter{p})
//
// The front page of a notification has the answers that most people give,
// "More…" leads to the others. A button counts only if the signal comes from
// the connection that was asked to show the question and owns the service's
// name, and only as long as its page is shown; its key is random. A server
// without buttons shows the question and the command that answers it. The bus
// and the service may go away and come back under a question. The package calls
// nothing else on the bus, exports nothing to it and does not accept file
// descriptors from it.
package desktop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/netjail/netjail/notifier"
)

const (
	// callTimeout bounds every call on the bus.
	callTimeout = 3 * time.Second

	// maxShows is how often one question is shown when the bus or the
	// notification service keeps restarting.
	maxShows = 5
)

var (
	errOwnerLost = errors.New("notification service has gone")
	errBusLost   = errors.New("bus connection lost")
	errClosed    = errors.New("desktop prompter is closed")
)

// Prompter asks by notifications. It is safe for concurrent use. It connects
// when it is asked something, and again after the bus was away.
type Prompter struct {
	address string
	log     *slog.Logger
	pace    pace
	dialing chan struct{} // held while connecting
	done    chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	link    *link // nil: there has been none yet
	showing map[*showing]struct{}
	early   []notifier.Question // updates of questions that are not shown yet
	trust   func(pid int) bool
}

// pace says how long things take.
type pace struct {
	call     time.Duration // bounds a call on the bus
	retry    time.Duration // the first wait for a bus that is away; doubles
	retryMax time.Duration
	away     time.Duration // how long a bus is waited for
	update   time.Duration // between two updates of a notification
	hasty    time.Duration // see showing.judge
}

var (
	_ notifier.Prompter = (*Prompter)(nil)
	_ notifier.Updater  = (*Prompter)(nil)
)

// New returns a prompter on the bus at address, which must be a unix socket's.
// Nothing is dialed before the first question. A nil log is silent.
func New(address string, log *slog.Logger) *Prompter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Prompter{
		address: address, log: log,
		pace: pace{
			call: callTimeout, retry: 500 * time.Millisecond, retryMax: 5 * time.Second, away: 10 * time.Second,
			update: time.Second, hasty: 500 * time.Millisecond,
		},
		dialing: make(chan struct{}, 1), done: make(chan struct{}), showing: make(map[*showing]struct{}),
	}
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

// Close closes the connection to the bus. Questions being asked give up.
func (p *Prompter) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.done)
	}
	l := p.link
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	if err := l.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close session bus: %w", err)
	}
	return nil
}

// Ask shows q and waits for an answer. Closing the notification denies once.
// Without a bus or a notification service the error wraps notifier.ErrNobody;
// when the notification expires or the server removes it, notifier.ErrDismissed.
// A service that goes away once q is on the screen is waited for until ctx
// ends, a bus for some seconds, and q is shown again on the page where it was.
func (p *Prompter) Ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	if p == nil {
		return notifier.Answer{}, fmt.Errorf("no desktop: %w", notifier.ErrNobody)
	}
	s := p.begin(q)
	defer p.end(s)
	for shows := 1; ; shows++ {
		l, owner, err := p.reach(ctx, shows > 1)
		if err != nil && !isLost(err) {
			return notifier.Answer{}, err
		}
		var a notifier.Answer
		if err == nil {
			a, err = p.show(ctx, s, l, owner)
		}
		switch {
		case !isLost(err):
			return a, err
		case p.isClosed():
			return notifier.Answer{}, errClosed
		case shows == maxShows:
			return notifier.Answer{}, fmt.Errorf("show notification %d times: %w", shows, err)
		}
		p.log.Info("question is off the screen, waiting to show it again", "id", q.ID, "err", err)
	}
}

// isLost says whether a question can be shown again after an error.
func isLost(err error) bool { return errors.Is(err, errOwnerLost) || errors.Is(err, errBusLost) }

func (p *Prompter) isClosed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// maxEarly bounds the updates that are kept for questions to come.
const maxEarly = 16

// Update shows q as it is now, soon. The page stays.
func (p *Prompter) Update(q notifier.Question) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.showing {
		if s.q.ID == q.ID {
			s.q, s.news = q, true
			s.poke()
			return
		}
	}
	// It may have overtaken the question itself.
	p.early = append(p.early, q)
	p.early = p.early[max(0, len(p.early)-maxEarly):]
}

// begin makes a question one that updates are for.
func (p *Prompter) begin(q notifier.Question) *showing {
	s := &showing{q: q, wake: make(chan struct{}, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, early := range p.early {
		if early.ID == q.ID {
			s.q = early
		}
	}
	p.showing[s] = struct{}{}
	return s
}

func (p *Prompter) end(s *showing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.showing, s)
}

package jail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// link is a supervisor's connection to the daemon, made again when it breaks.
type link struct {
	s *supervisor

	mu     sync.Mutex
	client *api.Client
	closed bool
}

func newLink(s *supervisor) *link { return &link{s: s} }

// connect connects, registers the jail and takes the rules in force. A daemon
// that ends meanwhile is no reason to give up, what a daemon says is.
func (l *link) connect(ctx context.Context) error {
	for try := 1; ; try++ {
		_, err := l.get(ctx)
		var said *api.Error
		if err == nil || errors.As(err, &said) || try == retries {
			return err
		}
	}
}

// get returns a connection that is registered, to a daemon that it starts if
// there is none.
func (l *link) get(ctx context.Context) (*api.Client, error) {
	return l.reach(func() (*api.Client, error) { return api.DialOrStart(ctx, l.s.cfg.Runtime, l.event) })
}

// Between two attempts to reach a daemon again.
const (
	againFirst = 50 * time.Millisecond
	againLast  = 2 * time.Second
)

// again waits for a connection to break and makes it anew once there is a daemon,
// or rules that are changed there would not come to a jail that asks nothing. It
// starts none: until somebody does nothing changes.
func (l *link) again(c *api.Client) {
	<-c.Done()
	for wait := againFirst; ; wait = min(2*wait, againLast) {
		time.Sleep(wait)
		_, err := l.reach(func() (*api.Client, error) { return api.Dial(api.SocketPath(l.s.cfg.Runtime), l.event) })
		if err == nil || errors.Is(err, errLinkClosed) {
			return
		}
	}
}

var errLinkClosed = errors.New("the jail has ended")

// reach returns the connection there is, or the one that dial makes, registered.
func (l *link) reach(dial func() (*api.Client, error)) (*api.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLinkClosed
	}
	if l.client != nil {
		select {
		case <-l.client.Done():
		default:
			return l.client, nil
		}
		l.s.tty.drop()
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	reg := api.Registration{
		App: l.s.cfg.App, Jail: l.s.id, Command: l.s.cfg.Args,
		Terminal: l.s.tty != nil, Guard: string(l.s.guard.Kind), Covers: l.s.guard.Covers,
		Mode: l.s.cfg.mode(), Rules: l.s.policy.untilExit(),
	}
	if l.s.cfg.Ask {
		reg.Path, _ = filepath.Abs(l.s.cfg.Path) // only shown
		reg.Bus = os.Getenv("DBUS_SESSION_BUS_ADDRESS")
	}
	var snap api.Snapshot
	err = c.Ask(api.OpRegister, reg, &snap)
	if err == nil {
		err = l.s.policy.take(snap)
	}
	if err == nil {
		err = c.Listen()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	l.client = c
	go l.again(c)
	return c, nil
}

// reset ends the connection, so that the next one registers the jail anew.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.Close()
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.client != nil {
		l.client.Close()
	}
}

// event does what the daemon says without being asked.
func (l *link) event(m *api.Message) {
	switch m.Event {
	case api.EventSnapshot:
		snap, err := told[api.Snapshot](m)
		if err == nil {
			err = l.s.policy.take(snap)
		}
		if err != nil {
			l.s.line("netjail: error: the rules that the daemon sent: " + err.Error())
		}
	case api.EventQuestion:
		if q, err := told[notifier.Question](m); err == nil && l.s.tty != nil {
			l.s.tty.show(q)
		}
	case api.EventClosed:
		if c, err := told[api.Closed](m); err == nil {
			l.s.tty.take(c.Question, reason(c.Why))
		}
	case api.EventTrouble:
		if e, err := told[*api.Error](m); err == nil {
			l.s.line("netjail: error: " + e.Text)
			if e.Hint != "" {
				l.s.line("netjail: hint: " + e.Hint)
			}
		}
	case api.EventFlows, api.EventEnd, api.EventStop:
		if task, err := told[api.Task](m); err == nil {
			go l.s.traffic.perform(m.Event, task) // a listing takes its time
		}
	}
}

// reason finds the error of a text that crossed the socket.
func reason(text string) error {
	for _, err := range []error{notifier.ErrAnswered, notifier.ErrTimeout, notifier.ErrClosed} {
		if text == err.Error() {
			return err
		}
	}
	return nil
}

// retries bounds how often a question is put again after the daemon has gone.
const retries = 3

// ask puts a question and waits for the answer. A question that is lost with
// its daemon is put to the next one.
func (l *link) ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	var a notifier.Answer
	var err error
	for try := range retries {
		if try > 0 {
			select {
			case <-time.After(time.Duration(try) * 100 * time.Millisecond):
			case <-ctx.Done():
				return a, ctx.Err()
			}
		}
		var c *api.Client
		if c, err = l.get(ctx); err != nil {
			continue
		}
		if err = c.Call(ctx, api.OpAsk, q, &a); !errors.Is(err, api.ErrClosed) {
			return a, err
		}
	}
	return notifier.Answer{Verdict: rules.Deny}, err
}

// succeed names the process that will supervise the jail next.
func (l *link) succeed(pid int) error {
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	c, err := l.get(ctx)
	if err != nil {
		return err
	}
	return c.Call(ctx, api.OpSucceed, pid, nil)
}

// current returns the latest connection, or nil.
func (l *link) current() *api.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// answer answers what the daemon asked for in an event: what was answered on
// the terminal, or that something is done. Too late is no error.
func (l *link) answer(op string, v any) { _ = l.tell(op, v, 5*time.Second) }

// report tells the daemon what was decided without a question.
func (l *link) report(r api.Report) error { return l.tell(api.OpReport, r, time.Second) }

// tell tells the daemon something, if it is still there.
func (l *link) tell(op string, v any, timeout time.Duration) error {
	c := l.current()
	if c == nil {
		return api.ErrClosed
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return c.Call(ctx, op, v, nil)
}

// told decodes what the daemon sent.
func told[T any](m *api.Message) (v T, err error) {
	if err = json.Unmarshal(m.Data, &v); err != nil {
		err = fmt.Errorf("decode %s: %w", m.Event, err)
	}
	return v, err
}

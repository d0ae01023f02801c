package terminal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/notifier"
)

// session is one question, from when it waits for its turn.
type session struct {
	*Prompter
	w    waker
	keys keys
	free bool // the terminal was, at the last look

	newest notifier.Question // guarded by mu

	// What is on the screen.
	q      notifier.Question // the question as it was drawn last
	scope  notifier.Scope    // what its keys are about
	size   size              // of the terminal, when it was drawn
	drawn  time.Time         // when; zero: never
	on     bool              // it is, unless a program has printed over it
	opens  time.Time         // when keys begin to count
	shown  bool              // keys count
	seen   size              // of the terminal, at the last look
	seenAt time.Time         // since when

	// For the next drawing.
	echo string // the key that asked for it
	help bool
}

func (s *session) start() error {
	w, err := newWaker()
	if err != nil {
		return err
	}
	s.w = w
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = &s.w
	return nil
}

func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = nil
	s.w.close()
}

// run shows the question whenever the terminal is free, until it is answered
// or ctx ends.
func (s *session) run(ctx context.Context) (notifier.Answer, error) {
	for {
		if ctx.Err() != nil {
			s.leave("", closing(context.Cause(ctx), s.latest(), time.Now()))
			return notifier.Answer{}, context.Cause(ctx)
		}
		if err := s.look(); err != nil {
			s.leave("", "")
			return notifier.Answer{}, s.explain(err)
		}
		key, ok, err := s.key()
		if err != nil {
			s.leave("", "")
			return notifier.Answer{}, s.explain(err)
		}
		if !ok || ctx.Err() != nil {
			continue
		}
		if c, found := choose(s.q, s.scope, key); found {
			c.Answer.By = "terminal"
			if key == keyEOF {
				key = 'd'
			}
			s.leave(string(key), done(s.q, c))
			return c.Answer, nil
		}
		s.again(key)
	}
}

// again has the question drawn anew because of a key that does not answer it:
// the person may have lost it among what programs print.
func (s *session) again(key byte) {
	s.on, s.shown = false, false
	switch {
	case key == keyScope && len(s.q.Scopes()) > 1:
		s.scope = nextScope(s.q, s.scope)
		s.echo = string(key)
	case key == keyHelp:
		s.help = true
		s.echo = string(key)
	}
}

// latest is the question as it is now.
func (s *session) latest() notifier.Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// key waits for a key, for the next tick or for something new.
func (s *session) key() (key byte, ok bool, err error) {
	var events int16
	if s.shown {
		events = unix.POLLIN
	}
	revents, woken, err := s.tty.poll(events, s.w.fd, tick)
	if err != nil {
		return 0, false, err
	}
	if woken {
		s.w.drain()
		return 0, false, nil
	}
	if revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		return 0, false, errHangup
	}
	if revents&unix.POLLIN == 0 {
		return 0, false, nil
	}
	return s.read()
}

// read takes the key that was typed, if the terminal is still ours.
func (s *session) read() (key byte, ok bool, err error) {
	s.mu.Lock()
	free, err := s.acquireLocked()
	ours := free && !s.redraw
	s.mu.Unlock()
	if err != nil || !ours {
		return 0, false, err
	}
	burst, err := s.tty.readBurst(s.w.fd, quiet)
	if errors.Is(err, unix.EIO) { // no longer the foreground, or hung up: the next look tells
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	key, ok = s.keys.stroke(burst)
	if !ok {
		s.opts.Log.Debug("input ignored", "id", s.q.ID, "bytes", len(burst))
	}
	return key, ok, nil
}

// leave takes the question down: it ends its line with the key, says why, and
// gives the terminal back.
func (s *session) leave(key, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		s.left = time.Now()
	}
	if !s.drawn.IsZero() && why != "" && s.oursLocked() {
		why = strings.Join(wrap("netjail: "+why, max(s.size.width, minWidth)), "\n")
		_, err := s.tty.write(key+"\n"+why+"\n", s.w.fd, 0)
		if err != nil {
			s.opts.Log.Debug("close terminal prompt", "err", err)
		}
	}
	s.restoreLocked()
}

// closing says why a question was closed before it was answered here.
func closing(cause error, q notifier.Question, now time.Time) string {
	switch {
	case errors.Is(cause, notifier.ErrTimeout), !q.Deadline.IsZero() && !now.Before(q.Deadline):
		return "not answered in time: denied, no rule written"
	case errors.Is(cause, notifier.ErrAnswered):
		return "answered elsewhere"
	}
	return "question closed"
}

// explain sorts the errors of the terminal.
func (s *session) explain(err error) error {
	switch {
	case errors.Is(err, errHangup), errors.Is(err, unix.EIO), !s.drawn.IsZero() && errors.Is(err, unix.ENOTTY):
		return fmt.Errorf("%w: %w", err, notifier.ErrDismissed)
	}
	return fmt.Errorf("%w: %w", err, notifier.ErrNobody)
}

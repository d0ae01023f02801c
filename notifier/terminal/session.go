package terminal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// session is the turn of one question.
type session struct {
	*Prompter
	q     notifier.Question
	w     waker
	keys  keys
	shown bool // the question is on the screen and the terminal is ours
	drawn bool // it has been on the screen
	free  bool // the terminal was, at the last look
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
			s.leave("", closing(context.Cause(ctx), s.q, time.Now()))
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
		if c, found := choose(s.q, key); found {
			c.Answer.By = "terminal"
			if key == keyEOF {
				key = 'd'
			}
			s.leave(string(key), c.Answer.Done())
			return c.Answer, nil
		}
	}
}

// choose is the choice of a key. The end of input denies once.
func choose(q notifier.Question, key byte) (notifier.Choice, bool) {
	if key == keyEOF {
		return q.Choose(rules.Deny, notifier.Host, rules.Lifetime{})
	}
	for _, o := range offers {
		if o.key == key {
			return o.choice(q)
		}
	}
	return notifier.Choice{}, false
}

// look brings the question to the screen if the terminal is free for it.
func (s *session) look() error {
	s.mu.Lock()
	free, err := s.acquireLocked()
	s.shown = s.shown && free && !s.redraw
	if free {
		s.redraw = false
	}
	s.mu.Unlock()
	if free != s.free {
		s.free = free
		s.opts.Log.Debug("terminal", "id", s.q.ID, "free", free)
	}
	if err != nil || !free || s.shown {
		return err
	}
	text := render(s.q, s.tty.columns(), !s.opts.NoColor, time.Now())
	done, err := s.tty.write(text, s.w.fd, patience)
	if err != nil || !done {
		return err // a stopped terminal, or something new: the next look draws
	}
	s.drawn = true
	// What was typed until now was not an answer to what could not be read yet.
	// Keys count when the cursor is there.
	if err := s.tty.flushInput(); err != nil {
		return err
	}
	if done, err = s.tty.write(cursor, s.w.fd, patience); err != nil || !done {
		return err
	}
	s.keys = keys{}
	s.shown = true
	s.opts.Log.Debug("question shown", "id", s.q.ID)
	return nil
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
	if s.drawn && why != "" && s.oursLocked() {
		_, err := s.tty.write(key+"\nnetjail: "+why+"\n", s.w.fd, 0)
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
	case errors.Is(err, errHangup), errors.Is(err, unix.EIO), s.drawn && errors.Is(err, unix.ENOTTY):
		return fmt.Errorf("%w: %w", err, notifier.ErrDismissed)
	}
	return fmt.Errorf("%w: %w", err, notifier.ErrNobody)
}

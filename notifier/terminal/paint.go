package terminal

import (
	"slices"
	"time"

	"github.com/netjail/netjail/notifier"
)

const (
	// calm is the least time between two drawings that nobody asked for.
	calm = time.Second

	// steady is how long the terminal's size stays the same before the question
	// is drawn for it: a window that is being dragged has many.
	steady = 200 * time.Millisecond

	// reading is how long keys do not count after the question has changed below
	// the eyes of a person whose finger may be on its way.
	reading = 300 * time.Millisecond
)

// look brings the question to the screen if the terminal is free for it, and
// then lets keys count.
func (s *session) look() error {
	now := time.Now()
	free, err := s.claim(now)
	if free != s.free {
		s.free = free
		s.opts.Log.Debug("terminal", "id", s.latest().ID, "free", free)
	}
	if err != nil || !free || s.shown {
		return err
	}
	if !s.on {
		// A terminal that is stopped, or something new: the next look draws.
		if done, err := s.draw(now); err != nil || !done {
			return err
		}
	}
	if now.Before(s.opens) {
		return nil
	}
	return s.open()
}

// claim makes the terminal ours if it is free, and finds out whether what is on
// the screen is still what should be there.
func (s *session) claim(now time.Time) (free bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err = s.acquireLocked()
	if stale := s.staleLocked(now); stale || !free || s.redraw {
		s.on, s.shown = false, false
	}
	if free {
		s.redraw = false
	}
	return free, err
}

// staleLocked says whether the question should be drawn anew for what has
// become of it, or of the terminal's size.
func (s *session) staleLocked(now time.Time) bool {
	if seen := s.tty.size(); seen != s.seen {
		s.seen, s.seenAt = seen, now
	}
	resized := s.seen != s.size && now.Sub(s.seenAt) >= steady
	return resized || changed(s.q, s.newest) && now.Sub(s.drawn) >= calm
}

// changed says whether there is more to see than there was. How many calls wait
// is not worth a drawing.
func changed(old, q notifier.Question) bool {
	return q.Last() > old.Last() || q.About != old.About ||
		!slices.Equal(q.Names, old.Names) || !slices.Equal(q.Hosts, old.Hosts) || !slices.Equal(q.Aliases, old.Aliases)
}

// draw prints the question as it is now, but not the cursor. done is false if
// it could not be printed whole.
func (s *session) draw(now time.Time) (done bool, err error) {
	s.mu.Lock()
	q, left := s.newest, s.left
	s.mu.Unlock()
	again := !s.drawn.IsZero()
	if !again {
		s.scope = firstScope(q)
	}
	s.size = s.seen
	v := view{size: s.size, color: !s.opts.NoColor, scope: s.scope, help: s.help, now: now}
	if done, err = s.tty.write(s.echo+v.render(q), s.w.fd, patience); err != nil || !done {
		return false, err
	}
	s.drawn = time.Now()
	s.opens = s.drawn
	if now.Sub(left) < calm || again && changed(s.q, q) {
		s.opens = s.drawn.Add(reading)
	}
	s.q, s.on = q, true
	s.echo, s.help = "", false
	return true, nil
}

// open prints the cursor. What was typed until now was not an answer to what
// could not be read yet: keys count when the cursor is there.
func (s *session) open() error {
	if err := s.tty.flushInput(); err != nil {
		return err
	}
	if done, err := s.tty.write(cursor, s.w.fd, patience); err != nil || !done {
		s.on = false // the cursor may be half there
		return err
	}
	s.keys = keys{}
	s.shown = true
	s.opts.Log.Debug("question shown", "id", s.q.ID)
	return nil
}

package history

import (
	"errors"
	"fmt"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// writer is what its goroutine alone touches.
type writer struct {
	db    *database // nil: not open
	batch []api.HistoryEvent
}

// run writes until the store is closed. A batch that cannot be written is kept
// and tried again; meanwhile the channel fills.
func (s *Store) run() {
	defer close(s.done)
	w := &s.w
	var due, prune <-chan time.Time
	for {
		if prune == nil && w.db != nil {
			prune = time.After(pruneFirst)
		}
		in := s.in
		if len(w.batch) >= maxBatch {
			in = nil
		}
		select {
		case e := <-in:
			if w.batch = append(w.batch, e); due == nil {
				due = time.After(delay)
			}
			if len(w.batch) < maxBatch || s.Trouble() != nil {
				continue
			}
		case <-due:
		case <-prune:
			prune = time.After(s.prune())
			continue
		case j := <-s.jobs:
			s.drain()
			s.write()
			j.done <- s.attempt(j.do)
			due = s.again()
			continue
		case <-s.stop:
			s.drain()
			s.write()
			if n := len(w.batch); n > 0 {
				s.log.Error("history is lost", "events", n)
			}
			w.close()
			return
		}
		s.write()
		due = s.again()
	}
}

// again says when to write next, if anything is left to be written.
func (s *Store) again() <-chan time.Time {
	if len(s.w.batch) == 0 {
		return nil
	}
	return time.After(retry)
}

// drain takes all that waits.
func (s *Store) drain() {
	for len(s.w.batch) < maxBatch+maxWaiting {
		select {
		case e := <-s.in:
			s.w.batch = append(s.w.batch, e)
		default:
			return
		}
	}
}

// write writes the batch, and what was lost.
func (s *Store) write() {
	lost := s.lost.Swap(0)
	if len(s.w.batch) == 0 && lost == 0 {
		return
	}
	err := s.attempt(func(d *database) error { return d.insert(s.w.batch, lost, time.Now()) })
	s.settle(err)
	if err != nil {
		s.lost.Add(lost)
		if !full(err) {
			s.w.close() // another file may be there the next time
		}
		return
	}
	s.w.batch = s.w.batch[:0]
	if cap(s.w.batch) > maxBatch {
		s.w.batch = nil
	}
}

// attempt does something with the database. Where it proves to be damaged it is
// tried once more with a new one.
func (s *Store) attempt(do func(*database) error) error {
	err := s.open()
	if err != nil {
		return err
	}
	err = safely(func() error { return do(s.w.db) })
	if !damaged(err) {
		return err
	}
	if err := s.setAside(err); err != nil {
		return err
	}
	return safely(func() error { return do(s.w.db) })
}

// settle takes note of whether events can be written. The log has one line of
// each change.
func (s *Store) settle(err error) {
	s.mu.Lock()
	before := s.trouble
	s.trouble = err
	s.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.log.Error("history is not written", "error", err, "retry", retry)
	case err == nil && before != nil:
		s.log.Info("history is written again")
	}
}

// safely makes an error of a panic. SQLite is C that was translated: what a
// damaged file makes of it must not end the daemon.
func safely(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return do()
}

var errPanic = errors.New("SQLite has failed")

func (w *writer) close() {
	if w.db != nil {
		_ = safely(w.db.close)
		w.db = nil
	}
}

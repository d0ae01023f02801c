// Package history keeps what was decided in an SQLite database.
//
//	s := history.New(history.Config{Path: path})
//	defer s.Close()
//	s.Add(api.HistoryEvent{Kind: api.HistoryRefused, App: "curl", Dest: d})
//	page, err := s.Query(ctx, api.HistoryFilter{App: "curl"})
//
// Add never waits: one goroutine writes what it is handed, in batches. What
// comes faster than it can be written, or while the disk takes nothing, is lost,
// and counted. A database that cannot be read is set aside and a new one begun.
//
// It decides nothing, and no verdict depends on it. One process at a time may
// have a database open.
package history

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// Config says where a history is kept, and how much of it. Zero fields mean
// the defaults.
type Config struct {
	Path  string        // of the database
	Age   time.Duration // of what is kept; default 90 days
	Size  int64         // of the database in bytes, the oldest events give way; default 200 MB
	Check time.Duration // how long a database is looked through when it is opened; default 100 ms
	Log   *slog.Logger  // nil discards
}

const (
	defaultAge  = 90 * 24 * time.Hour
	defaultSize = 200 << 20

	// defaultCheck goes through some 10 MB. A damage that is not found so shows
	// when it is reached.
	defaultCheck = 100 * time.Millisecond

	maxBatch   = 1000             // events of one transaction
	maxWaiting = 8192             // events for which there was no time yet; more are lost
	delay      = time.Second      // how long an event waits for others
	retry      = 30 * time.Second // after a failure
)

// Recent is how many of the latest events are kept in memory, for List.
const Recent = 2000

var errClosed = errors.New("the history is closed")

// Store is a history. It is safe for concurrent use. Its database is opened
// when it is needed first.
type Store struct {
	cfg  Config
	log  *slog.Logger
	in   chan api.HistoryEvent
	jobs chan job
	stop chan struct{}
	done chan struct{}

	lost  atomic.Int64
	begin sync.Once // starts the writer
	end   sync.Once

	mu      sync.Mutex
	recent  []api.HistoryEvent // the latest last
	trouble error              // why nothing is written

	w writer
}

// job is something that the writer does for somebody, after it has written all
// that waits.
type job struct {
	do   func(*database) error
	done chan error
}

// New returns a history. The caller must Close it.
func New(cfg Config) *Store {
	if cfg.Age <= 0 {
		cfg.Age = defaultAge
	}
	if cfg.Size <= 0 {
		cfg.Size = defaultSize
	}
	if cfg.Check <= 0 {
		cfg.Check = defaultCheck
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{
		cfg: cfg, log: cfg.Log, in: make(chan api.HistoryEvent, maxWaiting), jobs: make(chan job),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// Add takes note of e. It does not wait.
func (s *Store) Add(e api.HistoryEvent) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.First.IsZero() {
		e.First = e.Time
	}
	e.ID, e.Count = 0, max(1, e.Count)
	e.Time, e.First = e.Time.UTC(), e.First.UTC()
	s.mu.Lock()
	if len(s.recent) >= Recent {
		s.recent = slices.Delete(s.recent, 0, Recent/10)
	}
	s.recent = append(s.recent, e)
	s.mu.Unlock()
	s.start()
	select {
	case s.in <- e:
	default:
		s.lost.Add(1)
	}
}

// Lose counts events that were lost elsewhere.
func (s *Store) Lose(n int) { s.lost.Add(int64(max(0, n))) }

// List returns the latest events, those of former days too if they can be
// read.
func (s *Store) List(ctx context.Context) []api.HistoryEvent {
	var former []api.HistoryEvent
	_ = s.perform(ctx, func(d *database) (err error) {
		former, err = d.former(ctx)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Concat(former, s.recent)
	return append([]api.HistoryEvent{}, list[max(0, len(list)-Recent):]...)
}

// Trouble says why nothing is written, or nil.
func (s *Store) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// Close writes what waits to be written.
func (s *Store) Close() {
	s.begin.Do(func() { close(s.done) }) // there is no writer, and will be none
	s.end.Do(func() { close(s.stop) })
	<-s.done
}

func (s *Store) start() {
	s.begin.Do(func() { go s.run() })
}

// perform has the writer do something with the database. It is an error if
// that cannot be had.
func (s *Store) perform(ctx context.Context, do func(*database) error) error {
	s.start()
	j := job{do, make(chan error, 1)}
	select {
	case s.jobs <- j:
	case <-s.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-s.done:
		return errClosed
	}
}

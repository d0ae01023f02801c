// Package daemon is netjail's control plane, one process for each user: it owns
// the rules and the questions, and serves package api on a unix socket.
//
//	err := daemon.Run(ctx, daemon.Config{Idle: time.Minute})
//
// It supervises nothing: supervisors hold a snapshot of the rules and decide
// by themselves what a rule speaks of. When the daemon is gone those rules
// hold, and everything else is denied.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/history"
	"github.com/netjail/netjail/daemon/origin"
	"github.com/netjail/netjail/daemon/origin/journal"
	"github.com/netjail/netjail/notifier"
)

// Config says where a daemon keeps its things. Zero fields mean the defaults.
type Config struct {
	RuntimeDir string        // of socket and lock; default api.RuntimeDir
	ConfigDir  string        // of the rule files; default api.ConfigDir. Beside it is the file that names blocklists
	StateDir   string        // of what the daemon makes for itself; default api.StateDir
	Idle       time.Duration // leave after that long without any connection, and a day after the last missed question; 0: stay
	Timeout    time.Duration // of a question; default the queue's
	Log        *slog.Logger  // nil discards
	Ready      func()        // called when the socket takes connections
}

// ErrRunning means that another daemon of this user holds the lock.
var ErrRunning = errors.New("a daemon is running already")

// Run serves until ctx ends or the daemon has been idle for long enough, which
// are no errors.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.fill(); err != nil {
		return err
	}
	lock, err := takeLock(filepath.Join(cfg.RuntimeDir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	l, err := listen(api.SocketPath(cfg.RuntimeDir))
	if err != nil {
		return err
	}
	s := newServer(cfg)
	return s.serve(ctx, l)
}

func (c *Config) fill() (err error) {
	if c.RuntimeDir == "" {
		if c.RuntimeDir, err = api.RuntimeDir(); err != nil {
			return err
		}
	}
	if c.ConfigDir == "" {
		if c.ConfigDir, err = api.ConfigDir(); err != nil {
			return err
		}
	}
	if c.StateDir == "" {
		if c.StateDir, err = api.StateDir(); err != nil {
			return err
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// takeLock makes this the user's only daemon: until the file is closed.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %s)", ErrRunning, strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// listen makes the socket. Whoever holds the lock may take an old socket away.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("stale socket: %w", err)
	}
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// server is the state of a daemon.
type server struct {
	cfg     Config
	log     *slog.Logger
	store   *store
	lists   *blocklists
	queue   *notifier.Queue
	missed  missed
	history *history.Store
	buses   buses
	origin  *origin.Finder
	journal *journal.Journal
	place   *place
	started time.Time
	hurry   time.Duration // hurryTimeout
	wg      sync.WaitGroup

	mu        sync.Mutex
	conns     map[*api.Conn]struct{}
	jails     map[*jail]struct{}
	frontEnds map[*frontEnd]bool // whether they ask a person
	idle      *time.Timer        // runs while there is no connection
}

func newServer(cfg Config) *server {
	s := &server{
		cfg: cfg, log: cfg.Log, started: time.Now(), hurry: hurryTimeout,
		store:  newStore(cfg.ConfigDir),
		lists:  newBlocklists(filepath.Join(filepath.Dir(cfg.ConfigDir), "blocklists"), filepath.Join(cfg.StateDir, "blocklist.db")),
		origin: origin.New(origin.Config{}), journal: journal.New(filepath.Join(cfg.StateDir, "executables.json"), cfg.Log),
		place: newPlace(api.SocketPath(cfg.RuntimeDir)),
		conns: make(map[*api.Conn]struct{}), jails: make(map[*jail]struct{}), frontEnds: make(map[*frontEnd]bool),
		history: history.New(history.Config{Path: filepath.Join(cfg.StateDir, "history.db"), Log: cfg.Log}),
	}
	s.queue = notifier.NewQueue(notifier.Config{Timeout: cfg.Timeout, Log: cfg.Log, Missed: s.miss, Answered: s.answered})
	s.buses.log = cfg.Log
	s.store.past.dir = filepath.Join(cfg.StateDir, "undo")
	if err := s.store.load(); err != nil {
		s.log.Error("load rules", "error", err)
	}
	if err := s.lists.load(); err != nil {
		s.log.Error("load blocklists", "error", err)
	}
	return s
}

func (s *server) serve(ctx context.Context, l *net.UnixListener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.cfg.Idle > 0 {
		s.mu.Lock()
		s.idle = time.AfterFunc(s.cfg.Idle, func() { s.retire(cancel) })
		s.mu.Unlock()
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	if s.cfg.Ready != nil {
		s.cfg.Ready()
	}
	s.log.Info("listening", "socket", l.Addr().String(), "rules", s.cfg.ConfigDir)
	var err error
	for {
		var c *net.UnixConn
		if c, err = l.AcceptUnix(); isShortage(err) {
			s.log.Warn("accept", "error", err)
			time.Sleep(shortage) // somebody may close something
			continue
		}
		if err != nil {
			break
		}
		s.accept(ctx, c)
	}
	cancel()
	s.closeConns()
	s.queue.Close()
	s.wg.Wait()
	s.journal.Close()
	s.buses.close()
	s.history.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("accept: %w", err)
}

// shortage is how long a daemon that has no descriptors left waits for one.
const shortage = 50 * time.Millisecond

func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS)
}

// retire ends a daemon that has been idle, unless it keeps questions that
// somebody may still want to see.
func (s *server) retire(end func()) {
	if d, ok := s.missed.since(time.Now()); !ok || d >= missedFor {
		end()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		s.idle.Reset(s.cfg.Idle)
	}
}

func (s *server) accept(ctx context.Context, uc *net.UnixConn) {
	who, err := s.admit(uc)
	if err == nil && s.crowded() {
		err = errCrowded
	}
	if err != nil {
		s.log.Warn("refused a client", "pid", who.pid, "error", err)
		s.wg.Go(func() { refuse(uc, err) })
		return
	}
	c := api.NewConn(uc, maxRequest)
	c.Hurry(s.hurry)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	if s.idle != nil {
		s.idle.Stop()
	}
	s.mu.Unlock()
	s.wg.Go(func() {
		s.converse(ctx, c, who)
		s.mu.Lock()
		delete(s.conns, c)
		if s.idle != nil && len(s.conns) == 0 {
			s.idle.Reset(s.cfg.Idle)
		}
		s.mu.Unlock()
	})
}

var errCrowded = errors.New("too many clients are connected")

// crowded says whether there are too many clients. Supervisors find room below
// the limit as soon as others are cut off, and do not count once they have
// registered.
func (s *server) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)-len(s.jails) >= maxClients
}

// refuse tells a client why it is not served, in reply to its first request: one
// that finds the connection closed while it sends would never read the reason.
func refuse(uc *net.UnixConn, why error) {
	defer uc.Close()
	if err := uc.SetReadDeadline(time.Now().Add(refuseTimeout)); err != nil {
		return
	}
	c := api.NewConn(uc, maxRequest)
	var id uint64
	if m, err := c.Receive(); err == nil {
		id = m.ID
	}
	_ = c.Send(&api.Message{V: api.Version, ID: id, Error: &api.Error{Text: why.Error(), Code: api.CodeRefused}})
}

func (s *server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

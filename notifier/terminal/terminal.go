// Package terminal asks by a prompt on a terminal, answered by one key.
//
//	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
//	if err != nil {
//		// no terminal
//	}
//	p := terminal.New(tty, terminal.Options{NoColor: os.Getenv("NO_COLOR") != ""})
//	answer, err := queue.Ask(ctx, question, []notifier.Prompter{p})
//
// It runs in the process group of the app, whose terminal it is. It prompts
// only while that group is in the foreground and the terminal reads and shows
// lines, so never below a program that has taken the screen over or asks for a
// password. It throws away what was typed before the question was shown, takes
// only a key that came alone, and leaves the modes as it found them. A question
// is drawn anew, below what is there, when the terminal's size has changed, when
// there is more to say, after Ctrl-Z, and for a key that answers nothing.
//
// It does not protect the terminal from the app: that can print what it likes
// there, and take keys away. It cannot press them.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/notifier"
)

const (
	// tick is how often the state of the terminal is looked at: nobody tells
	// when a program changes its modes or the shell its foreground.
	tick = 100 * time.Millisecond

	// quiet is the pause that ends a burst of input.
	quiet = 40 * time.Millisecond

	// patience is how long a question waits for a stopped terminal at a time.
	patience = time.Second
)

// Options change how a Prompter looks. The zero value is ready to use.
type Options struct {
	NoColor bool         // no escape sequences at all
	Log     *slog.Logger // nil: silent
}

// Prompter asks on one terminal, one question at a time; others wait for their
// turn. It is safe for concurrent use.
type Prompter struct {
	file *os.File // keeps the descriptor open
	tty  tty
	opts Options
	turn chan struct{} // holds one token while a question has its turn

	mu        sync.Mutex
	sessions  map[string]*session // by the id of the question
	left      time.Time           // when a question was taken off the screen last
	suspended bool
	held      *held  // the modes found and set last
	redraw    bool   // the screen has changed below the question
	wake      *waker // of the question that has its turn
}

// held is a change of the terminal's modes. It is kept after the modes were
// restored: a program that started in between and saved ours puts them back
// when it ends, and then Suspend or the next question finds what to restore.
type held struct{ found, ours unix.Termios }

var (
	_ notifier.Prompter = (*Prompter)(nil)
	_ notifier.Updater  = (*Prompter)(nil)
)

// New returns a Prompter on a terminal opened for reading and writing. The
// file stays the caller's and must be open until every Ask has returned; it is
// set to blocking mode. With a nil file nobody is asked.
func New(file *os.File, opts Options) *Prompter {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	p := &Prompter{file: file, opts: opts, turn: make(chan struct{}, 1), sessions: make(map[string]*session)}
	if file != nil {
		p.tty.fd = int(file.Fd())
	}
	return p
}

// Ask shows q when the terminal is free and waits for a key. Ctrl-D denies
// once. A key that means nothing shows it again. The error wraps notifier.ErrNobody if this is not the terminal of our
// session, and notifier.ErrDismissed if it hangs up.
func (p *Prompter) Ask(ctx context.Context, q notifier.Question) (notifier.Answer, error) {
	if p == nil || p.file == nil {
		return notifier.Answer{}, fmt.Errorf("no terminal: %w", notifier.ErrNobody)
	}
	s := p.enter(q)
	defer p.forget(q.ID, s)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return notifier.Answer{}, context.Cause(ctx)
	}
	if err := s.start(); err != nil {
		return notifier.Answer{}, err
	}
	defer s.stop()
	unhook := context.AfterFunc(ctx, p.poke)
	defer unhook()

	var a notifier.Answer
	var err error
	if e := unstoppable(func() { a, err = s.run(ctx) }); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return notifier.Answer{}, err
	}
	return a, nil
}

// Update makes q what is shown of the open question with its ID. What is on the
// screen is drawn anew if there is more to see, but not at once, and not because
// of another number of waiting calls. An answer is about what was drawn.
func (p *Prompter) Update(q notifier.Question) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[q.ID]; s != nil {
		s.newest = q // the next tick sees it: to wake now could cut a burst of keys in two
	}
}

// enter makes a session for q.
func (p *Prompter) enter(q notifier.Question) *session {
	s := &session{Prompter: p, newest: q, free: true}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[q.ID] = s
	return s
}

func (p *Prompter) forget(id string, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[id] == s {
		delete(p.sessions, id)
	}
}

// Suspend gives the terminal back as it was found, because the process is
// about to stop or to exit. Questions are not shown until Resume.
func (p *Prompter) Suspend() {
	if p == nil || p.file == nil {
		return
	}
	p.mu.Lock()
	p.suspended = true
	if err := unstoppable(p.restoreLocked); err != nil {
		p.opts.Log.Warn("suspend terminal prompt", "err", err)
	}
	p.mu.Unlock()
	p.poke()
}

// Resume shows the question again, after the process was continued.
func (p *Prompter) Resume() {
	if p == nil || p.file == nil {
		return
	}
	p.mu.Lock()
	p.suspended = false
	p.redraw = true
	p.mu.Unlock()
	p.poke()
}

// poke makes the question that has its turn look again.
func (p *Prompter) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake != nil {
		p.wake.wake()
	}
}

// oursLocked reports whether the terminal has the modes that we gave it, and
// we are in the foreground.
func (p *Prompter) oursLocked() bool {
	if p.held == nil {
		return false
	}
	fg, err := p.tty.foreground()
	if err != nil || !fg {
		return false
	}
	now, err := p.tty.modes()
	return err == nil && now == p.held.ours
}

// restoreLocked puts the modes back that were found, unless somebody else has
// changed them since.
func (p *Prompter) restoreLocked() {
	if !p.oursLocked() {
		return
	}
	if err := p.tty.setModes(p.held.found); err != nil {
		p.opts.Log.Warn("restore terminal", "err", err)
	}
}

// acquireLocked makes the terminal ours if it is free, and reports whether it
// is.
func (p *Prompter) acquireLocked() (bool, error) {
	fg, err := p.tty.foreground()
	if err != nil || !fg || p.suspended {
		return false, err
	}
	now, err := p.tty.modes()
	if err != nil {
		return false, err
	}
	if p.held != nil && now == p.held.ours {
		return true, nil
	}
	if !cooked(now) {
		return false, nil
	}
	p.redraw = true
	if err := p.tty.setModes(singleKeys(now)); err != nil {
		return false, err
	}
	ours, err := p.tty.modes()
	p.held = &held{found: now, ours: ours}
	return true, err
}

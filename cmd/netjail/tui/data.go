package tui

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// Source is where what is shown comes from, and what acts on it. Its methods
// are called from several goroutines and may block. Texts in what they return
// need not be fit to be shown.
type Source interface {
	// Watch calls ready when it hears of the questions, and then tell for each
	// that is open, again whenever it changes, and last when it is closed. It
	// returns when ctx ends or nothing can be heard any more.
	Watch(ctx context.Context, ready func(), tell func(Change)) error

	// Look returns what one view shows.
	Look(ctx context.Context, v View) (Contents, error)

	// Answer, End, Stop and Remove act, and say what was done.
	Answer(ctx context.Context, d Decision) (string, error)
	End(ctx context.Context, f Flow) (string, error)
	Stop(ctx context.Context, j Jail) (string, error)
	Remove(ctx context.Context, r Rule) (string, error)
}

// errAway ends a Watch whose daemon has gone.
var errAway = errors.New("the daemon has gone")

// View is one of the lists.
type View uint8

// The views, in the order of their tabs.
const (
	Connections View = iota
	Rules
	History
	Jails
	views // how many there are
)

var viewNames = [views]string{"connections", "rules", "history", "jails"}

func (v View) String() string { return viewNames[v] }

// Contents is what a view shows: the field of that name.
type Contents struct {
	Flows  []Flow
	Rules  []Rule
	Events []Event // newest last
	Jails  []Jail
	Note   string // what is to be known about them: that some are missing, say
}

// Change is what has become of a question.
type Change struct {
	Question notifier.Question
	Closed   string // "" while it is open; else how that ended, in words
}

// Decision answers one question.
type Decision struct {
	ID       string
	Verdict  rules.Verdict
	Lifetime rules.Lifetime
	Scope    notifier.Scope
	Through  int  // of a summary: the number of the last item that was on the screen
	Review   bool // of a summary: ask one by one
}

// Flow is one socket of a jail.
type Flow struct {
	ID      string // of no other
	App     string
	Jail    string
	Network string // tcp, udp
	Local   netip.AddrPort
	Remote  netip.AddrPort // port 0: not connected
	Names   []string       // of Remote, as far as the jail knows
	State   string         // as the kernel has it: ESTABLISHED, LISTEN ...
	PID     int
	Program string
	Since   time.Time

	Resolver bool // it leads to netjail's resolver

	// Known is false where nobody counts.
	Sent, Received uint64
	Known          bool
}

// Rule is one rule, in words.
type Rule struct {
	ID, App, Verdict, Dest, Lifetime, By, Where, Note string
}

// Event is one decision of the past, in words.
type Event struct {
	Time                                      time.Time
	App, Op, Dest, Verdict, By, Lifetime, Why string
	Names                                     []string
}

// Jail is one that runs.
type Jail struct {
	ID, App, Guard, Command string
	Supervisor              int
	Started                 time.Time
}

// Package notifier asks the person at the desk whether an app may use a
// destination.
//
//	q := notifier.NewQueue(notifier.Config{Log: log})
//	defer q.Close()
//	a, err := q.Ask(ctx, notifier.Question{App: "curl", Dest: dest}, prompters)
//	if err != nil {
//		// deny this call; err says why nobody answered
//	}
//
// The queue merges the calls that ask for the same app and destination into
// one Question and shows it through several Prompters at once; the first
// answer closes it everywhere, and with it whatever else it decides. An app that
// asks too much at once is summarized in one question. Package desktop asks by a notification, package
// terminal on a tty. Every error of Ask means deny, and write no rule.
//
// This package does not write rules and does not remember answers: its caller
// does.
package notifier

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/netjail/netjail/rules"
)

// Question is what an app wants and nobody has decided. It is plain data and
// crosses sockets as JSON. App, Exe, Command, Chain, Names and what is in About
// come from programs: they are shown only through Clean.
type Question struct {
	ID       string            `json:"id"` // given by the queue
	App      string            `json:"app"`
	Exe      string            `json:"exe,omitempty"`
	PID      int               `json:"pid,omitempty"`
	Command  string            `json:"command,omitempty"` // the arguments, joined by spaces
	Chain    []string          `json:"chain,omitempty"`   // the programs in the jail that started one another, the asking one last
	Op       rules.Op          `json:"op"`
	Dest     rules.Destination `json:"dest"`              // the narrowest destination of the request
	Wider    rules.Destination `json:"wider,omitzero"`    // a whole domain that can be allowed at once
	Addr     netip.Addr        `json:"addr,omitzero"`     // behind a Dest that is a name
	Names    []string          `json:"names,omitempty"`   // of Addr, that the program looked up or this machine has
	Hosts    []string          `json:"hosts,omitempty"`   // of Names, those in /etc/hosts
	Aliases  []string          `json:"aliases,omitempty"` // that Names led through, CNAME records
	Note     string            `json:"note,omitempty"`    // what else there is to say, a sentence
	Waiting  int               `json:"waiting"`           // calls that wait for the answer
	Opened   time.Time         `json:"opened"`            // given by the queue
	Deadline time.Time         `json:"deadline"`          // given by the queue

	// A summary has no Dest. It is for people who cannot decide one by one.
	Items      []Item `json:"items,omitempty"`      // of a summary: what it is about
	Summarized string `json:"summarized,omitempty"` // the id of the summary that this question is in

	About
}

// Answer is what a person decided about a Question. Its zero value denies
// once, but covers no destination.
type Answer struct {
	Verdict  rules.Verdict     `json:"verdict"` // Allow or Deny
	Lifetime rules.Lifetime    `json:"lifetime"`
	Dest     rules.Destination `json:"dest"` // the destination it decides, see Question.Reach
	By       string            `json:"by"`   // who answered: "desktop", "terminal", ...

	// Dismissed says that a person took the question away and decided nothing:
	// it denies once, and counts as missed.
	Dismissed bool `json:"dismissed,omitempty"`

	// To a summary: the number of the last question that was seen in it. Later
	// ones are not decided.
	Through int  `json:"through,omitempty"`
	Review  bool `json:"review,omitempty"` // its questions are to be asked one by one
}

// Prompter shows one question at a time or many, and blocks until a person
// answered it. When ctx ends the question was closed elsewhere: the prompter
// takes it down before it returns. An error means that this prompter gives up.
//
// Values must be comparable, a pointer: the queue shows a question only once
// through the same prompter. context.Cause says why ctx ended: one of the
// errors below.
type Prompter interface {
	Ask(ctx context.Context, q Question) (Answer, error)
}

// Updater is a Prompter that wants to know how many calls wait, what a summary
// lists, and what has become known since. Update carries the question as it is
// now; it may come late and skip values, also after Ask has returned, and must
// not block.
type Updater interface {
	Update(q Question)
}

// Why a question has no answer. Each of them means: deny this call, write no rule.
var (
	ErrNobody    = errors.New("nobody to ask")
	ErrFull      = errors.New("too many open questions")
	ErrTimeout   = errors.New("nobody answered in time")
	ErrDismissed = errors.New("question dismissed without an answer")
	ErrGone      = errors.New("question is not open any more")
	ErrClosed    = errors.New("question queue is closed")
	ErrAnswered  = errors.New("answered elsewhere") // only as the cause of a prompter's ctx
	ErrBadAnswer = errors.New("answer does not fit the question")
)

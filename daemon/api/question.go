package api

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// Questions are what a person may want to decide.
type Questions struct {
	Open   []notifier.Question `json:"open"`   // calls wait for them, the oldest first
	Missed []Missed            `json:"missed"` // those denied for want of an answer, the latest last
}

// Find returns the questions whose id begins so; ok says that there is one, or
// one that has just this id.
func (l *Questions) Find(id string) (found []notifier.Question, ok bool) {
	if id == "" {
		return nil, false
	}
	all := slices.Clone(l.Open)
	for i := range l.Missed {
		m := &l.Missed[i]
		if slices.Contains(m.Ids, id) {
			return []notifier.Question{m.Question()}, true
		}
		all = append(all, m.Question())
	}
	for _, q := range all {
		if q.ID == id {
			return []notifier.Question{q}, true
		}
		if strings.HasPrefix(q.ID, id) {
			found = append(found, q)
		}
	}
	return found, len(found) == 1
}

// Missed is a question that nobody decided in time, as often as it was asked.
// It says nothing of the program's arguments, which may be secret.
type Missed struct {
	ID    string            `json:"id"`
	Ids   []string          `json:"ids,omitempty"` // that it had when it was missed before
	App   string            `json:"app"`
	Exe   string            `json:"exe,omitempty"`
	Op    rules.Op          `json:"op"`
	Dest  rules.Destination `json:"dest"`
	Wider rules.Destination `json:"wider,omitzero"`
	Addr  netip.Addr        `json:"addr,omitzero"`
	Names []string          `json:"names,omitempty"`
	Hosts []string          `json:"hosts,omitempty"`
	Note  string            `json:"note,omitempty"`
	Why   string            `json:"why"`   // one of the Missed constants
	Calls int               `json:"calls"` // that were denied
	First time.Time         `json:"first"`
	Last  time.Time         `json:"last"`
}

// Question returns the question as it would be asked again.
func (m *Missed) Question() notifier.Question {
	return notifier.Question{
		ID: m.ID, App: m.App, Exe: m.Exe, Op: m.Op, Dest: m.Dest, Wider: m.Wider, Addr: m.Addr, Names: m.Names, Hosts: m.Hosts, Note: m.Note,
	}
}

// Why a question was missed, the last time.
const (
	MissedTimeout   = "timeout"   // nobody answered in time
	MissedDismissed = "dismissed" // somebody took it away
	MissedNobody    = "nobody"    // there was nobody to ask
	MissedFull      = "full"      // too many were open
)

// QuestionAnswer decides one question, open or missed.
type QuestionAnswer struct {
	ID       string         `json:"id"`                // or the beginning of one, if no other begins so
	Verdict  rules.Verdict  `json:"verdict"`           // Allow or Deny
	Lifetime rules.Lifetime `json:"lifetime"`          // of a missed one: For or Always; of a summary: Once or UntilExit
	Scope    notifier.Scope `json:"scope,omitempty"`   // "": what was asked
	Wider    bool           `json:"wider,omitempty"`   // scope "domain", as older clients have it
	Review   bool           `json:"review,omitempty"`  // of a summary: ask its questions one by one
	Through  int            `json:"through,omitempty"` // of a summary: the number of the last item that was seen; 0: all
}

// QuestionDecided says what was decided.
type QuestionDecided struct {
	App    string              `json:"app"`
	Answer notifier.Answer     `json:"answer"`
	Rule   *Rule               `json:"rule,omitempty"`  // that is in a file now
	Items  []rules.Destination `json:"items,omitempty"` // of a summary
}

// QuestionWatch asks for a stream of questions.
type QuestionWatch struct {
	// Asks says that a person sees them: then a question is put even where
	// there is no desktop and no terminal, and waits for question.answer.
	Asks bool `json:"asks"`
}

// QuestionChange is what has become of a question: it was opened, changed, or
// closed.
type QuestionChange struct {
	Question notifier.Question `json:"question"`
	Closed   string            `json:"closed,omitempty"` // "", or one of the Closed constants
	Answer   *notifier.Answer  `json:"answer,omitempty"` // that closed it
}

// Why a question was closed.
const (
	ClosedAnswered  = "answered"
	ClosedTimeout   = MissedTimeout
	ClosedDismissed = MissedDismissed
	ClosedNobody    = MissedNobody // all whom it was put to have gone
	ClosedGone      = "gone"       // no call waits for it any more
)

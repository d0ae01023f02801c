package api

import (
	"net/netip"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// Questions are what a person may want to decide.
type Questions struct {
	Open   []notifier.Question `json:"open"`   // calls wait for them, the oldest first
	Missed []Missed            `json:"missed"` // those denied for want of an answer, the latest last
}

// Missed is a question that nobody decided in time, as often as it was asked.
// It says nothing of the program's arguments, which may be secret.
type Missed struct {
	ID    string            `json:"id"`
	App   string            `json:"app"`
	Exe   string            `json:"exe,omitempty"`
	Op    rules.Op          `json:"op"`
	Dest  rules.Destination `json:"dest"`
	Wider rules.Destination `json:"wider,omitzero"`
	Addr  netip.Addr        `json:"addr,omitzero"`
	Names []string          `json:"names,omitempty"`
	Note  string            `json:"note,omitempty"`
	Why   string            `json:"why"`   // one of the Missed constants
	Calls int               `json:"calls"` // that were denied
	First time.Time         `json:"first"`
	Last  time.Time         `json:"last"`
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
	ID       string         `json:"id"`
	Verdict  rules.Verdict  `json:"verdict"`         // Allow or Deny
	Lifetime rules.Lifetime `json:"lifetime"`        // of a missed one: For or Always
	Wider    bool           `json:"wider,omitempty"` // about the question's wider destination
}

// QuestionDecided says what was decided.
type QuestionDecided struct {
	App    string          `json:"app"`
	Answer notifier.Answer `json:"answer"`
	Rule   *Rule           `json:"rule,omitempty"` // that is in a file now
}

package api

import (
	"net/netip"
	"time"

	"github.com/netjail/netjail/rules"
)

// History is what was decided, the latest last: as much of it as fits on the
// screens of a front end. HistoryPage has all that is kept.
type History struct {
	Events []HistoryEvent `json:"events"`
}

// HistoryEvent is one decision, or several of the same within a short time.
type HistoryEvent struct {
	ID       int64             `json:"id,omitempty"` // later ones have greater ids; 0: not written yet
	Time     time.Time         `json:"time"`         // of the last call
	First    time.Time         `json:"first"`        // of the first call
	Count    int               `json:"count"`        // of calls; of questions that waited for the answer
	Kind     string            `json:"kind"`         // one of the History constants
	App      string            `json:"app"`
	Jail     string            `json:"jail,omitempty"`
	PID      int               `json:"pid,omitempty"` // of the first call
	Exe      string            `json:"exe,omitempty"`
	What     string            `json:"what"` // "connect", "send", "listen", "look up"
	Dest     rules.Destination `json:"dest"`
	Addr     netip.Addr        `json:"addr,omitzero"`
	Names    []string          `json:"names,omitempty"`
	Verdict  rules.Verdict     `json:"verdict"`
	About    rules.Destination `json:"about,omitzero"`      // what was answered about, Dest or wider
	Lifetime rules.Lifetime    `json:"lifetime"`            // of an answer
	By       string            `json:"by,omitempty"`        // who answered
	Why      string            `json:"why,omitempty"`       // the rule, or why there was none; of a missed question one of the Missed constants
	Rule     string            `json:"rule,omitempty"`      // the id of the rule that decided, of a report: hits are counted by it
	Waited   int64             `json:"waited_ms,omitempty"` // how long the first call waited for people; a rule decides within microseconds
}

// The kinds of events.
const (
	HistoryAnswer  = "answer"  // a person decided
	HistoryMissed  = "missed"  // nobody did, so the call was denied
	HistoryRefused = "refused" // a rule, a blocklist or the lack of anybody to ask did
	HistoryAllowed = "allowed" // a rule did
)

// HistoryFilter selects events. Empty fields select all.
type HistoryFilter struct {
	Since  time.Time `json:"since,omitzero"`
	App    string    `json:"app,omitempty"`
	Host   string    `json:"host,omitempty"` // a name or an address, as people write it; ".example.org": it and what is below, "*.example.org": what is below
	Denied bool      `json:"denied,omitempty"`
	Limit  int       `json:"limit,omitempty"` // of a page: as many of the latest; 0: 200, and never more than 10,000

	// Follow asks for the events after the one with the id After, the oldest
	// first, in place of the latest.
	Follow bool  `json:"follow,omitempty"`
	After  int64 `json:"after,omitempty"`
}

// HistoryPage is what a filter selects, the latest last.
type HistoryPage struct {
	Events []HistoryEvent `json:"events"`
	More   bool           `json:"more,omitempty"` // there are more than the limit
	Last   int64          `json:"last"`           // where to follow from
	HistoryState
}

// HistorySummary counts what a filter selects.
type HistorySummary struct {
	Hosts []HistoryHost `json:"hosts"` // by app; those that were reached most often first
	HistoryState
}

// HistoryHost is what an app did with one host.
type HistoryHost struct {
	App     string    `json:"app"`
	Host    string    `json:"host"` // as in a destination: a name, an address, unix:/path
	Allowed int       `json:"allowed"`
	Denied  int       `json:"denied"`
	Last    time.Time `json:"last"`
}

// HistoryState says what is wrong with the history.
type HistoryState struct {
	Lost    int    `json:"lost,omitempty"`    // events of that time that could not be written
	Trouble string `json:"trouble,omitempty"` // why none are written now
	Notice  string `json:"notice,omitempty"`  // what has become of a damaged database; it is told once
}

// Report is what a supervisor decided without a question. Each event is about
// Count calls between First and Time; its App and Jail are the supervisor's.
type Report struct {
	Events []HistoryEvent `json:"events"`
	Lost   int            `json:"lost,omitempty"` // calls that were not counted
}

// Package api is what netjail's daemon, its supervisors and its command line
// say to each other: versioned messages, one line of JSON each, over a unix
// socket that only the user can open.
//
//	c, err := api.Dial(ctx, api.SocketPath())
//	var list api.RuleList
//	err = c.Call(ctx, api.OpRulesList, api.RuleFilter{App: "curl"}, &list)
//
// A request carries a number and its reply the same one, so that many can be
// under way; events carry none. The package decides nothing.
package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// Version is the version of the messages, and of what --json prints. Fields
// are added without a new version, and never change their meaning.
const Version = 1

// What can be asked of the daemon.
const (
	OpRegister    = "jail.register" // Registration -> Snapshot: this connection is a supervisor's
	OpAsk         = "jail.ask"      // notifier.Question -> notifier.Answer, when it is answered
	OpSucceed     = "jail.succeed"  // int, the process id that will supervise the jail -> nothing
	OpTerminal    = "jail.terminal" // TerminalAnswer -> nothing
	OpReport      = "jail.report"   // Report -> nothing
	OpFlows       = "jail.flows"    // Flows, a part of the answer to EventFlows -> no reply
	OpDone        = "jail.done"     // Done, the answer to EventEnd and EventStop -> nothing
	OpCancel      = "cancel"        // uint64, the number of a request that needs no reply any more -> no reply
	OpRulesList   = "rules.list"    // RuleFilter -> RuleList
	OpRulesAdd    = "rules.add"     // Rule -> Rule
	OpRulesRemove = "rules.remove"  // RuleFilter -> RuleList, what was removed
	OpReload      = "rules.reload"  // nothing -> RuleList
	OpExplain     = "rules.explain" // ExplainRequest -> Explanation
	OpRulesEnable = "rules.enable"  // RuleSwitch -> RuleList
	OpRulesText   = "rules.text"    // RuleText, of which only the app counts -> RuleText, as it is in force
	OpRulesWrite  = "rules.write"   // RuleText -> RuleList, those of the file
	OpRulesImport = "rules.import"  // RuleImport -> RuleImported
	OpRulesDiff   = "rules.diff"    // nothing -> RuleDiff
	OpRulesUndo   = "rules.undo"    // nothing -> RuleUndo
	OpStatus      = "status"        // nothing -> Status
	OpHistory     = "history.list"  // nothing -> History, the latest 2,000

	OpHistoryQuery   = "history.query"   // HistoryFilter -> HistoryPage
	OpHistorySummary = "history.summary" // HistoryFilter -> HistorySummary

	OpQuestionList   = "question.list"   // nothing -> Questions
	OpQuestionAnswer = "question.answer" // QuestionAnswer -> QuestionDecided
	OpQuestionClear  = "question.clear"  // nothing -> Questions, the missed ones that are forgotten
	OpQuestionWatch  = "question.watch"  // QuestionWatch -> nothing; from then on EventChange for each question

	// Like all that does not begin with "jail." these are not for supervisors.
	OpConnections = "connections"    // nothing -> Connections: a supervisor that says nothing for a second is left out
	OpEnd         = "connection.end" // FlowEnd -> nothing, when it is ended
	OpStop        = "stop"           // JailStop -> nothing, when its processes have SIGTERM; SIGKILL follows after 5 s

	OpBlocklistAdd    = "blocklist.add"    // BlocklistFiles -> Blocklists, as they are then
	OpBlocklistRemove = "blocklist.remove" // BlocklistFiles -> Blocklists
	OpBlocklistUpdate = "blocklist.update" // nothing -> Blocklists
	OpBlocklistList   = "blocklist.list"   // nothing -> Blocklists
	OpBlocklistTest   = "blocklist.test"   // BlocklistNames -> BlocklistMatches
)

// What the daemon tells a supervisor without being asked.
const (
	EventSnapshot = "snapshot" // Snapshot: from now on these rules hold
	EventQuestion = "question" // notifier.Question: show it on the terminal, or show it anew
	EventClosed   = "closed"   // Closed: take it down
	EventTrouble  = "trouble"  // Error: to be told to whoever started the jail
	EventFlows    = "flows"    // Task: list the jail's connections
	EventEnd      = "end"      // Task: end one of them
	EventStop     = "stop"     // Task: end everything in the jail
)

// EventChange tells a client that watches what has become of a question:
// first of each that is open, then of each whenever it opens, changes or closes.
const EventChange = "question.change" // QuestionChange

// Message is one line on the wire: a request has an Op, a reply has the
// request's ID, an event has an Event.
type Message struct {
	V     int             `json:"v,omitempty"`
	ID    uint64          `json:"id,omitempty"`
	Op    string          `json:"op,omitempty"`
	Event string          `json:"event,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

// Error is a failure that a person may have to read.
type Error struct {
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"` // what to do about it
	Code string `json:"code,omitempty"` // one of the Code constants
}

func (e *Error) Error() string { return e.Text }

// Codes of errors that callers branch on.
const (
	CodeNobody   = "nobody"   // there is no desktop and no terminal to ask on
	CodeNotFound = "notfound" // no such rule, list, question, jail or connection
	CodeInvalid  = "invalid"  // the request is malformed
	CodeRefused  = "refused"  // the peer may not ask this
)

// Registration introduces a supervisor.
type Registration struct {
	App      string   `json:"app"`
	Jail     string   `json:"jail"` // unique among all jails
	Command  []string `json:"command"`
	Path     string   `json:"path,omitempty"`   // of the app's executable
	Bus      string   `json:"bus,omitempty"`    // D-Bus session bus address
	Guard    string   `json:"guard"`            // what enforces in the kernel, besides the filter
	Covers   []string `json:"covers,omitempty"` // what the guard refuses by itself
	Mode     string   `json:"mode,omitempty"`   // one of the Mode constants
	Terminal bool     `json:"terminal"`         // questions can be shown on its terminal
	Rules    []Rule   `json:"rules,omitempty"`
}

// What becomes of a call that no rule speaks of.
const (
	ModeAsk     = "ask"     // people are asked
	ModeDeny    = "deny"    // nobody is asked
	ModeMonitor = "monitor" // it is allowed: the jail enforces only what denies
)

// Snapshot holds every rule that concerns one jail.
type Snapshot struct {
	Rules     []Rule `json:"rules"`
	Blocklist string `json:"blocklist,omitempty"` // what blocklist.Open opens while the daemon lives, another path for each change; "": no lists
}

// TerminalAnswer is what a person did on a jail's terminal.
type TerminalAnswer struct {
	Question string          `json:"question"`
	Answer   notifier.Answer `json:"answer"`
	Gone     bool            `json:"gone,omitempty"` // the terminal cannot be asked
}

// Closed names a question that needs no answer any more.
type Closed struct {
	Question string `json:"question"`
	Why      string `json:"why"`
}

// RuleFilter selects rules. Empty fields select all.
type RuleFilter struct {
	App  string             `json:"app,omitempty"` // "@all": rules of every app
	ID   string             `json:"id,omitempty"`
	Dest *rules.Destination `json:"destination,omitempty"`

	// The list may be brief: "brief" takes the place of "rules", and what a rule
	// has in common with the one before is left out.
	Brief bool `json:"brief,omitempty"`
}

// RuleList is a list of rules.
type RuleList struct {
	Rules   []Rule   `json:"rules"`
	Differs []string `json:"differs,omitempty"` // files that are not on disk as they are in force
	Brief   bool     `json:"-"`                 // is to be sent so, see RuleFilter
}

// Rule is a rule as others see it.
type Rule struct {
	ID       string            `json:"id"`
	App      string            `json:"app"` // "@all": every app
	Verdict  rules.Verdict     `json:"verdict"`
	Dest     rules.Destination `json:"destination"`
	Exe      string            `json:"exe,omitempty"`
	Lifetime string            `json:"lifetime"`          // always, exit, or until
	Expires  *time.Time        `json:"expires,omitempty"` // of lifetime until
	Jail     string            `json:"jail,omitempty"`    // of lifetime exit
	Enabled  bool              `json:"enabled"`
	Local    bool              `json:"local,omitempty"`
	Refuse   bool              `json:"refuse,omitempty"`
	Note     string            `json:"note,omitempty"`
	By       string            `json:"by,omitempty"`
	Created  *time.Time        `json:"created,omitempty"`
	File     string            `json:"file,omitempty"`
	Line     int               `json:"line,omitempty"`
	Use      *RuleUse          `json:"use,omitempty"`         // nil: not known
	Shadowed string            `json:"shadowed_by,omitempty"` // the id of a rule that always comes before it
}

// Every is how the app of a rule for every app is spelled.
const Every = "@all"

// FromRule describes r.
func FromRule(r *rules.Rule) Rule {
	out := Rule{
		ID: r.ID(), App: r.App, Verdict: r.Verdict, Dest: r.Dest, Exe: r.Exe, Lifetime: "always",
		Jail: r.Jail, Enabled: !r.Disabled, Local: r.Local, Refuse: r.Refuse, Note: r.Note, By: r.By, File: r.Source.File, Line: r.Source.Line,
	}
	if out.App == "" {
		out.App = Every
	}
	if r.Jail != "" {
		out.Lifetime = "exit"
	}
	if !r.Expires.IsZero() {
		out.Lifetime, out.Expires = "until", &r.Expires
	}
	if !r.Created.IsZero() {
		out.Created = &r.Created
	}
	return out
}

// Rule returns the rule that r describes. An app that is no app's name is an
// error.
func (r *Rule) Rule() (rules.Rule, error) {
	out := rules.Rule{
		App: r.App, Verdict: r.Verdict, Dest: r.Dest, Exe: r.Exe, Jail: r.Jail, Run: r.Jail != "",
		Disabled: !r.Enabled, Local: r.Local, Refuse: r.Refuse, Note: r.Note, By: r.By, Source: rules.Source{File: r.File, Line: r.Line},
	}
	if r.App == Every {
		out.App = ""
	} else if err := rules.CheckAppName(r.App); err != nil {
		return out, fmt.Errorf("rule: %w", err)
	}
	if r.Expires != nil {
		out.Expires = *r.Expires
	}
	if r.Created != nil {
		out.Created = *r.Created
	}
	return out, nil
}

// FromRules describes a list of rules.
func FromRules(list []rules.Rule) []Rule {
	out := make([]Rule, len(list))
	for i := range list {
		out[i] = FromRule(&list[i])
	}
	return out
}

// ToRules returns the rules that list describes. One that is malformed makes
// the whole list an error.
func ToRules(list []Rule) ([]rules.Rule, error) {
	out := make([]rules.Rule, len(list))
	for i := range list {
		r, err := list[i].Rule()
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}

// Status says what the daemon does.
type Status struct {
	PID       int                 `json:"pid"`
	Started   time.Time           `json:"started"`
	Config    string              `json:"config"`
	Problem   string              `json:"problem,omitempty"`   // why the rules on disk are not in force
	Blocklist string              `json:"blocklist,omitempty"` // why the blocklists on disk are not in force
	History   string              `json:"history,omitempty"`   // why nothing is written to the history
	Jails     []Jail              `json:"jails"`
	Questions []notifier.Question `json:"questions"`
}

// Jail is one running jail.
type Jail struct {
	App        string    `json:"app"`
	ID         string    `json:"id"`
	Supervisor int       `json:"supervisor"` // process id
	Command    []string  `json:"command"`
	Started    time.Time `json:"started"`
	Guard      string    `json:"guard"`
	Mode       string    `json:"mode,omitempty"` // one of the Mode constants
	Covers     []string  `json:"covers"`         // what the guard refuses by itself, whatever the filter and the supervisor do
}

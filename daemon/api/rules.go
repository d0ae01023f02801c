package api

import "time"

// RuleSwitch enables a rule, or disables it.
type RuleSwitch struct {
	ID      string `json:"id"`
	Enabled bool   `json:"enabled"`
}

// RuleText is the file of one app.
type RuleText struct {
	App  string `json:"app"` // "@all": the one of every app
	File string `json:"file,omitempty"`
	Was  string `json:"was,omitempty"` // the text that it takes the place of
	Text string `json:"text"`
}

// RuleImport adds rules of any apps. Where there is one for the same destination
// and executable already, that one stays.
type RuleImport struct {
	Rules []Rule `json:"rules"`
	Dry   bool   `json:"dry,omitempty"` // write nothing
}

// RuleImported says what became of rules.
type RuleImported struct {
	Added []Rule     `json:"added"`
	Same  []Rule     `json:"same"` // that were there
	Kept  []RuleKept `json:"kept"` // that were not added
}

// RuleKept is a rule that was not added, and the one that is there.
type RuleKept struct {
	Rule  Rule `json:"rule"`
	There Rule `json:"there"`
}

// FileDiff is how a file differs, as a unified diff.
type FileDiff struct {
	File string `json:"file"`
	Diff string `json:"diff"`
}

// RuleDiff says how the rules on disk differ from those in force.
type RuleDiff struct {
	Files []FileDiff `json:"files"`
}

// RuleUndo is the change that was taken back, and what that changed.
type RuleUndo struct {
	Time  time.Time  `json:"time"`
	What  string     `json:"what"`
	Files []FileDiff `json:"files"`
}

// RuleUse says how often a rule decided, as far as it is remembered.
type RuleUse struct {
	Hits int64      `json:"hits"`
	Last *time.Time `json:"last,omitempty"` // nil: never
}

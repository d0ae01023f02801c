package notifier

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// Scope is how much of what an app may want an answer is about.
type Scope string

// The scopes, from the narrowest to the widest.
const (
	Address  Scope = "address" // this address and port, whatever name it has
	Host     Scope = "host"    // just what was asked: by name, where one is known
	Domain   Scope = "domain"  // the whole domain that somebody registered, at this port
	Anything Scope = "any"     // every address and every name
	Listed   Scope = "all"     // of a summary: each question that it lists
)

// Lifetimes that a person is offered, the shortest first.
var (
	once     = rules.Lifetime{Kind: rules.Once}
	untilEnd = rules.Lifetime{Kind: rules.UntilExit}
	anHour   = rules.Lifetime{Kind: rules.For, For: time.Hour}
	always   = rules.Lifetime{Kind: rules.Always}
)

// Lifetimes returns those that are offered for answers to q, the shortest
// first. What a summary lists is not decided for longer than the app runs.
func (q Question) Lifetimes() []rules.Lifetime {
	if q.Summary() {
		return []rules.Lifetime{once, untilEnd}
	}
	return []rules.Lifetime{once, untilEnd, anHour, always}
}

// Scopes returns what answers to q can be about, the narrowest first.
func (q Question) Scopes() []Scope {
	var list []Scope
	for _, s := range []Scope{Address, Host, Domain, Anything, Listed} {
		if _, ok := q.Reach(s); ok {
			list = append(list, s)
		}
	}
	return list
}

// Reach returns the destination that an answer of that scope decides. ok is
// false where there is none: an address that has no name is its own host, and
// a local socket is not one of many.
func (q Question) Reach(s Scope) (d rules.Destination, ok bool) {
	named := q.Dest.Host.Kind == rules.HostName
	if q.Summary() {
		return rules.Destination{}, s == Listed
	}
	switch s {
	case Address:
		d = q.Dest
		d.Host = rules.Host{Kind: rules.HostAddr, Addr: q.Addr.Unmap()}
		return d, named && q.Addr.IsValid()
	case Host:
		return q.Dest, !q.Dest.IsZero()
	case Domain:
		return q.Wider, !q.Wider.IsZero()
	case Anything:
		d = rules.Destination{Listen: q.Dest.Listen, Host: rules.Host{Kind: rules.HostAny}}
		return d, named || q.Dest.Host.Kind == rules.HostAddr
	}
	return rules.Destination{}, false
}

// Choice is one answer a person can give.
type Choice struct {
	Scope  Scope
	Label  string // what it does, to what, and for how long
	Rule   string // the command that writes the same rule, or "" if none is written
	Answer Answer // By is left to the prompter
}

// Choose returns the choice of a verdict, a scope and a lifetime. ok is false
// where q has no such scope.
func (q Question) Choose(v rules.Verdict, s Scope, l rules.Lifetime) (c Choice, ok bool) {
	d, ok := q.Reach(s)
	if !ok {
		return Choice{}, false
	}
	c = Choice{Scope: s, Answer: Answer{Verdict: v, Lifetime: l, Dest: d}}
	if s == Listed {
		c.Answer.Through = q.Last()
	}
	c.Label = strings.Join(strings.Fields(v.String()+" "+q.what(s)+" "+q.howLong(l)), " ")
	if !d.IsZero() {
		c.Rule = q.ruleText(c.Answer)
	}
	return c, true
}

// Review returns the choice that has each question of a summary asked by itself.
func (q Question) Review() Choice {
	return Choice{Scope: Listed, Label: "review the list", Answer: Answer{Review: true, Through: q.Last()}}
}

// what names a scope in a label. The usual one needs no name.
func (q Question) what(s Scope) string {
	switch s {
	case Address:
		return q.Addr.Unmap().String()
	case Domain:
		return Clean(q.Wider.Host.String(), maxName)
	case Anything:
		return "anything"
	case Listed:
		return "all"
	}
	return ""
}

// ScopeName says what a scope is, for people to pick one.
func (q Question) ScopeName(s Scope) string {
	switch s {
	case Host:
		return Clean(q.Dest.Host.String(), maxName)
	case Domain:
		return Clean(q.Wider.Host.Name, maxName) + " and below"
	}
	return q.what(s)
}

// howLong says how long an answer holds.
func (q Question) howLong(l rules.Lifetime) string {
	switch l.Kind {
	case rules.UntilExit:
		return "until " + q.AppName() + " exits"
	case rules.For:
		if l == anHour {
			return "for 1 hour"
		}
		return "for " + l.String()
	case rules.Always:
		return "always"
	}
	return "once"
}

// RuleText is the command that writes the same rule as the lasting answer with
// this verdict.
func (q Question) RuleText(v rules.Verdict) string {
	return q.ruleText(Answer{Verdict: v, Lifetime: always, Dest: q.Dest})
}

// ruleText is the command that writes the same rule as an answer, or "".
func (q Question) ruleText(a Answer) string {
	if a.Lifetime.Kind != rules.For && a.Lifetime.Kind != rules.Always {
		return ""
	}
	text := "netjail rules add " + ShellWord(q.App) + " " + a.Verdict.String() + " " + ShellWord(a.Dest.String())
	if a.Lifetime.Kind == rules.For {
		text += " --for " + a.Lifetime.String()
	}
	return text
}

// ParseAnswer reads an answer in words, in any order: "allow" or "deny", which
// must not miss; a scope, by default host; a lifetime as rules.ParseLifetime
// has it, by default once. An error wraps ErrBadAnswer and says what would do.
func (q Question) ParseAnswer(words []string) (Choice, error) {
	var verdict *rules.Verdict
	scope, life := Host, once
	if q.Summary() {
		scope = Listed
	}
	for _, w := range words {
		switch w = strings.ToLower(w); w {
		case "allow", "deny":
			v := rules.Deny
			if w == "allow" {
				v = rules.Allow
			}
			if verdict != nil && *verdict != v {
				return Choice{}, fmt.Errorf("%w: allow or deny, not both", ErrBadAnswer)
			}
			verdict = &v
		case "review":
			if !q.Summary() {
				return Choice{}, fmt.Errorf("%w: it is one question, there is no list to review", ErrBadAnswer)
			}
			return q.Review(), nil
		case string(Address), string(Host), string(Domain), string(Anything), string(Listed):
			scope = Scope(w)
		default:
			l, err := rules.ParseLifetime(w)
			if err != nil {
				return Choice{}, fmt.Errorf("%w: %q is neither allow nor deny, no scope (%s) and no time (once, exit, 30m, 7d, always)",
					ErrBadAnswer, Clean(w, maxName), q.scopeList())
			}
			life = l
		}
	}
	if verdict == nil {
		return Choice{}, fmt.Errorf("%w: allow or deny?", ErrBadAnswer)
	}
	c, ok := q.Choose(*verdict, scope, life)
	if !ok {
		return Choice{}, fmt.Errorf("%w: it cannot be about %q, only about: %s", ErrBadAnswer, scope, q.scopeList())
	}
	return c, q.check(c.Answer)
}

func (q Question) scopeList() string {
	var list []string
	for _, s := range q.Scopes() {
		list = append(list, string(s))
	}
	return strings.Join(list, ", ")
}

// check reports why a cannot answer the question.
func (q Question) check(a Answer) error {
	switch {
	case a.Review && q.Summary():
		return nil
	case a.Review:
		return fmt.Errorf("%w: it is not a summary", ErrBadAnswer)
	case a.Verdict != rules.Allow && a.Verdict != rules.Deny:
		return fmt.Errorf("%w: verdict %v is neither allow nor deny", ErrBadAnswer, a.Verdict)
	case a.Lifetime.Kind > rules.Always:
		return fmt.Errorf("%w: unknown lifetime %d", ErrBadAnswer, a.Lifetime.Kind)
	case a.Lifetime.Kind == rules.For && a.Lifetime.For <= 0:
		return fmt.Errorf("%w: lifetime of %v", ErrBadAnswer, a.Lifetime.For)
	case q.Summary():
		return q.checkSummary(a)
	case a.Dest.IsZero():
		return fmt.Errorf("%w: it decides nothing", ErrBadAnswer)
	}
	for _, s := range q.Scopes() {
		if d, _ := q.Reach(s); a.Dest == d {
			return nil
		}
	}
	return fmt.Errorf("%w: it decides %q, the question is about %q", ErrBadAnswer, a.Dest, q.Dest)
}

// checkSummary: nobody has read a list of destinations well enough to write as
// many rules for ever.
func (q Question) checkSummary(a Answer) error {
	switch {
	case !a.Dest.IsZero():
		return fmt.Errorf("%w: it decides %q, the question is about several", ErrBadAnswer, a.Dest)
	case a.Lifetime.Kind != rules.Once && a.Lifetime.Kind != rules.UntilExit:
		return fmt.Errorf("%w: a whole list is decided once or until the app exits", ErrBadAnswer)
	case a.Through <= 0:
		return fmt.Errorf("%w: it does not say which questions were seen", ErrBadAnswer)
	}
	return nil
}

// errNoDest refuses a question that no rule and no answer could speak of.
var errNoDest = errors.New("question has no destination")

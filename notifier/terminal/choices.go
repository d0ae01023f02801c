package terminal

import (
	"slices"
	"strings"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// lives are the keys of each lifetime, to allow and to deny.
var lives = []struct {
	kind        rules.LifetimeKind
	allow, deny byte
}{
	{rules.Once, 'a', 'd'},
	{rules.UntilExit, 'e', 'E'},
	{rules.For, 'h', 'H'},
	{rules.Always, 'A', 'D'},
}

// Keys that are not a verdict for a time.
const (
	keyScope  = 's'
	keyReview = 'r'
	keyHelp   = '?'
	keyEnter  = '\n'
)

// offer is a choice that has a key.
type offer struct {
	key    byte
	choice notifier.Choice
}

// offers returns the choices of a scope, the shortest lived first.
func offers(q notifier.Question, v rules.Verdict, s notifier.Scope) []offer {
	var list []offer
	for _, l := range q.Lifetimes() {
		for _, k := range lives {
			c, ok := q.Choose(v, s, l)
			if !ok || k.kind != l.Kind {
				continue
			}
			key := k.deny
			if v == rules.Allow {
				key = k.allow
			}
			list = append(list, offer{key, c})
		}
	}
	return list
}

// choose is the choice of a key. The end of input denies once.
func choose(q notifier.Question, s notifier.Scope, key byte) (notifier.Choice, bool) {
	if key == keyReview && q.Summary() {
		return q.Review(), true
	}
	if key == keyEOF {
		return q.Choose(rules.Deny, s, rules.Lifetime{})
	}
	for _, o := range slices.Concat(offers(q, rules.Allow, s), offers(q, rules.Deny, s)) {
		if o.key == key {
			return o.choice, true
		}
	}
	return notifier.Choice{}, false
}

// firstScope is what answers are about unless the person says otherwise: the
// narrowest scope that still fits tomorrow, for addresses change.
func firstScope(q notifier.Question) notifier.Scope {
	if q.Summary() {
		return notifier.Listed
	}
	return notifier.Host
}

// scopes returns those of q in the order of the key that changes them.
func scopes(q notifier.Question) []notifier.Scope {
	list := q.Scopes()
	i := max(0, slices.Index(list, firstScope(q)))
	return slices.Concat(list[i:], list[:i])
}

// nextScope is the one after s.
func nextScope(q notifier.Question, s notifier.Scope) notifier.Scope {
	list := scopes(q)
	return list[(slices.Index(list, s)+1)%len(list)]
}

// done says what an answer did, to what and for how long.
func done(q notifier.Question, c notifier.Choice) string {
	if c.Answer.Review {
		return "each is asked by itself"
	}
	verb, what := "denied ", strings.TrimPrefix(c.Label, c.Answer.Verdict.String()+" ")
	if c.Answer.Verdict == rules.Allow {
		verb = "allowed "
	}
	if c.Scope == notifier.Host { // needs no name before it is answered
		what = q.ScopeName(c.Scope) + " " + what
	}
	switch {
	case c.Rule != "":
		what += ", rule written"
	case c.Answer.Lifetime.Kind == rules.Once:
		what += ", no rule written"
	}
	return verb + what
}

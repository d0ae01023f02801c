package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// The rules that are written all the time: of some apps, about an address for
// documentation. Each file has many, so that half of one would be seen.
const (
	ledgerApps  = 3
	ledgerRules = 40 // of an app
)

// entry is what is known of a rule.
type entry int

const (
	absent  entry = iota
	present       // it was said to be written
	unknown       // the daemon went away before it said so, or had an error
)

// ledger adds and removes rules, and remembers what it was told.
type ledger struct {
	w *world

	writing sync.Mutex // held while one rule is written; above mu
	client  *api.Client

	mu      sync.Mutex
	entries map[string]entry
}

func newLedger(w *world) *ledger { return &ledger{w: w, entries: make(map[string]entry)} }

func ledgerApp(app int) string { return fmt.Sprintf("ledger%d", app) }

func ledgerDest(app, i int) string { return fmt.Sprintf("tcp://192.0.2.%d:%d", app+1, 1000+i) }

// write changes rules until ctx ends.
func (l *ledger) write(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.change(ctx); err != nil {
			pause(ctx, 2*time.Millisecond)
		}
		pause(ctx, l.w.moment(4*time.Millisecond))
	}
}

// change adds a rule, or removes it if it is there.
func (l *ledger) change(ctx context.Context) error {
	app := l.w.pick(ledgerApps)
	text := ledgerDest(app, l.w.pick(ledgerRules))
	dest, err := rules.ParseDestination(text)
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.client == nil {
		if l.client, err = l.w.dial(nil); err != nil {
			l.client = nil
			return err
		}
	}
	name := ledgerApp(app)
	next, op, args := present, api.OpRulesAdd, any(api.Rule{App: name, Verdict: rules.Allow, Dest: dest, Enabled: true})
	if l.begin(text) == present {
		next, op, args = absent, api.OpRulesRemove, api.RuleFilter{App: name, Dest: &dest}
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err = l.client.Call(call, op, args, nil)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.entries[text] = next
		l.w.count("rules written", 1)
		return nil
	}
	if errors.Is(err, api.ErrClosed) {
		l.client.Close()
		l.client = nil
	}
	l.w.count("rules whose writing was cut short", 1)
	return err
}

// begin returns what a rule was, about which nobody knows anything until it is
// written.
func (l *ledger) begin(text string) entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.entries[text]
	l.entries[text] = unknown
	return was
}

// lister returns the rules in force of an app.
type lister func(app string) (api.RuleList, error)

// listed asks the daemon.
func (w *world) listed(ctx context.Context) lister {
	return func(app string) (list api.RuleList, err error) {
		return list, w.ask(ctx, api.OpRulesList, api.RuleFilter{App: app}, &list)
	}
}

// audit compares the rules in force with what is known of them, and takes note
// of what became of those that were cut short. Nothing is written meanwhile.
func (l *ledger) audit(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.compareLocked(l.w.listed(ctx), func(text string, there bool) {
		l.entries[text] = map[bool]entry{true: present, false: absent}[there]
	})
}

// compare compares rules with what is known, which may be about to change.
func (l *ledger) compare(list lister) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.compareLocked(list, func(string, bool) {})
}

func (l *ledger) compareLocked(list lister, note func(text string, there bool)) error {
	l.w.never(rulesLost)
	for app := range ledgerApps {
		rules, err := list(ledgerApp(app))
		if err != nil {
			return fmt.Errorf("list rules: %w", err)
		}
		there := make(map[string]bool)
		for _, r := range rules.Rules {
			there[r.Dest.String()] = true
		}
		for i := range ledgerRules {
			text := ledgerDest(app, i)
			switch e := l.entries[text]; {
			case e == present && !there[text]:
				l.w.wrong(rulesLost, "%s is lost", text)
			case e == absent && there[text]:
				l.w.wrong(rulesLost, "%s is there again", text)
			}
			note(text, there[text])
			delete(there, text)
		}
		for text := range there {
			l.w.wrong(rulesLost, "%s was never written", text)
		}
		if len(rules.Differs) > 0 {
			l.w.wrong(rulesLost, "not on disk as they are in force: %v", rules.Differs)
		}
	}
	return nil
}

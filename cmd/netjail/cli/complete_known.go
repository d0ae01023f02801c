package cli

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/jail"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// patience is how long whoever presses Tab waits for a daemon, or a disk, that
// does not answer. One that does takes a millisecond.
const patience = 300 * time.Millisecond

var errSlow = errors.New("no answer in time")

// within returns what get does, or an error after patience.
func within(get func() error) error {
	done := make(chan error, 1)
	go func() { done <- get() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errSlow
	}
}

// known asks the daemon, and says whether there is one that answered.
func known[T any](c *completion, op string, args any) (reply T, ok bool) {
	// In a jail it would be refused, which the outer netjail says on the terminal.
	if c.silent || jail.Nested() {
		return reply, false
	}
	type answer struct {
		reply T
		ok    bool
	}
	answers := make(chan answer, 1) // not reply itself: it may be written too late
	err := within(func() error {
		var x answer
		running, err := c.app.askRunning(op, args, &x.reply)
		x.ok = running && err == nil
		answers <- x
		return err
	})
	if err != nil {
		c.silent = true // it is not waited for a second time
		return reply, false
	}
	x := <-answers
	return x.reply, x.ok
}

// rules returns the rules in force, or those in the files if no daemon runs.
func (c *completion) rules() []api.Rule {
	if list, ok := known[api.RuleList](c, api.OpRulesList, api.RuleFilter{Brief: true}); ok {
		return list.Rules
	}
	lists := make(chan []api.Rule, 1)
	err := within(func() error {
		dir, err := api.ConfigDir()
		if err != nil {
			return err
		}
		files, err := rulefile.Load(dir)
		var list []api.Rule
		for _, f := range files {
			list = append(list, api.FromRules(f.Rules())...)
		}
		lists <- list
		return err
	})
	if err != nil {
		return nil
	}
	return <-lists
}

// apps returns those that have rules or run now. Without a daemon the names of
// the files do, whatever is in them.
func (c *completion) apps() []string {
	var names []string
	if list, ok := known[api.RuleList](c, api.OpRulesList, api.RuleFilter{Brief: true}); ok {
		for _, r := range list.Rules {
			names = append(names, r.App)
		}
		for _, j := range c.jails() {
			names = append(names, j.App)
		}
	} else if dir, err := api.ConfigDir(); err == nil {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), ".toml"); ok {
				names = append(names, name)
			}
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return rules.CheckAppName(name) != nil })
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *completion) jails() []api.Jail {
	st, _ := known[api.Status](c, api.OpStatus, nil)
	return st.Jails
}

func (c *completion) questions() api.Questions {
	list, _ := known[api.Questions](c, api.OpQuestionList, nil)
	return list
}

func (c *completion) blocklists() api.Blocklists {
	lists, _ := known[api.Blocklists](c, api.OpBlocklistList, nil)
	return lists
}

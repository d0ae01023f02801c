package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/cmd/netjail/preset"
	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// arguments complete what usage lines call by these names; "list APP" or "rules
// APP" is what the command list, or those of rules, have in place of APP. What
// is not here is not completed.
var arguments = map[string]completer{
	"COMMAND":      commands,
	"ARG":          commands,
	"FILE":         files,
	"PATH":         files,
	"APP":          appsOrPrograms,
	"rules APP":    apps(true),
	"add APP":      oneOf(apps(true), programs),
	"DEST":         destinations(0, anyHost, classes),
	"remove DEST":  destinations(0, anyHost, nil),
	"explain DEST": destinations(0, oneHost, nil),
	"test DEST":    destinations(0, oneHost, nil),
	"rules ID":     ruleIDs(func(*api.Rule) bool { return true }),
	"enable ID":    ruleIDs(func(r *api.Rule) bool { return !r.Enabled }),
	"disable ID":   ruleIDs(func(r *api.Rule) bool { return r.Enabled }),
	"answer ID":    questionIDs,
	"answer WORD":  answerWords,
	"preset NAME":  commaList(presets),
	"remove FILE":  blocklists,
}

// flagWords complete the values of flags.
var flagWords = map[string]completer{
	"allow":            commaList(destinations(-1, anyHost, classes)),
	"deny":             commaList(destinations(-1, anyHost, classes)),
	"rules":            files,
	"exe":              files,
	"preset":           commaList(presets),
	"as":               appsOrPrograms,
	"app":              apps(false),
	"jail":             jails,
	"for":              fixed(inOrder, "30m", "1h", "12h", "1d", "7d", "30d", "always"),
	"since":            fixed(inOrder, "10m", "1h", "12h", "1d", "7d"),
	"timeout":          fixed(inOrder, "10s", "30s", "5m", "1h"),
	"answer":           fixed(inOrder, "nxdomain\tthere is no such name", "refused\tthe server does not say"),
	"addr":             nothing,
	"host":             nothing,
	"note":             nothing,
	"keep-fd":          nothing,
	"limit":            nothing,
	"idle":             fixed(inOrder, "1m", "10m", "1h"),
	"question-timeout": fixed(inOrder, "30s", "1m", "5m"),
}

func files(*completion, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, filesToo
}

func nothing(*completion, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, noFiles
}

// oneOf offers what the first has, and where that is nothing, what the next has.
func oneOf(list ...completer) completer {
	return func(c *completion, args []string, word string) (offers []cobra.Completion, d cobra.ShellCompDirective) {
		for _, f := range list {
			if offers, d = f(c, args, word); len(offers) > 0 {
				break
			}
		}
		return offers, d
	}
}

// commaList completes the last element of a list.
func commaList(f completer) completer {
	return func(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		at := strings.LastIndexByte(word, ',') + 1
		offers, d := f(c, args, word[at:])
		for i := range offers {
			offers[i] = word[:at] + offers[i]
		}
		return offers, d
	}
}

// apps offers the apps that have rules or run now, and perhaps @all.
func apps(every bool) completer {
	return func(c *completion, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		list := c.apps()
		if every {
			list = append(list, api.Every+"\tevery app")
		}
		return beginning(word, list), noFiles
	}
}

var appsOrPrograms = oneOf(apps(false), programs)

// classes are the hosts that are words.
var classes = []string{"@localhost\tthis machine", "@lan\tits networks", "@internet\teverything else", "@multicast", "@any\tevery address and name"}

// destinations offers those of rules of the app that argument n names, or of
// every app, as far as they fit, and more.
func destinations(n int, fit func(*rules.Host) bool, more []string) completer {
	return func(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var list []string
		for _, r := range c.rules() {
			if (n < 0 || n < len(args) && r.App == args[n]) && fit(&r.Dest.Host) {
				list = append(list, r.Dest.String()+"\t"+r.App+": "+r.Verdict.String())
			}
		}
		slices.Sort(list)
		list = slices.CompactFunc(list, func(a, b string) bool { return bare(a) == bare(b) })
		return beginning(word, append(list, more...)), noFiles
	}
}

func anyHost(*rules.Host) bool { return true }

// oneHost fits what is one host: a call is not to several.
func oneHost(h *rules.Host) bool {
	return h.Kind == rules.HostName || h.Kind == rules.HostAddr || h.Kind == rules.HostUnix
}

// bare is an offer without its note.
func bare(offer string) string {
	word, _, _ := strings.Cut(offer, "\t")
	return word
}

func ruleIDs(fit func(*api.Rule) bool) completer {
	return func(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var list []string
		for _, r := range c.rules() {
			if fit(&r) && !slices.Contains(args, r.ID) {
				list = append(list, r.ID+"\t"+strings.Join([]string{r.App, r.Verdict.String(), r.Dest.String(), lifetime(&r)}, " "))
			}
		}
		return beginning(word, list), noFiles
	}
}

func questionIDs(c *completion, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list := c.questions()
	var offers []string
	for _, q := range list.Open {
		offers = append(offers, q.ID+"\t"+notifier.Clean(q.Headline(), maxNote))
	}
	for i := range list.Missed {
		q := list.Missed[i].Question()
		offers = append(offers, q.ID+"\tmissed: "+notifier.Clean(q.Headline(), maxNote))
	}
	return beginning(word, offers), inOrder
}

// answerWords offers the words that netjail answer takes for a question: the
// verdict first, then a scope and a lifetime that are not there yet.
func answerWords(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list := c.questions()
	found, ok := list.Find(args[0])
	if !ok {
		return beginning(word, []string{"allow", "deny"}), inOrder
	}
	q, said := found[0], args[1:]
	lives := []string{"once\tthe calls that wait", "exit\tuntil " + q.AppName() + " exits"}
	if !slices.ContainsFunc(list.Open, func(o notifier.Question) bool { return o.ID == q.ID }) {
		lives = nil // nobody waits any more
	}
	if !q.Summary() {
		lives = append(lives, "30m", "1h", "7d", "always")
	}
	var offers []string
	switch {
	case slices.Contains(said, "review"):
		return nil, noFiles
	case !slices.Contains(said, "allow") && !slices.Contains(said, "deny"):
		offers = []string{"allow", "deny"}
		if q.Summary() {
			offers = append(offers, "review\task them one by one")
		}
		return beginning(word, offers), inOrder
	}
	for _, s := range q.Scopes() {
		offers = append(offers, string(s)+"\t"+q.ScopeName(s))
	}
	if slices.ContainsFunc(offers, func(offer string) bool { return slices.Contains(said, bare(offer)) }) {
		offers = nil
	}
	if !slices.ContainsFunc(said, isLifetime) {
		offers = append(offers, lives...)
	}
	return beginning(word, offers), inOrder
}

func isLifetime(word string) bool {
	_, err := rules.ParseLifetime(word)
	return err == nil
}

func presets(_ *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	s, err := preset.Here()
	if err != nil {
		return nil, noFiles
	}
	return beginning(word, slices.DeleteFunc(preset.Names(s), func(name string) bool {
		return slices.Contains(args, name) || !printable(name)
	})), noFiles
}

// blocklists offers the files that can be removed, or any.
func blocklists(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var list []string
	for _, l := range c.blocklists().Files {
		if printable(l.File) && !slices.Contains(args, l.File) {
			list = append(list, l.File)
		}
	}
	return beginning(word, list), filesToo
}

func jails(c *completion, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var list []string
	for _, j := range c.jails() {
		list = append(list, j.ID+"\t"+oneLine(j.Command))
	}
	return beginning(word, list), noFiles
}

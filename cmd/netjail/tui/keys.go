package tui

import (
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// binding says what keys do. The footer, the help and the documentation are
// made of the bindings.
type binding struct {
	keys  string // all that do it, separated by spaces
	mode  mode
	part  string // of the help
	help  string
	foot  func(m *model) string // in the footer, where it does something; nil or "": not there
	off   func(m *model) string // why it does nothing now, or ""; nil: it always does something
	press func(m *model, key string) []command

	answers bool // it decides a question, which the person must have seen
}

// The parts of the help.
const (
	partQuestion = "The question on top"
	partList     = "The list"
	partElse     = "Everywhere"
)

var parts = []string{partQuestion, partList, partElse}

func (b *binding) has(key string) bool { return slices.Contains(strings.Fields(b.keys), key) }

// bindings returns every key.
func bindings() []binding {
	return slices.Concat(questionKeys(), listKeys(), moveKeys(), otherKeys(), modalKeys())
}

func questionKeys() []binding {
	var list []binding
	for _, l := range []struct {
		allow, deny string
		life        rules.Lifetime
		words, foot string
	}{
		{"a", "d", rules.Lifetime{Kind: rules.Once}, "once", "allow once"},
		{"A", "D", rules.Lifetime{Kind: rules.Always}, "always, by a rule", "always"},
		{"e", "E", rules.Lifetime{Kind: rules.UntilExit}, "until the app exits", "until exit"},
		{"h", "H", rules.Lifetime{Kind: rules.For, For: time.Hour}, "for 1 hour", "1 hour"},
	} {
		off := func(m *model) string { return m.noLifetime(l.life) }
		list = append(list,
			binding{keys: l.allow, part: partQuestion, help: "allow " + l.words, foot: words(l.foot), off: off, answers: true,
				press: func(m *model, _ string) []command { return m.reply(rules.Allow, l.life) }},
			binding{keys: l.deny, part: partQuestion, help: "deny " + l.words, foot: words("deny likewise"), off: off, answers: true,
				press: func(m *model, _ string) []command { return m.reply(rules.Deny, l.life) }})
	}
	slices.SortStableFunc(list, func(a, b binding) int { return strings.Compare(a.help[:1], b.help[:1]) }) // allow, deny
	return append(list,
		binding{keys: "s", part: partQuestion, help: "about more of it, or less", foot: words("scope"), off: (*model).noScope,
			press: act((*model).rescope)},
		binding{keys: "r", part: partQuestion, help: "review a list one by one", foot: words("review"), off: (*model).noReview, answers: true,
			press: func(m *model, _ string) []command { return m.review() }},
		binding{keys: "n", part: partQuestion, help: "next question", off: (*model).noNext,
			press: act(func(m *model) { m.choose(1) })},
		binding{keys: "p", part: partQuestion, help: "previous question", off: (*model).noNext,
			press: act(func(m *model) { m.choose(-1) })},
	)
}

func listKeys() []binding {
	return []binding{
		{keys: "/", part: partList, help: "filter it as you type", foot: words("filter"), press: act(func(m *model) { m.mode = filtering })},
		{keys: "o", part: partList, help: "sort it by something else", foot: words("sort"), off: (*model).noOrder, press: act((*model).sort)},
		{keys: "x", part: partList, help: "end it; remove a rule", foot: (*model).endWord, off: (*model).noEnd, press: act((*model).endSelected)},
		{keys: "K", part: partList, help: "stop the jail", foot: words("stop jail"), off: (*model).noStop, press: act((*model).stopSelected)},
		{keys: "Enter Space", part: partList, help: "fold an app, unfold it", off: (*model).noFold, press: act((*model).fold)},
	}
}

func moveKeys() []binding {
	return []binding{
		{keys: "Up k", part: partList, help: "up", press: act(func(m *model) { m.move(-1) })},
		{keys: "Down j", part: partList, help: "down", press: act(func(m *model) { m.move(1) })},
		{keys: "PgUp", part: partList, help: "a page up", press: act(func(m *model) { m.move(-m.page()) })},
		{keys: "PgDn", part: partList, help: "a page down", press: act(func(m *model) { m.move(m.page()) })},
		{keys: "Home g", part: partList, help: "to the first row", press: act(func(m *model) { m.lists[m.view].pick(0) })},
		{keys: "End G", part: partList, help: "to the last row", press: act(func(m *model) { m.lists[m.view].pick(len(m.lists[m.view].rows)) })},
		{keys: "Tab", part: partList, help: "next list", foot: words("list"), press: func(m *model, _ string) []command { return m.show((m.view + 1) % views) }},
		{keys: "Backtab", part: partList, help: "previous list", press: func(m *model, _ string) []command { return m.show((m.view + views - 1) % views) }},
		{keys: "1 2 3 4", part: partList, help: "one of the lists", press: (*model).pressView},
	}
}

func otherKeys() []binding {
	return []binding{
		{keys: "?", part: partElse, help: "help, and back", foot: words("help"), press: act(func(m *model) { m.mode = helping })},
		{keys: "q", part: partElse, help: "quit, changing nothing", foot: words("quit"), press: send(quit{})},
		{keys: "Ctrl-C", mode: anyMode, part: partElse, help: "the same", press: send(quit{})},
		{keys: "Esc", part: partElse, help: "back; no filter", press: act((*model).back)},
		{keys: "Ctrl-Z", mode: anyMode, part: partElse, help: "suspend; fg comes back", press: send(suspend{})},
		{keys: "Ctrl-L", mode: anyMode, part: partElse, help: "draw the screen anew", press: send(redraw{})},
	}
}

// modalKeys are those of filters, of questions before something is done, and of
// the help.
func modalKeys() []binding {
	return []binding{
		{keys: "Enter", mode: filtering, foot: words("keep the filter"), press: act(func(m *model) { m.mode = normal })},
		{keys: "Esc", mode: filtering, foot: words("no filter"), press: act((*model).back)},
		{keys: "Backspace", mode: filtering, press: act((*model).untype)},
		{keys: "Ctrl-U", mode: filtering, press: act(func(m *model) { m.setFilter("") })},
		{keys: "Up", mode: filtering, press: act(func(m *model) { m.move(-1) })},
		{keys: "Down", mode: filtering, press: act(func(m *model) { m.move(1) })},
		{keys: "PgUp", mode: filtering, press: act(func(m *model) { m.move(-m.page()) })},
		{keys: "PgDn", mode: filtering, press: act(func(m *model) { m.move(m.page()) })},
		{keys: "y", mode: confirming, foot: words("yes"), press: func(m *model, _ string) []command { return m.yes() }},
		{keys: "n Esc", mode: confirming, foot: words("no"), press: act((*model).back)},
		{keys: "Esc ? q Enter", mode: helping, foot: words("back"), press: act((*model).back)},
		{keys: "Up k", mode: helping, press: act(func(m *model) { m.move(-1) })},
		{keys: "Down j", mode: helping, foot: (*model).moreWord, press: act(func(m *model) { m.move(1) })},
		{keys: "PgUp", mode: helping, press: act(func(m *model) { m.move(-m.height / 2) })},
		{keys: "PgDn Space", mode: helping, press: act(func(m *model) { m.move(m.height / 2) })},
	}
}

// press does what a key means now, or says why it does nothing.
func (m *model) press(key string) []command {
	for _, b := range bindings() {
		if b.mode != m.mode && b.mode != anyMode || !b.has(key) {
			continue
		}
		if why := b.why(m); why != "" {
			m.say(key + ": " + why)
			return nil
		}
		return b.press(m, key)
	}
	if m.mode == filtering {
		m.typed(key)
	}
	return nil
}

// why says why a key does nothing now, or "".
func (b *binding) why(m *model) string {
	why := ""
	if b.off != nil {
		why = b.off(m)
	}
	if why == "" && b.answers && !m.noticed() {
		why = "another question is here now: look, then press again"
	}
	return why
}

func words(s string) func(*model) string { return func(*model) string { return s } }

func act(f func(*model)) func(*model, string) []command {
	return func(m *model, _ string) []command { f(m); return nil }
}

func send(c command) func(*model, string) []command {
	return func(*model, string) []command { return []command{c} }
}

// pressView goes to the list whose number was pressed.
func (m *model) pressView(key string) []command { return m.show(View(key[0] - '1')) }

func (m *model) noScope() string {
	if why := m.noAnswer(); why != "" {
		return why
	}
	if q, _ := m.asking(); len(q.Scopes()) < 2 {
		return "an answer can be about nothing else"
	}
	return ""
}

func (m *model) noReview() string {
	if why := m.noAnswer(); why != "" {
		return why
	}
	if q, _ := m.asking(); !q.Summary() {
		return "this is one question, not a list of them"
	}
	return ""
}

func (m *model) noNext() string {
	if len(m.asked) < 2 {
		return "there is no other question"
	}
	return ""
}

func (m *model) noOrder() string {
	if m.view != Connections {
		return "only connections can be sorted"
	}
	return ""
}

func (m *model) noFold() string {
	if _, ok := m.lists[m.view].selected(); !ok || m.view != Connections {
		return "there is nothing to fold"
	}
	return ""
}

func (m *model) noStop() string {
	_, why := m.jail()
	return why
}

// moreWord is there where the help does not fit.
func (m *model) moreWord() string {
	if len(m.helpPage()) > m.helpRows() {
		return "more"
	}
	return ""
}

// endWord is what x does.
func (m *model) endWord() string {
	if m.view == Rules {
		return "remove"
	}
	return "end"
}

package notifier

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// A storm is an app that asks about its fifth destination within ten seconds.
// What it asks from then on is put to people as one summary.
const (
	stormSize   = 5
	stormWithin = 10 * time.Second
)

// opening is when a question was opened, and about what.
type opening struct {
	at   time.Time
	dest rules.Destination
}

// Item is one question in a summary.
type Item struct {
	ID      string            `json:"id"`
	Number  int               `json:"number"` // counts from 1; later questions have higher ones
	Op      rules.Op          `json:"op"`
	Dest    rules.Destination `json:"dest"`
	Names   []string          `json:"names,omitempty"`
	Waiting int               `json:"waiting"`
}

// Summary says whether the question is one about several others, which are in
// Items. It has no destination of its own.
func (q Question) Summary() bool { return len(q.Items) > 0 }

// Last is the number of the last question that a summary lists.
func (q Question) Last() int {
	if len(q.Items) == 0 {
		return 0
	}
	return q.Items[len(q.Items)-1].Number
}

// List returns the destinations of a summary, at most max of them and a line
// about the rest.
func (q Question) List(max int) []string {
	var lines []string
	for i, item := range q.Items {
		if i == max {
			lines = append(lines, fmt.Sprintf("and %d more", len(q.Items)-max))
			break
		}
		verb := ""
		if item.Op == rules.Listen {
			verb = "listen on "
		}
		lines = append(lines, verb+phrase(item.Dest))
	}
	return lines
}

// wants says what a summary is about: "12 more hosts".
func (q Question) wants() string {
	thing := "host"
	if slices.ContainsFunc(q.Items, func(i Item) bool { return i.Op == rules.Listen || i.Dest.Host.Kind == rules.HostUnix }) {
		thing = "destination"
	}
	if len(q.Items) == 1 {
		return "1 more " + thing
	}
	return fmt.Sprintf("%d more %ss", len(q.Items), thing)
}

// gatherLocked makes a question that has just been opened part of the summary
// of its app, if there is a storm. Else it is shown by itself.
func (q *Queue) gatherLocked(e *entry) {
	app, now := e.q.App, e.q.Opened
	recent := slices.DeleteFunc(q.recent[app], func(o opening) bool {
		return now.Sub(o.at) >= stormWithin || o.dest == e.key.dest // to try again is no storm
	})
	recent = append(recent, opening{now, e.key.dest})
	recent = recent[max(0, len(recent)-stormSize):]
	q.recent[app] = recent
	s := q.summaries[app]
	if s == nil && len(recent) < stormSize {
		return
	}
	if s == nil {
		s = q.newSummaryLocked(app, now)
	}
	s.takeLocked(e)
}

func (q *Queue) newSummaryLocked(app string, now time.Time) *entry {
	s := newEntry(key{app: app}, Question{App: app, Opened: now})
	s.q.ID = q.newIDLocked()
	q.summaries[app] = s
	return s
}

// takeLocked adds a question to the summary s.
func (s *entry) takeLocked(e *entry) {
	s.taken++
	e.summary, e.number = s, s.taken
	e.q.Summarized = s.q.ID
	s.items = append(s.items, e)
	s.listLocked()
}

// listLocked brings what a summary says up to date. Its deadline is that of its
// first question.
func (s *entry) listLocked() {
	s.q.Items, s.q.Waiting, s.q.Deadline = nil, 0, time.Time{}
	for _, e := range s.items {
		s.q.Items = append(s.q.Items, Item{e.q.ID, e.number, e.q.Op, e.q.Dest, slices.Clone(e.q.Names), e.q.Waiting})
		s.q.Waiting += e.q.Waiting
		if s.q.Deadline.IsZero() || e.q.Deadline.Before(s.q.Deadline) {
			s.q.Deadline = e.q.Deadline
		}
	}
}

// dropLocked takes a question that is settled out of its summary, and closes
// that with the last one.
func (q *Queue) dropLocked(e *entry) {
	s := e.summary
	s.items = slices.DeleteFunc(s.items, func(o *entry) bool { return o == e })
	if s.settled {
		return
	}
	if len(s.items) == 0 {
		q.settleLocked(s, Answer{}, cmp.Or(e.err, ErrAnswered))
		return
	}
	s.listLocked()
	q.changedLocked(s)
}

// spreadLocked does to the questions of a summary what was done to it, which
// is settled. Those that nobody can have seen in it get another one.
func (q *Queue) spreadLocked(s *entry) {
	var unseen []*entry
	items := slices.Clone(s.items)
	for _, e := range items {
		a := s.answer
		switch {
		case s.err != nil:
			q.settleLocked(e, Answer{}, s.err)
		case e.number > a.Through:
			unseen = append(unseen, e)
		case a.Review:
			e.summary, e.q.Summarized = nil, ""
			q.showLocked(e, e.want)
			q.changedLocked(e)
		default:
			q.settleLocked(e, Answer{Verdict: a.Verdict, Lifetime: a.Lifetime, Dest: e.q.Dest, By: a.By, Dismissed: a.Dismissed}, nil)
		}
	}
	unseen = slices.DeleteFunc(unseen, func(e *entry) bool { return e.settled })
	if len(unseen) == 0 || q.closed {
		return
	}
	next := q.newSummaryLocked(s.key.app, time.Now())
	for _, e := range unseen {
		next.takeLocked(e)
	}
	q.showLocked(next, s.shown)
	q.changedLocked(next)
}

// sentence says what a summary wants.
func (q Question) sentence() string {
	return q.AppName() + q.title() + " wants " + q.wants()
}

// listed is how many destinations of a summary are shown where there is room
// for little.
const listed = 8

// summaryDetails are the Details of a summary.
func (q Question) summaryDetails(now time.Time) []string {
	lines := q.List(listed)
	if calls := q.Calls(); q.Waiting > len(q.Items) {
		lines = append(lines, calls)
	}
	return append(lines, q.Countdown(now))
}

// shorter joins a list of words by commas.
func shorter(list []string, max int) string {
	clean := make([]string, 0, max)
	for _, n := range list[:min(len(list), max)] {
		clean = append(clean, Clean(n, maxName)+idn(n))
	}
	return strings.Join(clean, ", ")
}

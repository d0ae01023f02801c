package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// Limits on what is kept of missed questions.
const (
	maxMissed = 200
	maxFormer = 8
	maxNames  = 16
	maxNote   = 300
	missedFor = time.Hour // keeps a daemon that nobody talks to
)

// missed are the questions that nobody decided. They are forgotten with the
// daemon, and the oldest when there are too many.
//
// Lock order: the queue's, mu, the store's.
type missed struct {
	mu   sync.Mutex
	list []missedQuestion // the latest last
}

// missedQuestion has every id that people may have seen of it.
type missedQuestion struct{ api.Missed }

func (q *missedQuestion) called(id string) bool {
	return q.ID == id || slices.Contains(q.Ids, id)
}

func (q *missedQuestion) about(app string, d rules.Destination) bool {
	return q.App == app && q.Dest.Equal(d)
}

// record takes note of a question.
func (m *missed) record(q notifier.Question, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UTC()
	next := missedQuestion{Missed: api.Missed{
		ID: q.ID, App: q.App, Exe: q.Exe, Op: q.Op, Dest: q.Dest, Wider: q.Wider, Addr: q.Addr,
		Names: few(q.Names), Hosts: few(q.Hosts), Note: notifier.Clean(q.Note, maxNote),
		Why: whyMissed(why), Calls: max(1, q.Waiting), First: now, Last: now,
	}}
	i := slices.IndexFunc(m.list, func(o missedQuestion) bool { return o.about(q.App, q.Dest) })
	if i >= 0 {
		old := m.list[i]
		m.list = slices.Delete(m.list, i, i+1)
		next.Calls += old.Calls
		next.First, next.Ids = old.First, old.Ids
		if next.ID == "" {
			next.ID = old.ID
		} else {
			next.Ids = slices.Insert(slices.Clone(next.Ids), 0, old.ID)
			next.Ids = next.Ids[:min(len(next.Ids), maxFormer)]
		}
	}
	if next.ID == "" {
		next.ID = m.newIDLocked()
	}
	if len(m.list) >= maxMissed {
		m.list = slices.Delete(m.list, 0, len(m.list)-maxMissed+1)
	}
	m.list = append(m.list, next)
}

func few(list []string) []string { return slices.Clone(list[:min(len(list), maxNames)]) }

// whyMissed is an error of the queue's as others see it.
func whyMissed(err error) string {
	switch {
	case errors.Is(err, notifier.ErrNobody):
		return api.MissedNobody
	case errors.Is(err, notifier.ErrDismissed):
		return api.MissedDismissed
	case errors.Is(err, notifier.ErrFull):
		return api.MissedFull
	}
	return api.MissedTimeout
}

// newIDLocked names a question that the queue has not named.
func (m *missed) newIDLocked() string {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		if !slices.ContainsFunc(m.list, func(q missedQuestion) bool { return q.called(id) }) {
			return id
		}
	}
}

// all returns the missed questions, the latest last.
func (m *missed) all() []missedQuestion {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// drop forgets the questions that pick selects, and returns them.
func (m *missed) drop(pick func(*missedQuestion) bool) []api.Missed {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := []api.Missed{}
	m.list = slices.DeleteFunc(m.list, func(q missedQuestion) bool {
		if pick(&q) {
			gone = append(gone, q.Missed)
			return true
		}
		return false
	})
	return gone
}

// since returns how long ago the latest question was missed; ok is false when
// there is none.
func (m *missed) since(now time.Time) (d time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.list) == 0 {
		return 0, false
	}
	return now.Sub(m.list[len(m.list)-1].Last), true
}

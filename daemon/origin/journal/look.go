package journal

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// State says how an executable compares with the one that was allowed.
type State uint8

// The states.
const (
	Unknown State = iota // nothing was allowed to it before, or nobody can tell
	Same
	Changed
)

// Finding is what a look has found out.
type Finding struct {
	State   State
	Allowed time.Time // when something was last allowed to it; zero if Unknown
}

// Look is a look at the executable of a process, for as long as a question is
// open: what a person allows is what was looked at, not what the process or its
// path have become since.
type Look struct {
	Found <-chan Finding // brings one, some time

	journal *Journal
	key     key
	allowed chan time.Time
}

// Look looks at the executable that process pid runs, whose path is exe, for an
// app. The look ends with ctx. The goroutine that looks touches nothing else
// and need not be waited for.
func (j *Journal) Look(ctx context.Context, app, exe string, pid int) *Look {
	found := make(chan Finding, 1)
	l := &Look{Found: found, journal: j, key: key{app, pathOf(exe)}, allowed: make(chan time.Time, 1)}
	if !filepath.IsAbs(exe) || len(exe) > maxPath || pid <= 0 {
		found <- Finding{}
		return l
	}
	go l.run(ctx, pid, found)
	return l
}

// Allowed takes note that a person has allowed something to the executable. It
// comes before the look's end, and waits for nothing. A nil Look does nothing.
func (l *Look) Allowed(at time.Time) {
	if l == nil {
		return
	}
	select {
	case l.allowed <- at:
	default: // once is enough
	}
}

func (l *Look) run(ctx context.Context, pid int, found chan<- Finding) {
	f, was, first := l.first(ctx, pid)
	found <- first
	if f == nil {
		return
	}
	defer f.Close()
	<-ctx.Done()
	select {
	case at := <-l.allowed:
		if err := l.journal.record(l.key, f, was, at); err != nil {
			l.journal.log.Warn("remember executable", "path", l.key.path, "error", err)
		}
	default:
	}
}

// first opens the executable, and compares it. f is nil where there is none any
// more, or none to be read.
func (l *Look) first(ctx context.Context, pid int) (f *os.File, was stamp, found Finding) {
	j := l.journal
	if !j.enter(ctx) {
		return nil, stamp{}, Finding{}
	}
	defer j.leave()
	j.load.Do(j.read)
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return nil, stamp{}, Finding{}
	}
	if was, err = stampOf(f); err != nil {
		f.Close()
		return nil, stamp{}, Finding{}
	}
	return f, was, j.compare(ctx, l.key, f, was)
}

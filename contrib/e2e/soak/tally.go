package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

// What must never happen. Each is printed where it was looked for, also when
// there was none.
const (
	reachedDenied = "packets that reached a denied destination"
	rulesLost     = "rules lost, half-written or come from nowhere"
	historyWrong  = "histories that opened wrongly"
	failedForGood = "allowed connects that failed for good"
	afterTheEnd   = "packets from a jail without a supervisor"
	didNotEnd     = "programs that hung"
	grown         = "processes that had grown"
	slowed        = "other jails that were slowed down too much"
	notCutOff     = "hostile clients that were served on, or stalled others"
	notClear      = "refusals without a clear message"
	brokeDown     = "scenarios that could not go on"
)

// shown bounds how many lines tell of what is wrong.
const shown = 50

// tally counts what was done and seen.
type tally struct {
	log io.Writer

	mu     sync.Mutex
	names  []string // of counts, in the order of their coming
	counts map[string]int64
	wrongs []string // names of what must not be
	bad    map[string]int64
	lines  int
}

// count adds to a count.
func (t *tally) count(name string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.counts[name]; !ok {
		t.names = append(t.names, name)
	}
	t.counts[name] += int64(n)
}

// never begins to look for what must not happen.
func (t *tally) never(names ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(t.wrongs, name) {
			t.wrongs = append(t.wrongs, name)
		}
	}
}

// wrong counts what must not happen, and says what it was.
func (t *tally) wrong(name, format string, args ...any) {
	t.never(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad[name]++
	if t.lines++; t.lines <= shown {
		fmt.Fprintf(t.log, "soak: WRONG: %s: %s\n", name, fmt.Sprintf(format, args...))
	}
}

// merge adds what another one has counted.
func (t *tally) merge(o *tally) {
	for _, name := range o.names {
		t.count(name, int(o.counts[name]))
	}
	t.never(o.wrongs...)
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, n := range o.bad {
		t.bad[name] += n
	}
}

// note says how far it is.
func (t *tally) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.log, "soak: %s\n", fmt.Sprintf(format, args...))
}

// print prints all counts, and returns how much went wrong.
func (t *tally) print(w io.Writer) (wrong int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range t.names {
		fmt.Fprintf(w, "%10d %s\n", t.counts[name], name)
	}
	for _, name := range t.wrongs {
		fmt.Fprintf(w, "%10d WRONG: %s\n", t.bad[name], name)
		wrong += t.bad[name]
	}
	return wrong
}

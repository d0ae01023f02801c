// Package journal remembers what an executable was when a person last allowed
// something to it, and finds out whether it is another one now.
//
//	j := journal.New(file, log)
//	defer j.Close()
//	look := j.Look(ctx, app, exe, pid) // when a question is opened
//	found := <-look.Found              // Changed, and when it was allowed
//	look.Allowed(time.Now())           // when a person has allowed it
//
// It looks at what a process runs, not at what has its path. An update of the
// distribution is a change like any other. What an interpreter runs, a script,
// is not looked at: the executable is the interpreter. Nor is a process that
// makes itself unreadable, whose calls netjail cannot decide about either.
//
// It is for people to read. It decides nothing, holds nothing up, and proves
// nothing: a program that can replace an executable of the user's can write to
// the journal's file as well, and one that has a new path is a new one. Losing
// the journal costs only the notice.
package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxEntries bounds how many executables are remembered.
	maxEntries = 2000

	// maxPath bounds the path of one that is, and so the file.
	maxPath = 1024

	// maxSize bounds what is read of an executable.
	maxSize = 1 << 30

	// maxSums bounds how many results of reading are kept.
	maxSums = 256

	// maxLooks bounds how many executables are looked at at once. A file system
	// that does not answer, which can be a program's own, holds up that many at
	// most.
	maxLooks = 8

	// limit bounds how long one executable is read, and how long the others
	// wait for that.
	limit = 30 * time.Second
)

// Journal remembers executables. It is safe for concurrent use.
type Journal struct {
	file   string
	log    *slog.Logger
	load   sync.Once
	places chan struct{} // holds a token for each that looks
	turn   chan struct{} // holds a token for the one that reads

	disk   sync.Mutex // held while the file is written; before mu
	closed bool       // guarded by disk

	mu      sync.Mutex
	entries map[key]entry
	sums    map[stamp]string // of what has been read lately
}

// key is what an entry is about: an executable is one for each app.
type key struct{ app, path string }

// entry is what an executable was when something was allowed to it.
type entry struct {
	stamp
	sum     string // SHA-256, hexadecimal; "": it was too large
	allowed time.Time
}

// New returns a Journal that is kept in a file. It reads nothing yet. A nil log
// discards.
func New(file string, log *slog.Logger) *Journal {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Journal{
		file: file, log: log,
		places: make(chan struct{}, maxLooks), turn: make(chan struct{}, 1),
		entries: make(map[key]entry), sums: make(map[stamp]string),
	}
}

// Close waits until the file is written, if it is being written, and has
// nothing written any more. It does not wait for what is being read: that may
// never end.
func (j *Journal) Close() {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.closed = true
}

// compare says what an open executable is in comparison with the one that was
// allowed. It reads the file only if nothing else tells.
func (j *Journal) compare(ctx context.Context, k key, f *os.File, now stamp) Finding {
	j.mu.Lock()
	e, ok := j.entries[k]
	j.mu.Unlock()
	if !ok {
		return Finding{}
	}
	state, sure := e.compare(now)
	if !sure {
		sum, _, err := j.sum(ctx, f, now)
		switch {
		case err != nil:
			j.log.Debug("read executable", "path", k.path, "error", err)
			return Finding{}
		case sum == e.sum:
			state = Same
		default:
			state = Changed
		}
	}
	if state == Unknown {
		return Finding{}
	}
	return Finding{State: state, Allowed: e.allowed}
}

// compare is sure unless the content has to be compared.
func (e *entry) compare(now stamp) (state State, sure bool) {
	switch {
	case e.stamp == now:
		return Same, true
	case e.size != now.size:
		return Changed, true
	case e.sum == "" || now.size > maxSize:
		return Unknown, true
	}
	return Unknown, false
}

// record takes note that something was allowed to an executable, which is as it
// was when it was looked at. What has changed since is not what a person was
// asked about.
func (j *Journal) record(k key, f *os.File, was stamp, at time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if !j.enter(ctx) {
		return ctx.Err()
	}
	defer j.leave()
	e := entry{stamp: was, allowed: at.UTC().Truncate(time.Second)}
	j.mu.Lock()
	old := j.entries[k]
	j.mu.Unlock()
	if old.stamp == was {
		e.sum = old.sum
	} else if was.size <= maxSize {
		sum, settled, err := j.sum(ctx, f, was)
		if err != nil {
			return err
		}
		if !settled {
			e.ctime = 0 // as no file has it: compare the content
		}
		e.sum = sum
	}
	if now, err := stampOf(f); err != nil || now != was {
		return err
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	if j.closed {
		return nil
	}
	return j.save(j.put(k, e))
}

// put adds an entry, and returns all.
func (j *Journal) put(k key, e entry) map[key]entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[k] = e
	trim(j.entries)
	return maps.Clone(j.entries)
}

// trim drops the oldest entries where there are too many.
func trim(entries map[key]entry) {
	if len(entries) <= maxEntries {
		return
	}
	keys := slices.SortedFunc(maps.Keys(entries), func(a, b key) int { return entries[a].allowed.Compare(entries[b].allowed) })
	for _, k := range keys[:len(keys)-maxEntries] {
		delete(entries, k)
	}
}

// sum returns the SHA-256 of an executable. It has settled if the same stamp
// means the same content from now on.
func (j *Journal) sum(ctx context.Context, f *os.File, now stamp) (sum string, settled bool, err error) {
	select {
	case j.turn <- struct{}{}:
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
	release := sync.OnceFunc(func() { <-j.turn })
	defer release()
	defer time.AfterFunc(limit, release).Stop() // it may hang
	j.mu.Lock()
	sum, settled = j.sums[now]
	j.mu.Unlock()
	if settled {
		return sum, true, nil
	}
	began := time.Now()
	if sum, err = hash(f, now.size, began.Add(limit)); err != nil {
		return "", false, err
	}
	after, err := stampOf(f)
	if settled = err == nil && after == now && now.settled(began); settled {
		j.mu.Lock()
		defer j.mu.Unlock()
		if len(j.sums) >= maxSums {
			clear(j.sums)
		}
		j.sums[now] = sum
	}
	return sum, settled, nil
}

// hash reads size bytes of a file, and gives up at the end of its time.
func hash(f *os.File, size int64, end time.Time) (string, error) {
	h := sha256.New()
	for r := io.NewSectionReader(f, 0, size); ; {
		if time.Now().After(end) {
			return "", fmt.Errorf("hash: %w", os.ErrDeadlineExceeded)
		}
		_, err := io.CopyN(h, r, 4<<20)
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("hash: %w", err)
		}
	}
}

// enter takes a place among those that look, unless ctx ends before.
func (j *Journal) enter(ctx context.Context) bool {
	select {
	case j.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (j *Journal) leave() { <-j.places }

// pathOf returns the path that an executable has or had. What the kernel says
// of one that was removed ends in a remark.
func pathOf(exe string) string { return strings.TrimSuffix(exe, " (deleted)") }

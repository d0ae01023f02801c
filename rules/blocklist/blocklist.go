// Package blocklist holds names that are not to be talked to: millions of them,
// from hosts files, domain lists and adblock-style lists, in one file that
// every process maps and none has to load.
//
//	var b blocklist.Builder
//	err := b.Add("/home/me/lists/ads.txt")
//	err = b.Build().Save(path)
//	l, err := blocklist.Open(path)
//	entry, source, blocked := l.Lookup("img.ads.example.org")
//
// An entry blocks its name and every name below it, as an adblock list means
// it. An exception, @@||name^, opens its name and every name below it again,
// whatever list blocks them. It opens what lists block and nothing else: the
// rules still decide.
//
// A line that is nothing known is an error with its file and line, and a file
// in which nothing can be taken is one too: half a list, or the error page that
// a download left, must not take the place of a good one. What is known and
// cannot be said of a name is skipped and counted; see Builder.Add.
//
// The package fetches nothing, watches nothing and decides nothing.
package blocklist

import (
	"fmt"
	"time"
)

// Limits on what a list may hold. They bound what a file that is no list can
// cost, and no list known comes near.
const (
	MaxSources = 128      // lists in one file
	MaxNames   = 16 << 20 // names in one file, counted before those listed twice are dropped

	maxLine  = 64 << 10 // bytes of one line
	maxName  = 253      // bytes of a DNS name
	maxLabel = 63       // bytes of one of its labels
)

// Source is a list that was read, and what it gave.
type Source struct {
	File       string    `json:"file"`
	Size       int64     `json:"size"`
	Modified   time.Time `json:"modified"`
	Names      int       `json:"names"`      // that it blocks, as often as they stand there
	Exceptions int       `json:"exceptions"` // that it opens again
	Skipped    int       `json:"skipped"`    // of the known kinds that do not block a name
}

// Error is what is wrong with a list, and where. Lines count from 1; line 0 is
// the file as a whole.
type Error struct {
	File string
	Line int
	Err  error
}

// Error returns "file:line: what".
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

package jail

import (
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/proposal"
)

// Limits of a Seen.
const (
	maxSeen     = 4096 // destinations, and names that were found
	maxPrograms = 8    // that are looked at for one destination
	maxSeenName = 64   // names of one address
)

// Seen is what a run was let through to, for whoever writes rules from it. What
// every program may do without a rule is not in it, nor what was refused. The
// zero value is ready; after Run it does not change any more.
type Seen struct {
	mu    sync.Mutex
	dests map[spot]*sighting
	names map[string]*proposal.Lookup
	more  int  // calls to destinations beyond the limit
	left  bool // programs that go on unseen
}

// spot is where a call goes.
type spot struct {
	op    rules.Op
	proto rules.Proto
	addr  netip.AddrPort
	unix  string
}

// sighting is what was seen of one destination.
type sighting struct {
	own, learned []string // names
	bare, self   bool
	programs     []string
	tid, looks   int // the last caller that was looked at, and how many were
	count        int
	first, last  time.Time
}

// note takes note of a call that is allowed. It is on the way of each, so what
// is known already costs no allocation.
func (s *Seen) note(r *rules.Request, c *interpose.Call, now time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := spot{r.Op, r.Proto, r.Addr, r.Unix}
	d := s.dests[at]
	if d == nil {
		if len(s.dests) >= maxSeen {
			s.more++
			return
		}
		if s.dests == nil {
			s.dests = make(map[spot]*sighting)
		}
		d = &sighting{first: now}
		s.dests[at] = d
	}
	d.count++
	d.last = now
	d.bare = d.bare || len(r.Names) == 0
	d.self = d.self || r.Self
	d.name(r.Names, r.Own)
	if d.tid != c.TID && d.looks < maxPrograms {
		d.tid = c.TID
		d.looks++
		if exe := c.Exe(); exe != "" {
			d.programs = with(d.programs, notifier.Clean(filepath.Base(exe), 40))
		}
	}
}

// name adds names of the address, of which the first are the machine's own.
func (d *sighting) name(list []string, own int) {
	for i, name := range list {
		if i < own {
			d.own = with(d.own, name)
		} else {
			d.learned = with(d.learned, name)
		}
	}
}

// with adds a text to a list that has not got it.
func with(list []string, text string) []string {
	if len(list) < maxSeenName && !slices.Contains(list, text) {
		list = append(list, text)
	}
	return list
}

// found takes note of a name that there is something about.
func (s *Seen) found(name string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.names[name]
	if l == nil {
		if len(s.names) >= maxSeen {
			return
		}
		if s.names == nil {
			s.names = make(map[string]*proposal.Lookup)
		}
		l = &proposal.Lookup{Name: name, First: now}
		s.names[name] = l
	}
	l.Count++
	l.Last = now
}

// end adds the names that an address has at the end: each could have been there
// before the call that it was not known at.
func (s *Seen) end(names func(netip.Addr) (list []string, own int), left bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = left
	for at, d := range s.dests {
		if at.unix == "" && at.op != rules.Listen {
			d.name(names(at.addr.Addr()))
		}
	}
}

// Sight returns what was seen, in no order.
func (s *Seen) Sight() proposal.Sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out proposal.Sight
	for at, d := range s.dests {
		out.Seen = append(out.Seen, proposal.Observation{
			Op: at.op, Proto: at.proto, Addr: at.addr, Unix: at.unix, Names: slices.Concat(d.own, d.learned), Own: len(d.own),
			Bare: d.bare, Self: d.self, Programs: d.programs, Count: d.count, First: d.first, Last: d.last,
		})
	}
	for _, l := range s.names {
		out.Found = append(out.Found, *l)
	}
	return out
}

// More returns how many calls went to destinations beyond the 4,096 that are
// kept.
func (s *Seen) More() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.more
}

// Left says whether the program left others behind, which go on unseen.
func (s *Seen) Left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

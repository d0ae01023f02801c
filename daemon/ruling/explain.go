package ruling

import (
	"slices"
	"time"

	"github.com/netjail/netjail/rules"
)

// Explanation is a ruling, and what became of the rules that did not make it.
type Explanation struct {
	Ruling
	Name string // that the address was decided under, "": none
	Lost []rules.Lost
}

// Explain rules as Decide does, and says why.
func (f *Force) Explain(r *rules.Request, at Place, now time.Time) Explanation {
	x := f.Set.Explain(r, now)
	e := Explanation{Ruling: f.Decide(r, at, now), Name: x.Name, Lost: x.Lost}
	if x.Rule == nil || e.Rule != nil {
		return e
	}
	// The rule that came first did not decide after all.
	l := rules.Lost{Rule: x.Rule}
	switch e.Cause {
	case ByBlocklist:
		l.Reason = rules.Blocked
	case ByReserve:
		l.Reason = rules.Reserved
	default:
		return e
	}
	e.Lost = slices.Insert(e.Lost, 0, l)
	return e
}

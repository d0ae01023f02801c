// Package guard chooses what stands behind the filter of a jail: what in the
// kernel refuses a call that the filter let through, or that the supervisor
// would get wrong.
//
//	g, err := guard.Choose(guard.Auto, guard.Leave{}, guard.Here(""))
//	cmd.Landlock = g.Domain
//
// The filter asks, a guard enforces. One that is asked for by name and is not to
// be had is an error, and no weaker run. The package makes no guard: interpose
// enters the Landlock domain, and what installs the others says by a Probe
// whether it can.
package guard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netjail/netjail/interpose"
)

// Kind is a kind of guard.
type Kind string

// The kinds. Auto is a wish only: the strongest that is to be had.
const (
	Auto     Kind = "auto"
	Strict   Kind = "strict"
	Landlock Kind = "landlock"
	NFT      Kind = "nft"
	Netns    Kind = "netns"
)

// order is the one in which Auto tries. A private network is never taken unasked:
// it changes what the program sees of this machine.
var order = []Kind{NFT, Landlock, Strict}

// Parse reads what --guard is given. Nothing is Auto.
func Parse(s string) (Kind, error) {
	if s == "" {
		return Auto, nil
	}
	kinds := []Kind{Auto}
	for _, r := range table {
		kinds = append(kinds, r.Kind)
	}
	if !slices.Contains(kinds, Kind(s)) {
		return "", fmt.Errorf("there is no guard %q, but %s", s, list(kinds))
	}
	return Kind(s), nil
}

// Leave says what of Landlock's a jail does without, because a program needs it.
type Leave struct {
	Abstract bool `json:"abstract,omitempty"` // abstract sockets are the supervisor's alone to refuse
	Signals  bool `json:"signals,omitempty"`  // programs outside of the jail can be signalled
}

// ParseLeave reads what --no-scope is given.
func ParseLeave(words []string) (l Leave, err error) {
	for _, w := range words {
		switch w {
		case "abstract":
			l.Abstract = true
		case "signal":
			l.Signals = true
		default:
			return l, fmt.Errorf("there is no scope %q, but signal and abstract", w)
		}
	}
	return l, nil
}

// Guard is one that was chosen.
type Guard struct {
	Kind   Kind
	Domain interpose.Domain // that the program is started in
	Covers []string         // what the kernel refuses whatever filter and supervisor do
}

// String is the guard's name, and in brackets what it covers.
func (g Guard) String() string {
	if len(g.Covers) == 0 {
		return fmt.Sprintf("%s (the filter alone)", g.Kind)
	}
	return fmt.Sprintf("%s (the kernel refuses %s)", g.Kind, list(g.Covers))
}

// Packets says whether the guard has every packet, and drops what it is not told
// of.
func (g Guard) Packets() bool { return g.Kind.packets() }

func (k Kind) packets() bool { return k == NFT || k == Netns }

// Choose returns the guard that is wanted, if this machine has it.
func Choose(want Kind, leave Leave, m Machine) (Guard, error) {
	var err error
	tries := []Kind{want}
	if want == Auto {
		tries = order
	}
	for _, k := range tries {
		if err = m.has(k); err == nil {
			d := domain(k, leave)
			return Guard{Kind: k, Domain: d, Covers: covers(k, d, m.ABI)}, nil
		}
	}
	return Guard{}, err
}

// domain is the Landlock domain of a jail with such a guard. Where another guard
// has the sockets, calls may be left to the kernel, which must not refuse them.
func domain(k Kind, leave Leave) interpose.Domain {
	return interpose.Domain{
		None: k == Strict, Sockets: k.packets(),
		Abstract: leave.Abstract, Signals: leave.Signals,
	}
}

// list writes a list as people do.
func list[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

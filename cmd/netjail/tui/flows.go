package tui

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// order is what connections are sorted by.
type order uint8

const (
	byApp   order = iota // and in an app the oldest first
	byBytes              // the most first
	byAge                // the youngest first
	byName
	orders
)

var orderNames = [orders]string{"app", "bytes", "age", "name"}

// group is the connections of one app.
type group struct {
	app            string
	flows          []int // in the order of their rows
	sent, received uint64
	jails          []string
	youngest       int64 // UnixNano
}

// groupFlows sorts the flows that match into groups, and these too.
func groupFlows(flows []Flow, by order, match func(*Flow) bool) []group {
	index := make(map[string]int)
	var groups []group
	for i := range flows {
		f := &flows[i]
		if !match(f) {
			continue
		}
		at, ok := index[f.App]
		if !ok {
			at = len(groups)
			index[f.App] = at
			groups = append(groups, group{app: f.App})
		}
		groups[at].take(f, i)
	}
	names := flowNames(flows, by)
	for i := range groups {
		slices.SortFunc(groups[i].flows, func(a, b int) int { return compareFlows(flows, names, by, a, b) })
	}
	slices.SortFunc(groups, func(a, b group) int { return compareGroups(&a, &b, by) })
	return groups
}

func (g *group) take(f *Flow, i int) {
	g.flows = append(g.flows, i)
	g.sent += f.Sent
	g.received += f.Received
	g.youngest = max(g.youngest, f.Since.UnixNano())
	if !slices.Contains(g.jails, f.Jail) {
		g.jails = append(g.jails, f.Jail)
	}
}

// flowNames are the texts to sort by, made once for each flow.
func flowNames(flows []Flow, by order) []string {
	if by != byName {
		return nil
	}
	names := make([]string, len(flows))
	for i := range flows {
		names[i] = flows[i].host()
	}
	return names
}

func compareFlows(flows []Flow, names []string, by order, a, b int) int {
	x, y, first := &flows[a], &flows[b], 0
	switch by {
	case byBytes:
		first = cmp.Compare(y.Sent+y.Received, x.Sent+x.Received)
	case byAge:
		first = y.Since.Compare(x.Since)
	case byName:
		first = cmp.Compare(names[a], names[b])
	}
	if first != 0 {
		return first
	}
	if first = x.Since.Compare(y.Since); first != 0 {
		return first
	}
	return cmp.Compare(x.ID, y.ID)
}

func compareGroups(a, b *group, by order) int {
	first := 0
	switch by {
	case byBytes:
		first = cmp.Compare(b.sent+b.received, a.sent+a.received)
	case byAge:
		first = cmp.Compare(b.youngest, a.youngest)
	}
	return cmp.Or(first, cmp.Compare(a.app, b.app))
}

// host is whom a flow is with: by name if one is known, else the address.
func (f *Flow) host() string {
	switch {
	case len(f.Names) > 0:
		return f.Names[0]
	case f.Remote.Port() != 0:
		return f.Remote.Addr().String()
	}
	return f.Local.Addr().String()
}

// texts are what a filter looks at.
func (f *Flow) texts(b []byte) []byte {
	b = append(append(b, f.App...), 0)
	for _, n := range f.Names {
		b = append(append(b, n...), 0)
	}
	b = append(f.Remote.AppendTo(b), 0)
	b = append(f.Local.AppendTo(b), 0)
	b = append(append(b, f.Network...), 0)
	b = append(append(b, stateWord(f)...), 0)
	b = append(append(b, f.Program...), 0)
	return strconv.AppendInt(b, int64(f.PID), 10)
}

// flowMatcher tells whether a flow has all words of a filter. There are many
// flows, so it makes no garbage.
func flowMatcher(filter string) func(*Flow) bool {
	var words [][]byte
	for _, w := range strings.Fields(strings.ToLower(filter)) {
		words = append(words, []byte(w))
	}
	var buf []byte
	return func(f *Flow) bool {
		if len(words) == 0 {
			return true
		}
		buf = f.texts(buf[:0])
		for i, c := range buf {
			if 'A' <= c && c <= 'Z' {
				buf[i] = c + 'a' - 'A'
			}
		}
		return !slices.ContainsFunc(words, func(w []byte) bool { return !bytes.Contains(buf, w) })
	}
}

// flowRows lists groups, each with its flows unless it is folded.
func flowRows(flows []Flow, groups []group, folded map[string]bool) []row {
	rows := make([]row, 0, len(flows)+len(groups))
	for i := range groups {
		g := &groups[i]
		rows = append(rows, row{id: "app " + g.app, at: i, head: true})
		if folded[g.app] {
			continue
		}
		for _, at := range g.flows {
			rows = append(rows, row{id: flows[at].ID, at: at})
		}
	}
	return rows
}

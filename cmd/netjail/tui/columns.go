package tui

import (
	"fmt"
	"strconv"
	"strings"
)

// column is one of a list. The first that has no width gets what is left.
type column struct {
	head  string
	width int
	right bool
	name  bool // too long a text loses its beginning, not its end
	from  int  // how wide a screen must be to have it
}

// columns are those of the view for a screen of some width.
func (m *model) columns() []column {
	app := 12
	if m.width >= 110 {
		app = 20
	}
	switch m.view {
	case Connections:
		return []column{
			{head: "APP AND PEER", name: true}, {head: "SERVICE", width: 8, from: 56}, {head: "STATE", width: 7, from: 48},
			{head: "SENT", width: 6, right: true}, {head: "RECVD", width: 6, right: true}, {head: "AGE", width: 3, right: true},
			{head: "PROGRAM", width: app + 1, from: 72},
		}
	case Rules:
		return []column{
			{head: "APP", width: app}, {head: "VERDICT", width: 7}, {head: "DESTINATION"}, {head: "LIFETIME", width: 11, from: 56},
			{head: "BY", width: 10, from: 72},
		}
	case History:
		return []column{
			{head: "TIME", width: 12, from: 56}, {head: "APP", width: app}, {head: "VERDICT", width: 7}, {head: "DESTINATION"},
			{head: "BY", width: 14, from: 72},
		}
	}
	return []column{
		{head: "APP", width: app}, {head: "UP", width: 3, right: true}, {head: "GUARD", width: 8, from: 56}, {head: "PROCESS", width: 8, right: true, from: 56},
		{head: "COMMAND"},
	}
}

// cells are the texts of a row.
func (m *model) cells(r row) []string {
	c := &m.contents[m.view]
	switch m.view {
	case Connections:
		if r.head {
			return m.groupCells(&m.groups[r.at])
		}
		return m.flowCells(&c.Flows[r.at])
	case Rules:
		r := &c.Rules[r.at]
		return []string{r.App, r.Verdict, r.Dest, r.Lifetime, orNone(r.By)}
	case History:
		e := &c.Events[r.at]
		form := "15:04:05"
		if y, d := e.Time.Year(), e.Time.YearDay(); y != m.now.Year() || d != m.now.YearDay() {
			form = "Jan _2 15:04"
		}
		return []string{e.Time.Format(form), e.App, e.Verdict, e.Dest, orNone(strings.TrimSpace(e.By + " " + e.Lifetime))}
	}
	j := &c.Jails[r.at]
	return []string{j.App, since(m.now, j.Started), j.Guard, strconv.Itoa(j.Supervisor), j.Command}
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (m *model) groupCells(g *group) []string {
	mark := "- "
	if m.folded[g.app] {
		mark = "+ "
	}
	jails := ""
	if len(g.jails) > 1 {
		jails = plural(len(g.jails), "jail")
	}
	return []string{
		fmt.Sprintf("%s%s (%d)", mark, g.app, len(g.flows)), "", "", bytesText(g.sent, true), bytesText(g.received, true), "", jails,
	}
}

func (m *model) flowCells(f *Flow) []string {
	who := endpoint(f)
	switch n := len(f.Names); {
	case n > 1:
		who += " +" + strconv.Itoa(n-1)
	case n == 0 && f.Remote.Port() != 0 && placeOf(f.Remote.Addr()) == nameUnknown:
		who += " ?"
	}
	return []string{
		"  " + who, service(f), stateWord(f), bytesText(f.Sent, f.Known), bytesText(f.Received, f.Known), since(m.now, f.Since),
		strconv.Itoa(f.PID) + " " + f.Program,
	}
}

// about is a line with the rest of what is known of the selected row.
func (m *model) about() string {
	r, ok := m.lists[m.view].selected()
	if !ok {
		return ""
	}
	c := &m.contents[m.view]
	var parts []string
	switch m.view {
	case Connections:
		if r.head {
			return ""
		}
		parts = aboutFlow(&c.Flows[r.at])
	case Rules:
		r := &c.Rules[r.at]
		parts = []string{r.ID, r.Where, r.Note}
	case History:
		e := &c.Events[r.at]
		parts = []string{e.Op, e.Why, strings.Join(e.Names, ", ")}
	case Jails:
		n := 0
		for i := range m.contents[Connections].Flows {
			if m.contents[Connections].Flows[i].Jail == c.Jails[r.at].ID {
				n++
			}
		}
		parts = []string{plural(n, "connection")}
	}
	return join(parts)
}

func aboutFlow(f *Flow) []string {
	var parts []string
	if f.Remote.Port() == 0 {
		return append(parts, fmt.Sprintf("%s on %s", f.Network, f.Local), f.State)
	}
	parts = append(parts, fmt.Sprintf("%s %s", f.Network, f.Remote))
	if len(f.Names) > 0 {
		parts = append(parts, strings.Join(f.Names, ", "))
	} else {
		parts = append(parts, placeOf(f.Remote.Addr()))
	}
	return append(parts, "from "+f.Local.String(), f.State)
}

// join puts a mark between the texts that there are.
func join(parts []string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	return strings.Join(some, " · ")
}

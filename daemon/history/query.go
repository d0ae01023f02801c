package history

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// Limits of a page. The reply has to fit into a message.
const (
	defaultLimit = 200
	maxLimit     = 10000
	maxPage      = 4 << 20 // bytes of text, which JSON may make longer
)

// Query returns the events that f selects. All that was added before is among
// them.
func (s *Store) Query(ctx context.Context, f api.HistoryFilter) (api.HistoryPage, error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	f.Limit = min(f.Limit, maxLimit)
	page := api.HistoryPage{Events: []api.HistoryEvent{}}
	err := s.perform(ctx, func(d *database) (err error) {
		if page, err = d.query(ctx, &f); err != nil {
			return err
		}
		page.HistoryState, err = d.state(ctx, &f)
		return err
	})
	s.tell(&page.HistoryState)
	return page, err
}

// Usage returns how often rules decided, by their ids. A rule that is not among
// them never did.
func (s *Store) Usage(ctx context.Context) (all map[string]api.RuleUse, err error) {
	err = s.perform(ctx, func(d *database) (err error) {
		all, err = d.usage(ctx)
		return err
	})
	return all, err
}

func (s *Store) tell(st *api.HistoryState) {
	if err := s.Trouble(); err != nil {
		st.Trouble = err.Error()
	}
	st.Lost += int(s.lost.Load())
}

// state returns what was lost, and the notice that nobody was told yet.
func (d *database) state(ctx context.Context, f *api.HistoryFilter) (st api.HistoryState, err error) {
	if err = d.db.QueryRowContext(ctx, "SELECT coalesce(sum(count), 0) FROM lost WHERE time >= ?", since(f)).Scan(&st.Lost); err != nil {
		return st, err
	}
	if err = d.db.QueryRowContext(ctx, "SELECT coalesce(group_concat(text, '; '), '') FROM notice").Scan(&st.Notice); err != nil {
		return st, err
	}
	if st.Notice != "" {
		_, err = d.db.ExecContext(ctx, "DELETE FROM notice")
	}
	return st, err
}

// since is from when on, as the tables have it.
func since(f *api.HistoryFilter) int64 {
	if f.Since.IsZero() {
		return 0
	}
	return f.Since.UnixMicro()
}

// where is a condition and its values.
type where struct {
	text []string
	args []any
}

func (w *where) add(text string, args ...any) {
	w.text = append(w.text, text)
	w.args = append(w.args, args...)
}

func (w *where) String() string {
	if len(w.text) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.text, " AND ")
}

// flows is the condition on the table of flows.
func flows(f *api.HistoryFilter) (w where) {
	if f.App != "" {
		w.add("app = ?", f.App)
	}
	if f.Denied {
		w.add("verdict = ?", rules.Deny.String())
	}
	switch host := strings.ToLower(f.Host); {
	case strings.HasPrefix(host, "*."):
		w.add("instr(hosts, ?)", host[1:]+" ")
	case strings.HasPrefix(host, "."):
		w.add("(instr(hosts, ?) OR instr(hosts, ?))", host+" ", " "+host[1:]+" ")
	case host != "":
		w.add("instr(hosts, ?)", " "+f.Host+" ")
	}
	return w
}

// dense is how many events have to be of the flows that are asked for, for the
// latest of them to be found faster by looking through all, by time.
const dense = 4000

const columns = `SELECT e.id, e.time, e.first, e.jail, e.pid, e.count, e.waited,
	f.kind, f.app, f.exe, f.what, f.dest, f.addr, f.names, f.verdict, f.about, f.lifetime, f.by, f.why`

// query returns a page, without its state.
func (d *database) query(ctx context.Context, f *api.HistoryFilter) (page api.HistoryPage, err error) {
	page.Events = []api.HistoryEvent{}
	if err = d.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM event").Scan(&page.Last); err != nil {
		return page, err
	}
	of := flows(f)
	var w where
	index := "INDEXED BY event_time"
	order := "e.time DESC, e.id DESC"
	w.add("e.time >= ?", since(f))
	if f.Follow {
		index, order = "NOT INDEXED", "e.id"
		w.add("e.id > ?", f.After)
	}
	if len(of.text) > 0 {
		among := "flow IN (SELECT id FROM flow" + of.String() + ")"
		if !f.Follow {
			var n int
			text := "SELECT count(*) FROM (SELECT 1 FROM event INDEXED BY event_flow WHERE " + among + " LIMIT ?)"
			if err = d.db.QueryRowContext(ctx, text, append(slices.Clone(of.args), dense)...).Scan(&n); err != nil {
				return page, err
			}
			if n < dense {
				index = "INDEXED BY event_flow"
			}
		}
		w.add("e."+among, of.args...)
	}
	text := columns + " FROM event e " + index + " CROSS JOIN flow f ON f.id = e.flow" + w.String() + " ORDER BY " + order + " LIMIT ?"
	rows, err := d.db.QueryContext(ctx, text, append(w.args, f.Limit+1)...)
	if err != nil {
		return page, err
	}
	if page.Events, page.More, err = take(rows, f.Limit); err != nil {
		return page, err
	}
	switch {
	case !f.Follow:
		slices.Reverse(page.Events)
	case page.More:
		page.Last = page.Events[len(page.Events)-1].ID
	}
	return page, nil
}

// former returns the latest events from before the database was opened.
func (d *database) former(ctx context.Context) ([]api.HistoryEvent, error) {
	rows, err := d.db.QueryContext(ctx, columns+` FROM event e CROSS JOIN flow f ON f.id = e.flow
		WHERE e.id <= ? ORDER BY e.id DESC LIMIT ?`, d.base, Recent)
	if err != nil {
		return nil, err
	}
	list, _, err := take(rows, Recent)
	slices.Reverse(list)
	return list, err
}

// take reads events, as many as there is room for.
func take(rows *sql.Rows, limit int) (list []api.HistoryEvent, more bool, err error) {
	defer rows.Close()
	list = []api.HistoryEvent{}
	size := 0
	for rows.Next() {
		if len(list) == limit || size > maxPage {
			return list, true, nil
		}
		var e api.HistoryEvent
		var f flow
		var last, first int64
		err := rows.Scan(&e.ID, &last, &first, &e.Jail, &e.PID, &e.Count, &e.Waited,
			&f.kind, &f.app, &f.exe, &f.what, &f.dest, &f.addr, &f.names, &f.verdict, &f.about, &f.lifetime, &f.by, &f.why)
		if err != nil {
			return nil, false, err
		}
		e.Time, e.First = time.UnixMicro(last).UTC(), time.UnixMicro(first).UTC()
		if err := f.fill(&e); err != nil {
			return nil, false, err
		}
		size += len(f.exe) + len(f.dest) + len(f.names) + len(f.about) + len(f.why) + 300
		list = append(list, e)
	}
	return list, false, rows.Err()
}

// fill is the reverse of flowOf. What it cannot read is no text of ours.
func (f *flow) fill(e *api.HistoryEvent) error {
	e.Kind, e.App, e.Exe, e.What, e.By, e.Why = f.kind, f.app, f.exe, f.what, f.by, f.why
	if f.names != "" {
		e.Names = strings.Split(f.names, " ")
	}
	var err error
	if f.addr != "" {
		e.Addr, err = netip.ParseAddr(f.addr)
	}
	for _, v := range []struct {
		into interface{ UnmarshalText([]byte) error }
		text string
	}{{&e.Dest, f.dest}, {&e.Verdict, f.verdict}, {&e.About, f.about}, {&e.Lifetime, f.lifetime}} {
		if err == nil {
			err = v.into.UnmarshalText([]byte(v.text))
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

// usage reads how often rules decided, and when last.
func (d *database) usage(ctx context.Context) (map[string]api.RuleUse, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT rule, hits, last FROM use")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]api.RuleUse)
	for rows.Next() {
		var rule string
		var hits, last int64
		if err := rows.Scan(&rule, &hits, &last); err != nil {
			return nil, err
		}
		at := time.UnixMicro(last).UTC()
		all[rule] = api.RuleUse{Hits: hits, Last: &at}
	}
	return all, rows.Err()
}

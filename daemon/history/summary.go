package history

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// Summary counts the events that f selects, by app and host.
func (s *Store) Summary(ctx context.Context, f api.HistoryFilter) (api.HistorySummary, error) {
	sum := api.HistorySummary{Hosts: []api.HistoryHost{}}
	err := s.perform(ctx, func(d *database) (err error) {
		if sum.Hosts, err = d.hosts(ctx, &f); err != nil {
			return err
		}
		sum.HistoryState, err = d.state(ctx, &f)
		return err
	})
	s.tell(&sum.HistoryState)
	return sum, err
}

func (d *database) hosts(ctx context.Context, f *api.HistoryFilter) ([]api.HistoryHost, error) {
	of := flows(f)
	rows, err := d.db.QueryContext(ctx, `SELECT f.app, f.dest, f.verdict, sum(e.count), max(e.time)
		FROM flow f CROSS JOIN event e INDEXED BY event_flow ON e.flow = f.id AND e.time >= ?`+
		of.String()+" GROUP BY f.id", append([]any{since(f)}, of.args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	type key struct{ app, host string }
	found := make(map[key]*api.HistoryHost)
	for rows.Next() {
		var k key
		var dest, verdict string
		var calls int
		var last int64
		if err := rows.Scan(&k.app, &dest, &verdict, &calls, &last); err != nil {
			return nil, err
		}
		if d, err := rules.ParseDestination(dest); err == nil {
			k.host = d.Host.String()
		}
		h := found[k]
		if h == nil {
			h = &api.HistoryHost{App: k.app, Host: k.host}
			found[k] = h
		}
		if verdict == rules.Allow.String() {
			h.Allowed += calls
		} else {
			h.Denied += calls
		}
		if t := time.UnixMicro(last).UTC(); t.After(h.Last) {
			h.Last = t
		}
	}
	list := make([]api.HistoryHost, 0, len(found))
	for _, h := range found {
		list = append(list, *h)
	}
	slices.SortFunc(list, func(a, b api.HistoryHost) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(b.Allowed+b.Denied, a.Allowed+a.Denied), cmp.Compare(a.Host, b.Host))
	})
	return list[:min(len(list), maxLimit)], rows.Err()
}

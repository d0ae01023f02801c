package history

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// Limits on what is kept of an event. A program says much of it.
const (
	maxNames = 8
	maxName  = 255
	maxText  = 500
	maxPath  = 4096
)

// flow is what an event has in common with others, as the table has it.
type flow struct {
	kind, app, exe, what, dest, addr, names, verdict, about, lifetime, by, why string
}

func flowOf(e *api.HistoryEvent) flow {
	f := flow{
		kind: e.Kind, app: e.App, exe: cut(e.Exe, maxPath), what: e.What, dest: e.Dest.String(), names: strings.Join(few(e.Names), " "),
		verdict: e.Verdict.String(), about: e.About.String(), lifetime: e.Lifetime.String(), by: cut(e.By, maxText), why: cut(e.Why, maxText),
	}
	if e.Addr.IsValid() {
		f.addr = e.Addr.String()
	}
	return f
}

// few returns some of the names, none that would look like two.
func few(list []string) (some []string) {
	for _, name := range list {
		if len(some) < maxNames && len(name) <= maxName && name != "" && !strings.Contains(name, " ") {
			some = append(some, name)
		}
	}
	return some
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// hash tells flows apart. It has to hold against programs that choose their
// destinations, or they could hide one behind another.
func (f *flow) hash() []byte {
	h := sha256.Sum256(fmt.Appendf(nil, "%q", *f))
	return h[:16]
}

// hosts is what a filter by host looks into.
func (f *flow) hosts(e *api.HistoryEvent) string {
	list := append([]string{e.Dest.Host.String()}, few(e.Names)...)
	if f.addr != "" {
		list = append(list, f.addr)
	}
	return " " + strings.Join(list, "  ") + " "
}

// insert writes events, and how many were lost, at once or not at all.
func (d *database) insert(list []api.HistoryEvent, lost int64, now time.Time) error {
	tx, err := d.db.Begin()
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer tx.Rollback()
	if err := insertAll(tx, list); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := countUse(tx, list); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if lost > 0 {
		if _, err := tx.Exec("INSERT INTO lost VALUES (?, ?)", now.UnixMicro(), lost); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// countUse counts how often rules decided. The counts outlive the events.
func countUse(tx *sql.Tx, list []api.HistoryEvent) error {
	used := make(map[string]api.RuleUse)
	for i := range list {
		e := &list[i]
		if e.Rule == "" || len(e.Rule) > maxName {
			continue
		}
		u := used[e.Rule]
		u.Hits += int64(e.Count)
		if u.Last == nil || e.Time.After(*u.Last) {
			u.Last = &e.Time
		}
		used[e.Rule] = u
	}
	for rule, u := range used {
		_, err := tx.Exec(`INSERT INTO use VALUES (?, ?, ?)
			ON CONFLICT (rule) DO UPDATE SET hits = hits + excluded.hits, last = max(last, excluded.last)`, rule, u.Hits, u.Last.UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}

// rowsAtOnce is how many events one statement writes: it is parsed each time.
const rowsAtOnce = 100

func insertAll(tx *sql.Tx, list []api.HistoryEvent) error {
	known := make(map[flow]int64)
	for part := range slices.Chunk(list, rowsAtOnce) {
		var args []any
		for i := range part {
			e := &part[i]
			f := flowOf(e)
			id, ok := known[f]
			if !ok {
				var err error
				if id, err = flowID(tx, &f, e); err != nil {
					return err
				}
				known[f] = id
			}
			args = append(args, e.Time.UnixMicro(), e.First.UnixMicro(), id, cut(e.Jail, maxName), e.PID, e.Count, e.Waited)
		}
		values := strings.Repeat(", (?, ?, ?, ?, ?, ?, ?)", len(part))[2:]
		if _, err := tx.Exec("INSERT INTO event (time, first, flow, jail, pid, count, waited) VALUES "+values, args...); err != nil {
			return err
		}
	}
	return nil
}

// flowID returns the id of a flow, which is written if it is new.
func flowID(tx *sql.Tx, f *flow, e *api.HistoryEvent) (id int64, err error) {
	hash := f.hash()
	if err = tx.QueryRow("SELECT id FROM flow WHERE hash = ?", hash).Scan(&id); err == nil || !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	r, err := tx.Exec(`INSERT INTO flow (hash, kind, app, exe, what, dest, addr, names, verdict, about, lifetime, by, why, hosts)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		hash, f.kind, f.app, f.exe, f.what, f.dest, f.addr, f.names, f.verdict, f.about, f.lifetime, f.by, f.why, f.hosts(e))
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

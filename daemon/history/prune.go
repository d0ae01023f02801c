package history

import (
	"fmt"
	"time"
)

const (
	pruneStep = 1000                  // events that are deleted, or pages that are given back, at once
	pruneRest = 20 * time.Millisecond // between two steps, for whoever wants to write or read

	pruneFirst = 10 * time.Second // after the database was opened
	pruneEvery = time.Hour
)

// prune deletes some of what is too old or too much, and says when to go on.
func (s *Store) prune() time.Duration {
	var more bool
	err := s.attempt(func(d *database) (err error) {
		more, err = d.prune(time.Now().Add(-s.cfg.Age), s.cfg.Size)
		return err
	})
	switch {
	case err != nil:
		s.log.Debug("prune the history", "error", err)
		return pruneEvery
	case more:
		return pruneRest
	}
	return pruneEvery
}

// prune does one step. When the size is the reason, it goes on to nine tenths
// of it, so that there is not a step for each batch.
func (d *database) prune(before time.Time, size int64) (more bool, err error) {
	var page, count, free int64
	for _, v := range []struct {
		name string
		into *int64
	}{{"page_size", &page}, {"page_count", &count}, {"freelist_count", &free}} {
		if err := d.db.QueryRow("PRAGMA " + v.name).Scan(v.into); err != nil {
			return false, fmt.Errorf("prune: %w", err)
		}
	}
	if _, err := d.db.Exec("DELETE FROM lost WHERE time < ?", before.UnixMicro()); err != nil {
		return false, fmt.Errorf("prune: %w", err)
	}
	used := (count - free) * page
	if used > size || d.shrinking && used > size/10*9 {
		d.shrinking = true
		before = time.Now().Add(pruneAll)
	} else {
		d.shrinking = false
	}
	n, err := d.deleteStep(before)
	if err != nil {
		return false, fmt.Errorf("prune: %w", err)
	}
	if n == 0 {
		d.shrinking = false
	}
	if free > 0 {
		if err := d.vacuumStep(); err != nil {
			return false, fmt.Errorf("prune: %w", err)
		}
	}
	return n == pruneStep || free > pruneStep, nil
}

// vacuumStep gives free pages back. Each is a row, of nothing.
func (d *database) vacuumStep() error {
	rows, err := d.db.Query(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pruneStep))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// pruneAll is later than any event.
const pruneAll = 100 * 365 * 24 * time.Hour

// deleteStep deletes the oldest events from before a time, and what only they
// had, and returns how many.
func (d *database) deleteStep(before time.Time) (n int, err error) {
	tx, err := d.db.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	rows, err := tx.Query(`DELETE FROM event WHERE id IN (SELECT id FROM event WHERE time < ? ORDER BY time LIMIT ?) RETURNING flow`,
		before.UnixMicro(), pruneStep)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	gone := make(map[int64]bool)
	for ; rows.Next(); n++ {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		gone[id] = true
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for id := range gone {
		if _, err := tx.Exec("DELETE FROM flow WHERE id = ? AND NOT EXISTS (SELECT 1 FROM event WHERE flow = ?)", id, id); err != nil {
			return 0, err
		}
	}
	return n, tx.Commit()
}

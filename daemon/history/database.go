package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// schema is the version of the tables, as PRAGMA user_version has it.
const schema = 1

// tables: an event points to what it has in common with others, which is most
// of it. A program that does the same every minute costs 80 bytes each time.
//
// Ids of events are never given twice, so that who follows misses none.
const tables = `
CREATE TABLE flow (
	id INTEGER PRIMARY KEY,
	hash BLOB NOT NULL UNIQUE, -- of all that follows
	kind TEXT NOT NULL, app TEXT NOT NULL, exe TEXT NOT NULL, what TEXT NOT NULL, dest TEXT NOT NULL, addr TEXT NOT NULL,
	names TEXT NOT NULL, -- with a space between them
	verdict TEXT NOT NULL, about TEXT NOT NULL, lifetime TEXT NOT NULL, by TEXT NOT NULL, why TEXT NOT NULL,
	hosts TEXT NOT NULL -- every name and address, each with a space before and after it
);
CREATE TABLE event (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	time INTEGER NOT NULL, first INTEGER NOT NULL, -- microseconds since 1970
	flow INTEGER NOT NULL, jail TEXT NOT NULL, pid INTEGER NOT NULL, count INTEGER NOT NULL, waited INTEGER NOT NULL
);
CREATE INDEX event_time ON event (time);
CREATE INDEX event_flow ON event (flow, time, count); -- a summary needs no more
CREATE TABLE use (rule TEXT PRIMARY KEY, hits INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lost (time INTEGER NOT NULL, count INTEGER NOT NULL);
CREATE TABLE notice (text TEXT NOT NULL);
`

// database is an open history. It has one connection.
type database struct {
	db   *sql.DB
	base int64 // id of the last event when it was opened

	shrinking bool // there was too much, and it is being deleted
}

// errDamaged means a database that is not one of ours, or not any more.
var errDamaged = errors.New("it is damaged")

// damaged says whether an error means that a database has to be given up.
func damaged(err error) bool {
	var e *sqlite.Error
	if errors.Is(err, errDamaged) || errors.Is(err, errPanic) {
		return true
	}
	return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// full says whether an error means that there is no room for more.
func full(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}

// open opens the database, unless it is open.
func (s *Store) open() error {
	if s.w.db != nil {
		return nil
	}
	d, err := openDatabase(s.cfg.Path, s.cfg.Check)
	if damaged(err) {
		return s.setAside(err)
	}
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	s.w.db = d
	return nil
}

// openDatabase opens a database, and makes one where there is none.
func openDatabase(path string, check time.Duration) (*database, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	d := &database{db: db}
	if err := safely(func() error { return d.prepare(check) }); err != nil {
		_ = safely(d.close)
		return nil, err
	}
	return d, nil
}

// dsn names a database and how it is used. Locked for this process alone, it
// needs no shared memory, which would be a fault in this process if somebody
// cut the file short. A daemon that was killed may have it for some seconds after
// its successor has begun: that is waited for. The vacuum has to be chosen before there is any page.
func dsn(path string) string {
	q := url.Values{"_pragma": {
		"busy_timeout(5000)", "auto_vacuum(incremental)", "locking_mode(exclusive)", "journal_mode(wal)",
		"synchronous(normal)", "journal_size_limit(16777216)", "trusted_schema(off)", "temp_store(memory)", "cache_size(-8192)",
	}, "_txlock": {"immediate"}}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// prepare checks what is there, and makes the tables of a new database.
func (d *database) prepare(check time.Duration) error {
	var version, size int
	if err := d.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if err := d.db.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&size); err != nil {
		return err
	}
	switch {
	case version == 0 && size == 0:
		return d.create()
	case version != schema:
		return fmt.Errorf("%w: its form is %d, not %d", errDamaged, version, schema)
	}
	if err := d.check(check); err != nil {
		return err
	}
	err := d.db.QueryRow("SELECT coalesce(max(id), 0) FROM event").Scan(&d.base)
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_ERROR {
		return fmt.Errorf("%w: %w", errDamaged, err) // no such table
	}
	return err
}

func (d *database) create() error {
	tx, err := d.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec(tables); err != nil {
		return err
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", schema)); err != nil {
		return err
	}
	return tx.Commit()
}

// check looks for damage, for a while.
func (d *database) check(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var said string
	err := d.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case said != "ok":
		return fmt.Errorf("%w: %s", errDamaged, strings.ReplaceAll(said, "\n", " "))
	}
	return nil
}

func (d *database) close() error { return d.db.Close() }

// maxBroken bounds how many damaged databases are kept.
const maxBroken = 3

// setAside gives up a damaged database: it is renamed, with what belongs to it,
// and a new one is opened that has a notice of that.
func (s *Store) setAside(why error) error {
	s.w.close()
	aside := s.cfg.Path + ".broken-" + time.Now().UTC().Format("20060102T150405")
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Rename(s.cfg.Path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set the damaged history aside: %w", err)
		}
	}
	s.log.Error("history is damaged: it is set aside, and a new one begun", "error", why, "aside", aside)
	removeOld(s.cfg.Path)
	d, err := openDatabase(s.cfg.Path, s.cfg.Check)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	s.w.db = d
	text := fmt.Sprintf("the history could not be read (%v): it is set aside as %s, and a new one is begun", why, aside)
	return safely(func() error {
		_, err := d.db.Exec("INSERT INTO notice VALUES (?)", text)
		return err
	})
}

// removeOld removes all but the latest databases that were set aside.
func removeOld(path string) {
	list, err := filepath.Glob(globEscape(path) + ".broken-*[0-9]")
	if err != nil {
		return
	}
	slices.Sort(list)
	for _, old := range list[:max(0, len(list)-maxBroken)] {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			_ = os.Remove(old + suffix)
		}
	}
}

// globEscape makes a path match itself only.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

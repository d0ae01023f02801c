package history

import (
	"database/sql"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// TestBusy begins while the one before still has the database: a daemon that was
// killed may take a while to be gone.
func TestBusy(t *testing.T) {
	path := newPath(t)
	first := New(Config{Path: path})
	first.Add(event(t, "curl", "tcp://192.0.2.1:80", rules.Deny, time.Hour))
	query(t, first, api.HistoryFilter{})
	first.Close()

	before, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	before.SetMaxOpenConns(1)
	if _, err := before.Exec("INSERT INTO lost VALUES (1, 1)"); err != nil { // has it for itself from now on
		t.Fatal(err)
	}
	time.AfterFunc(1500*time.Millisecond, func() { before.Close() })
	s := newStore(t, path)
	s.Add(event(t, "curl", "tcp://192.0.2.2:80", rules.Deny, 0))
	if got := query(t, s, api.HistoryFilter{}); len(got.Events) != 2 {
		t.Errorf("%d events, want 2", len(got.Events))
	}
	if err := s.Trouble(); err != nil {
		t.Error(err)
	}
}

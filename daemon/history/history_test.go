package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// newStore returns a history in a directory of its own, or in one that exists.
func newStore(t testing.TB, path string) *Store {
	t.Helper()
	s := New(Config{Path: path, Check: time.Minute})
	t.Cleanup(s.Close)
	return s
}

func newPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state", "history.db")
}

// event is about a destination, whose host is also a name of its address.
func event(t testing.TB, app, dest string, v rules.Verdict, ago time.Duration) api.HistoryEvent {
	t.Helper()
	d, err := rules.ParseDestination(dest)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(-ago).Truncate(time.Microsecond)
	e := api.HistoryEvent{Time: now, First: now, Kind: api.HistoryRefused, App: app, What: "connect", Dest: d, Verdict: v, Why: "denied by --deny @any", Count: 1}
	if v == rules.Allow {
		e.Kind = api.HistoryAllowed
	}
	return e
}

func query(t testing.TB, s *Store, f api.HistoryFilter) api.HistoryPage {
	t.Helper()
	page, err := s.Query(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// dests lists what a page is about.
func dests(page api.HistoryPage) (list []string) {
	for _, e := range page.Events {
		list = append(list, e.App+" "+e.Dest.String())
	}
	return list
}

// TestRoundTrip writes an event with everything and reads it back, also after
// the store was closed.
func TestRoundTrip(t *testing.T) {
	path := newPath(t)
	s := New(Config{Path: path})
	want := event(t, "curl", "tcp://www.example.org:443", rules.Allow, time.Hour)
	want.First = want.Time.Add(-time.Minute)
	want.Kind, want.Jail, want.PID, want.Exe, want.Count = api.HistoryAnswer, "0123", 42, "/usr/bin/curl", 7
	want.Addr, want.Names = netip.MustParseAddr("2001:db8::1"), []string{"www.example.org", "cdn.example.net"}
	want.About = rules.Destination{Host: rules.Host{Kind: rules.HostSuffix, Name: "example.org", Apex: true}}
	want.Lifetime, want.By, want.Why, want.Waited = rules.Lifetime{Kind: rules.For, For: 7 * 24 * time.Hour}, "desktop", "", 1234
	s.Add(want)
	want.ID, want.Time, want.First = 1, want.Time.UTC(), want.First.UTC()
	for _, when := range []string{"at once", "after the store was closed"} {
		got := query(t, s, api.HistoryFilter{})
		if len(got.Events) != 1 || fmt.Sprintf("%+v", got.Events[0]) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: got %+v\nwant %+v", when, got.Events, want)
		}
		if got.More || got.Last != 1 || got.HistoryState != (api.HistoryState{}) {
			t.Errorf("%s: got %+v", when, got)
		}
		s.Close()
		s = newStore(t, path)
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v, want %v", name, fi.Mode(), err, mode)
		}
	}
}

func TestFilter(t *testing.T) {
	s := newStore(t, newPath(t))
	named := event(t, "git", "tcp://192.0.2.7:22", rules.Allow, 3*time.Hour)
	named.Names = []string{"git.example.org"}
	for _, e := range []api.HistoryEvent{
		event(t, "curl", "tcp://example.org:443", rules.Allow, 5*time.Hour),
		event(t, "curl", "tcp://notexample.org:443", rules.Deny, 4*time.Hour),
		named,
		event(t, "npm", "tcp://[2001:db8::1]:443", rules.Deny, 2*time.Hour),
		event(t, "npm", "unix:/run/x.sock", rules.Allow, time.Hour),
	} {
		s.Add(e)
	}
	const curl, not, git, npm, sock = "curl tcp://example.org:443", "curl tcp://notexample.org:443", "git tcp://192.0.2.7:22", "npm tcp://[2001:db8::1]:443", "npm unix:/run/x.sock"
	for _, tt := range []struct {
		name string
		f    api.HistoryFilter
		want []string
	}{
		{"all", api.HistoryFilter{}, []string{curl, not, git, npm, sock}},
		{"since", api.HistoryFilter{Since: time.Now().Add(-150 * time.Minute)}, []string{npm, sock}},
		{"app", api.HistoryFilter{App: "curl"}, []string{curl, not}},
		{"no such app", api.HistoryFilter{App: "cur"}, nil},
		{"denied", api.HistoryFilter{Denied: true}, []string{not, npm}},
		{"host", api.HistoryFilter{Host: "example.org"}, []string{curl}},
		{"host and below", api.HistoryFilter{Host: ".example.org"}, []string{curl, git}},
		{"below host", api.HistoryFilter{Host: "*.example.org"}, []string{git}},
		{"a name of the address", api.HistoryFilter{Host: "git.example.org"}, []string{git}},
		{"address", api.HistoryFilter{Host: "192.0.2.7"}, []string{git}},
		{"long address", api.HistoryFilter{Host: "2001:db8::1"}, []string{npm}},
		{"part of a name", api.HistoryFilter{Host: "example"}, nil},
		{"socket", api.HistoryFilter{Host: "unix:/run/x.sock"}, []string{sock}},
		{"several", api.HistoryFilter{App: "curl", Denied: true, Since: time.Now().Add(-time.Hour)}, nil},
		{"limit", api.HistoryFilter{Limit: 2}, []string{npm, sock}},
		{"limit of an app", api.HistoryFilter{Limit: 1, App: "curl"}, []string{not}},
		{"follow", api.HistoryFilter{Follow: true, After: 3}, []string{npm, sock}},
		{"follow one", api.HistoryFilter{Follow: true, After: 1, Limit: 1}, []string{not}},
		{"follow an app", api.HistoryFilter{Follow: true, App: "npm"}, []string{npm, sock}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := query(t, s, tt.f)
			if got := dests(page); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if more := tt.f.Limit > 0; page.More != more {
				t.Errorf("more: %v, want %v", page.More, more)
			}
			last := int64(5)
			if tt.f.Follow && page.More {
				last = page.Events[len(page.Events)-1].ID
			}
			if page.Last != last {
				t.Errorf("last: %d, want %d", page.Last, last)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	s := newStore(t, newPath(t))
	for i, e := range []api.HistoryEvent{
		event(t, "npm", "tcp://b.example:443", rules.Allow, 3*time.Hour),
		event(t, "npm", "tcp://a.example:443", rules.Allow, 3*time.Hour),
		event(t, "npm", "tcp://b.example:80", rules.Deny, time.Hour),
		event(t, "curl", "a.example", rules.Deny, 0),
	} {
		e.Count = i + 1
		s.Add(e)
	}
	sum, err := s.Summary(t.Context(), api.HistoryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range sum.Hosts {
		got = append(got, fmt.Sprintf("%s %s %d %d %v", h.App, h.Host, h.Allowed, h.Denied, time.Since(h.Last).Round(time.Hour)))
	}
	want := []string{"curl a.example 0 4 0s", "npm b.example 1 3 1h0m0s", "npm a.example 2 0 3h0m0s"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	sum, err = s.Summary(t.Context(), api.HistoryFilter{App: "npm", Denied: true, Since: time.Now().Add(-2 * time.Hour)})
	if err != nil || len(sum.Hosts) != 1 || sum.Hosts[0].Denied != 3 || sum.Hosts[0].Allowed != 0 {
		t.Errorf("filtered: got %+v, %v", sum.Hosts, err)
	}
}

// TestList has the latest events of this store and of those before it.
func TestList(t *testing.T) {
	path := newPath(t)
	s := New(Config{Path: path})
	s.Add(event(t, "old", "192.0.2.1", rules.Deny, time.Hour))
	s.Close()
	s = newStore(t, path)
	s.Add(event(t, "new", "192.0.2.2", rules.Deny, 0))
	for range 2 {
		if got := dests(api.HistoryPage{Events: s.List(t.Context())}); !slices.Equal(got, []string{"old 192.0.2.1", "new 192.0.2.2"}) {
			t.Errorf("got %q", got)
		}
		query(t, s, api.HistoryFilter{}) // writes it
	}
	for range Recent + 10 {
		s.Add(event(t, "many", "192.0.2.3", rules.Deny, 0))
	}
	if list := s.List(t.Context()); len(list) > Recent || list[len(list)-1].App != "many" {
		t.Errorf("%d events, want at most %d", len(list), Recent)
	}
}

// TestLost: what is added faster than it can be written is lost and counted.
// Adding never waits.
func TestLost(t *testing.T) {
	s := newStore(t, newPath(t))
	query(t, s, api.HistoryFilter{})
	held, release := make(chan struct{}), make(chan struct{})
	go s.perform(t.Context(), func(*database) error { close(held); <-release; return nil })
	<-held
	const more = 5
	for range maxWaiting + more {
		s.Add(event(t, "curl", "192.0.2.1", rules.Deny, 0))
	}
	s.Lose(2)
	close(release)
	page := query(t, s, api.HistoryFilter{Limit: maxLimit})
	if len(page.Events) != maxWaiting || page.Lost != more+2 {
		t.Errorf("%d events and %d lost, want %d and %d", len(page.Events), page.Lost, maxWaiting, more+2)
	}
	if page = query(t, s, api.HistoryFilter{Since: time.Now().Add(time.Hour)}); page.Lost != 0 {
		t.Errorf("%d are lost in the future", page.Lost)
	}
}

// TestBroken damages a database in several ways: it is set aside, with a
// notice, and a new one is begun.
func TestBroken(t *testing.T) {
	overwrite := func(t *testing.T, path string, at int64, text string) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte(text), at)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	garbage := strings.Repeat("garbage!", 1024)
	change := func(statement string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		damage func(*testing.T, string)
	}{
		{"header", func(t *testing.T, path string) { overwrite(t, path, 0, garbage) }},
		{"first page", func(t *testing.T, path string) { overwrite(t, path, 100, garbage[:3000]) }},
		{"middle", func(t *testing.T, path string) { overwrite(t, path, 5*4096, garbage) }},
		{"truncated", func(t *testing.T, path string) {
			if err := os.Truncate(path, 3*4096+100); err != nil {
				t.Fatal(err)
			}
		}},
		{"text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("no database\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"another version", change("PRAGMA user_version = 99")},
		{"another database", change("DROP TABLE event; DROP TABLE flow; DROP TABLE lost; DROP TABLE notice")},
		{"other contents", change("UPDATE flow SET verdict = 'maybe'")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := newPath(t)
			s := New(Config{Path: path})
			for i := range 500 {
				s.Add(event(t, "curl", fmt.Sprintf("192.0.2.%d:%d", i%250+1, i+1), rules.Deny, 0))
			}
			s.Close()
			s = newStore(t, path)
			if page := query(t, s, api.HistoryFilter{Limit: maxLimit}); len(page.Events) != 500 || page.Notice != "" {
				t.Fatalf("before: %d events, notice %q", len(page.Events), page.Notice)
			}
			s.Close()

			tt.damage(t, path)
			s = newStore(t, path)
			s.Add(event(t, "curl", "198.51.100.1", rules.Deny, 0))
			page := query(t, s, api.HistoryFilter{Limit: maxLimit})
			if tt.name == "other contents" { // noticed when it is read, so what was written is gone, too
				if len(page.Events) != 0 {
					t.Errorf("after: %q", dests(page))
				}
			} else if got := dests(page); !slices.Equal(got, []string{"curl 198.51.100.1"}) {
				t.Errorf("after: %d events: %q", len(got), got[:min(3, len(got))])
			}
			broken, err := filepath.Glob(path + ".broken-*")
			if err != nil || len(broken) == 0 || !strings.Contains(page.Notice, broken[0]) {
				t.Errorf("set aside: %q, notice %q", broken, page.Notice)
			}
			s.Close()
			s = newStore(t, path)
			s.Add(event(t, "curl", "198.51.100.2", rules.Deny, 0))
			page = query(t, s, api.HistoryFilter{})
			if page.Notice != "" || page.Trouble != "" || len(page.Events) == 0 {
				t.Errorf("next time: %+v", page)
			}
		})
	}
}

// TestBrokenWhileOpen damages the file under an open database.
func TestBrokenWhileOpen(t *testing.T) {
	path := newPath(t)
	s := New(Config{Path: path})
	for i := range 3000 {
		s.Add(event(t, fmt.Sprintf("app%d", i), fmt.Sprintf("192.0.2.%d:%d", i%250+1, i+1), rules.Deny, 0))
	}
	s.Close()
	s = newStore(t, path)
	if err := s.perform(t.Context(), func(d *database) error {
		_, err := d.db.Exec("PRAGMA cache_size = 10")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, fi.Size()), 0); err != nil {
		t.Fatal(err)
	}
	page := query(t, s, api.HistoryFilter{Limit: maxLimit})
	if page.Notice == "" {
		t.Errorf("no notice: %d events, trouble %q", len(page.Events), page.Trouble)
	}
	s.Add(event(t, "last", "198.51.100.1", rules.Deny, 0))
	if got := dests(query(t, s, api.HistoryFilter{App: "last"})); len(got) != 1 {
		t.Errorf("afterwards: %q", got)
	}
}

// TestKeepsFewBroken: of many damaged databases the latest stay.
func TestKeepsFewBroken(t *testing.T) {
	path := newPath(t)
	s := newStore(t, path)
	query(t, s, api.HistoryFilter{})
	for i := range 6 {
		for _, suffix := range []string{"", "-wal"} {
			if err := os.WriteFile(fmt.Sprintf("%s.broken-20060102T15040%d%s", path, i, suffix), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	removeOld(path)
	got, err := filepath.Glob(path + ".broken-*")
	if err != nil || len(got) != 2*maxBroken || !strings.Contains(got[0], "040"+fmt.Sprint(6-maxBroken)) {
		t.Errorf("left: %q, %v", got, err)
	}
}

// TestNoRoom: a full disk loses nothing of what fits into memory, is told of,
// and is over when there is room.
func TestNoRoom(t *testing.T) {
	path := newPath(t)
	s := newStore(t, path)
	s.Add(event(t, "before", "192.0.2.1", rules.Deny, 0))
	query(t, s, api.HistoryFilter{})
	set := func(pages int) {
		t.Helper()
		if err := s.perform(t.Context(), func(d *database) error {
			_, err := d.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	set(1) // SQLite makes it what there is
	for i := range 300 {
		s.Add(event(t, "during", fmt.Sprintf("192.0.2.%d:%d", i%250+1, i+1), rules.Deny, 0))
	}
	page := query(t, s, api.HistoryFilter{Limit: maxLimit})
	if got := dests(page); page.Trouble == "" || len(got) != 1 {
		t.Errorf("no room: trouble %q, %d events", page.Trouble, len(got))
	}
	if s.Trouble() == nil {
		t.Error("no room: no trouble")
	}
	set(1 << 30)
	page = query(t, s, api.HistoryFilter{Limit: maxLimit})
	if page.Trouble != "" || len(page.Events) != 301 || page.Lost != 0 {
		t.Errorf("room again: trouble %q, %d events, %d lost", page.Trouble, len(page.Events), page.Lost)
	}
}

// TestNoDirectory: a place where nothing can be written is trouble, and not for
// ever.
func TestNoDirectory(t *testing.T) {
	path := newPath(t)
	dir := filepath.Dir(path)
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, path)
	s.Add(event(t, "curl", "192.0.2.1", rules.Deny, 0))
	if _, err := s.Query(t.Context(), api.HistoryFilter{}); err == nil {
		t.Error("got no error")
	}
	if s.Trouble() == nil {
		t.Error("no trouble")
	}
	if list := s.List(t.Context()); len(list) != 1 {
		t.Errorf("list: %d events, want what is in memory", len(list))
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if page := query(t, s, api.HistoryFilter{}); len(page.Events) != 1 || s.Trouble() != nil {
		t.Errorf("afterwards: %d events, trouble %v", len(page.Events), s.Trouble())
	}
}

// TestPrune: what is too old goes, and the oldest of what is too much.
func TestPrune(t *testing.T) {
	path := newPath(t)
	s := New(Config{Path: path, Age: 10 * 365 * 24 * time.Hour}) // prunes nothing by itself
	t.Cleanup(s.Close)
	const total = 4000
	for i := range total {
		s.Add(event(t, "curl", fmt.Sprintf("tcp://h%d.example.org:443", i), rules.Deny, time.Duration(total-i)*time.Hour))
	}
	page := query(t, s, api.HistoryFilter{Limit: maxLimit})
	if len(page.Events) != total {
		t.Fatalf("%d events, want %d", len(page.Events), total)
	}
	prune := func(before time.Time, size int64) (steps int) {
		t.Helper()
		if err := s.perform(t.Context(), func(d *database) error {
			for more := true; more; steps++ {
				var err error
				if more, err = d.prune(before, size); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return steps
	}
	count := func(table string) (n int) {
		t.Helper()
		if err := s.perform(t.Context(), func(d *database) error {
			return d.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if steps := prune(time.Now().Add(-2500*time.Hour-time.Minute), 1<<30); steps != 2 {
		t.Errorf("by age: %d steps, want 2", steps)
	}
	if e, f := count("event"), count("flow"); e != 2500 || f != 2500 {
		t.Errorf("by age: %d events and %d flows are left, want 2500", e, f)
	}
	const size = 400 << 10
	prune(time.Now().Add(-10000*time.Hour), size)
	if e, f := count("event"), count("flow"); e >= 2500 || e == 0 || f != e {
		t.Errorf("by size: %d events and %d flows are left", e, f)
	}
	page = query(t, s, api.HistoryFilter{Limit: maxLimit})
	if last := page.Events[len(page.Events)-1]; last.Dest.Host.Name != fmt.Sprintf("h%d.example.org", total-1) {
		t.Errorf("by size: the latest left is %v", last.Dest)
	}
	prune(time.Now().Add(-10000*time.Hour), size) // and gives the room back
	s.Close()
	if fi, err := os.Stat(path); err != nil || fi.Size() > size {
		t.Errorf("by size: %v, %v, want at most %d", fi.Size(), err, size)
	}
}

// TestClose: what waits is written, and whoever asks later is told.
func TestClose(t *testing.T) {
	path := newPath(t)
	s := New(Config{Path: path})
	s.Add(event(t, "curl", "192.0.2.1", rules.Deny, 0))
	s.Close()
	s.Add(event(t, "curl", "192.0.2.2", rules.Deny, 0))
	if _, err := s.Query(t.Context(), api.HistoryFilter{}); !errors.Is(err, errClosed) {
		t.Errorf("got %v, want %v", err, errClosed)
	}
	New(Config{Path: path}).Close() // was never needed
	if page := query(t, newStore(t, path), api.HistoryFilter{}); len(page.Events) != 1 {
		t.Errorf("%d events, want 1", len(page.Events))
	}
}

// TestCancelled: who does not wait for an answer does not hold up the others.
func TestCancelled(t *testing.T) {
	s := newStore(t, newPath(t))
	s.Add(event(t, "curl", "192.0.2.1", rules.Deny, 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Query(ctx, api.HistoryFilter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if page := query(t, s, api.HistoryFilter{}); len(page.Events) != 1 {
		t.Errorf("%d events, want 1", len(page.Events))
	}
}

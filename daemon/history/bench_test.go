package history

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

const (
	apps   = 50
	hosts  = 10000
	events = 1000000
	span   = 90 * 24 * time.Hour
)

// million makes a database of a million events of ninety days: 50 apps, each
// with 200 hosts, of which a tenth is denied. The first are written as the
// daemon does, the rest repeats them.
func million(b *testing.B) (*Store, time.Time) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "history.db")
	d, err := openDatabase(path, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	first := now.Add(-span)
	var list []api.HistoryEvent
	for i := range hosts {
		name := fmt.Sprintf("h%d.example.org", i)
		e := api.HistoryEvent{
			Kind: api.HistoryAllowed, Verdict: rules.Allow, App: fmt.Sprintf("app%d", i%apps), Exe: "/usr/bin/app", PID: i,
			Jail: fmt.Sprintf("%032x", i), What: "connect", Names: []string{name}, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}),
			Dest: rules.Destination{Proto: rules.TCP, Host: rules.Host{Kind: rules.HostName, Name: name}, Ports: rules.OnePort(443)},
			Why:  "~/.config/netjail/rules/app.toml:3", Count: 3, Time: first, First: first,
		}
		if i%10 == 0 {
			e.Kind, e.Verdict = api.HistoryRefused, rules.Deny
		}
		list = append(list, e)
	}
	started := time.Now()
	for batch := range slices.Chunk(list, maxBatch) {
		if err := d.insert(batch, 0, now); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d events written in %v", hosts, time.Since(started).Round(time.Millisecond))
	if _, err := d.db.Exec(`WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO event (time, first, flow, jail, pid, count, waited)
		SELECT ? + i * ?, ? + i * ?, 1 + i * 7919 % ?, hex(randomblob(16)), i, 3, 0 FROM n`,
		hosts, events-1, first.UnixMicro(), span.Microseconds()/events, first.UnixMicro(), span.Microseconds()/events, hosts); err != nil {
		b.Fatal(err)
	}
	if err := d.close(); err != nil {
		b.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d bytes for an event", fi.Size()/events)
	s := New(Config{Path: path})
	b.Cleanup(s.Close)
	return s, now
}

// BenchmarkSince is netjail log with a million events, as the daemon answers.
func BenchmarkSince(b *testing.B) {
	s, now := million(b)
	started := time.Now()
	if _, err := s.Query(b.Context(), api.HistoryFilter{Since: now.Add(-2 * time.Hour)}); err != nil {
		b.Fatal(err)
	}
	b.Logf("the first answer, for which the database is opened and looked through for a while, takes %v", time.Since(started).Round(time.Millisecond))
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		f    api.HistoryFilter
	}{
		{"2h", api.HistoryFilter{Since: ago(2 * time.Hour)}},
		{"90d", api.HistoryFilter{Since: ago(90 * day)}},
		{"90d-10000", api.HistoryFilter{Since: ago(90 * day), Limit: maxLimit}},
		{"90d-denied", api.HistoryFilter{Since: ago(90 * day), Denied: true}},
		{"90d-app", api.HistoryFilter{Since: ago(90 * day), App: "app7"}},
		{"90d-host", api.HistoryFilter{Since: ago(90 * day), Host: "h77.example.org"}},
		{"90d-domain", api.HistoryFilter{Since: ago(90 * day), Host: ".example.org"}},
		{"90d-nothing", api.HistoryFilter{Since: ago(90 * day), Host: "example.com"}},
		{"7d-nothing", api.HistoryFilter{Since: ago(7 * day), App: "app7", Host: "example.com", Denied: true}},
		{"follow", api.HistoryFilter{Follow: true, After: 999990}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			var most time.Duration
			for b.Loop() {
				started := time.Now()
				if _, err := s.Query(b.Context(), tt.f); err != nil {
					b.Fatal(err)
				}
				most = max(most, time.Since(started))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms")
			b.ReportMetric(float64(most.Microseconds())/1000, "ms-most")
		})
	}
	for _, d := range []time.Duration{2 * time.Hour, 7 * day, 90 * day} {
		b.Run("summary-"+d.String(), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Summary(b.Context(), api.HistoryFilter{Since: ago(d)}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms")
		})
	}
}

package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// log asks for the history.
func (d *desk) log(f api.HistoryFilter) api.HistoryPage {
	d.t.Helper()
	v, err := d.do(api.OpHistoryQuery, f)
	if err != nil {
		d.t.Fatal(err)
	}
	return v.(api.HistoryPage)
}

// report is what the jail's supervisor tells.
func (d *desk) report(r api.Report) error {
	_, err := d.handle(d.t.Context(), d.jail, peer{supervisor: true}, d.message(api.OpReport, r))
	return err
}

// TestReport: a supervisor tells of its own jail, and no more than a report
// may hold.
func TestReport(t *testing.T) {
	d := newDesk(t, time.Minute)
	now := time.Now()
	event := api.HistoryEvent{
		Time: now.Add(time.Hour), First: now.Add(-time.Second), Count: 3, Kind: api.HistoryAnswer, App: "other", Jail: "other", By: "desktop", What: "connect\n",
		Dest: dest(t, "tcp://www.example.com:443"), Verdict: rules.Allow, Why: "allowed by --allow .example.com", Names: []string{"www.example.com"},
	}
	refused := event
	refused.Verdict, refused.Why = rules.Deny, "denied\x1b[31m"
	if err := d.report(api.Report{Events: []api.HistoryEvent{event, refused}, Lost: 4}); err != nil {
		t.Fatal(err)
	}
	page := d.log(api.HistoryFilter{})
	if len(page.Events) != 2 || page.Lost != 4 {
		t.Fatalf("got %+v", page)
	}
	for i, want := range []struct{ kind, why string }{{api.HistoryAllowed, event.Why}, {api.HistoryRefused, "denied�[31m"}} {
		e := page.Events[i]
		if e.Kind != want.kind || e.App != "curl" || e.Jail != "j" || e.By != "" || e.Why != want.why || e.Count != 3 || e.Time.After(time.Now()) || strings.Contains(e.What, "\n") {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if err := d.report(api.Report{Events: make([]api.HistoryEvent, maxReported+1)}); err == nil {
		t.Error("too long a report is taken")
	}
	if _, err := d.do(api.OpReport, api.Report{}); err == nil {
		t.Error("a client without a jail reports")
	}
}

// TestHistoryIsNotForSupervisors: a program in a jail appears as its
// supervisor, and must not learn what others do.
func TestHistoryIsNotForSupervisors(t *testing.T) {
	d := newDesk(t, time.Minute)
	for _, op := range []string{api.OpHistory, api.OpHistoryQuery, api.OpHistorySummary} {
		m := d.message(op, api.HistoryFilter{})
		if _, err := d.handle(t.Context(), d.jail, peer{supervisor: true}, m); err == nil || asError(err).Code != api.CodeRefused {
			t.Errorf("%s: %v", op, err)
		}
		if _, err := d.handle(t.Context(), nil, peer{}, m); err != nil {
			t.Errorf("%s of somebody else: %v", op, err)
		}
	}
}

// TestHistoryOfQuestions: how long people took, and what they said.
func TestHistoryOfQuestions(t *testing.T) {
	d := newDesk(t, time.Minute)
	q := question(t)
	q.Exe, q.PID = "/usr/bin/curl", 42
	a := d.ask(q)
	d.told("www.example.com")
	time.Sleep(2 * time.Millisecond) // so that it has taken some
	if _, err := d.do(api.OpQuestionAnswer, answerTo(d.queue.Open()[0].ID, "allow", "exit", false)); err != nil {
		t.Fatal(err)
	}
	<-a
	page := d.log(api.HistoryFilter{App: "curl", Host: "www.example.com"})
	if len(page.Events) != 1 {
		t.Fatalf("got %+v", page)
	}
	e := page.Events[0]
	if e.Kind != api.HistoryAnswer || e.Verdict != rules.Allow || e.Lifetime.Kind != rules.UntilExit || e.By != byCLI || e.Exe != q.Exe || e.PID != 42 || e.Waited < 1 || e.Count != 1 {
		t.Errorf("got %+v", e)
	}
	v, err := d.do(api.OpHistorySummary, api.HistoryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if hosts := v.(api.HistorySummary).Hosts; len(hosts) != 1 || hosts[0].Host != "www.example.com" || hosts[0].Allowed != 1 {
		t.Errorf("summary: %+v", hosts)
	}
}

// TestHistoryTrouble: that nothing can be written is in the status, and hinders
// nobody.
func TestHistoryTrouble(t *testing.T) {
	d := newDesk(t, time.Minute)
	if err := os.WriteFile(d.cfg.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.report(api.Report{Events: []api.HistoryEvent{{What: "connect", Dest: dest(t, "192.0.2.1")}}}); err != nil {
		t.Errorf("report: %v", err)
	}
	if _, err := d.do(api.OpHistoryQuery, api.HistoryFilter{}); err == nil {
		t.Error("the history can be read")
	}
	if st := d.status(); !strings.Contains(st.History, "history: ") {
		t.Errorf("status: %q", st.History)
	}
	v, err := d.do(api.OpHistory, nil)
	if err != nil || len(v.(api.History).Events) != 1 {
		t.Errorf("what is in memory: %+v, %v", v, err)
	}
	if err := os.Remove(d.cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	d.log(api.HistoryFilter{})
	if st := d.status(); st.History != "" {
		t.Errorf("status afterwards: %q", st.History)
	}
}

// TestHistoryIsKept by the next daemon.
func TestHistoryIsKept(t *testing.T) {
	dir := t.TempDir()
	var got []string
	for i := range 3 {
		s := newServer(Config{RuntimeDir: dir, ConfigDir: filepath.Join(dir, "rules"), StateDir: dir})
		d := &desk{server: s, t: t, jail: &jail{reg: api.Registration{App: "curl", Jail: "j"}}}
		if err := d.report(api.Report{Events: []api.HistoryEvent{{What: "connect", Dest: dest(t, fmt.Sprintf("192.0.2.%d", i+1))}}}); err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, e := range d.log(api.HistoryFilter{}).Events {
			got = append(got, e.Dest.String())
		}
		s.queue.Close()
		s.history.Close()
	}
	if want := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

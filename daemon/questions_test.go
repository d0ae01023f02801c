package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// desk is a server with one jail, whose terminal the test looks at.
type desk struct {
	*server
	t     *testing.T
	jail  *jail
	lines chan string // what the supervisor is told
}

// supervisor takes the lines that the daemon sends.
type supervisor chan string

func (s supervisor) Read([]byte) (int, error)    { return 0, io.EOF }
func (s supervisor) Write(b []byte) (int, error) { s <- string(b); return len(b), nil }
func (s supervisor) Close() error                { return nil }

func newDesk(t *testing.T, timeout time.Duration) *desk {
	t.Helper()
	dir := t.TempDir()
	s := newServer(Config{
		RuntimeDir: dir, ConfigDir: filepath.Join(dir, "config", "rules"), StateDir: filepath.Join(dir, "state"),
		Timeout: timeout, Log: slog.New(slog.DiscardHandler),
	})
	lines := make(chan string, 1000)
	c := api.NewConn(supervisor(lines), maxRequest)
	j := &jail{reg: api.Registration{App: "curl", Jail: "j"}, conn: c, started: time.Now()}
	j.tty = &terminal{conn: c, answers: make(map[string]chan api.TerminalAnswer)}
	s.jails[j] = struct{}{}
	t.Cleanup(func() {
		s.queue.Close()
		s.wg.Wait()
		s.journal.Close()
		s.history.Close()
	})
	return &desk{server: s, t: t, jail: j, lines: lines}
}

// told waits for a line that has text in it.
func (d *desk) told(text string) {
	d.t.Helper()
	end := time.After(time.Minute)
	for {
		select {
		case line := <-d.lines:
			if strings.Contains(line, text) {
				return
			}
		case <-end:
			d.t.Fatalf("the supervisor is not told of %q", text)
		}
	}
}

type asked struct {
	answer any
	err    error
}

// ask asks on the jail's behalf.
func (d *desk) ask(q notifier.Question) <-chan asked {
	d.t.Helper()
	c := make(chan asked, 1)
	m := d.message(api.OpAsk, q)
	go func() {
		a, err := d.server.handle(d.t.Context(), d.jail, peer{supervisor: true}, m)
		c <- asked{a, err}
	}()
	return c
}

func (d *desk) message(op string, v any) *api.Message {
	d.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		d.t.Fatal(err)
	}
	return &api.Message{V: api.Version, Op: op, Data: data}
}

// do makes a request as the command line does.
func (d *desk) do(op string, v any) (any, error) {
	return d.handle(d.t.Context(), nil, peer{}, d.message(op, v))
}

// pending lists the questions as "state app destination calls why".
func (d *desk) pending() (list api.Questions, text string) {
	d.t.Helper()
	v, err := d.do(api.OpQuestionList, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	list = v.(api.Questions)
	var b strings.Builder
	for _, q := range list.Open {
		fmt.Fprintf(&b, "open %s %s %d\n", q.App, q.Dest, q.Waiting)
	}
	for _, q := range list.Missed {
		fmt.Fprintf(&b, "missed %s %s %d %s\n", q.App, q.Dest, q.Calls, q.Why)
	}
	return list, b.String()
}

func (d *desk) wantPending(when, want string) api.Questions {
	d.t.Helper()
	list, got := d.pending()
	if got != want {
		d.t.Errorf("%s: pending\n%swant\n%s", when, got, want)
	}
	return list
}

func question(t *testing.T) notifier.Question {
	return notifier.Question{
		Op: rules.Connect, Dest: dest(t, "tcp://www.example.com:443"), Wider: dest(t, "tcp://.example.com:443"),
		Addr: netip.MustParseAddr("192.0.2.7"), Names: []string{"www.example.com"}, PID: 4711,
		Exe: "/usr/bin/curl", Command: "curl --user me:secret https://www.example.com",
	}
}

const always = "always"

func answerTo(id, verdict, life string, wider bool) map[string]any {
	return map[string]any{"id": id, "verdict": verdict, "lifetime": life, "wider": wider}
}

func TestAnswerOpen(t *testing.T) {
	for _, tt := range []struct {
		name, verdict, life string
		wider               bool
		want                rules.Verdict
		rules               string
	}{
		{"once", "allow", "once", false, rules.Allow, ""},
		{"until exit", "allow", "exit", false, rules.Allow, "curl allow tcp://www.example.com:443\n"},
		{"always", "allow", "always", false, rules.Allow, "curl allow tcp://www.example.com:443\n"},
		{"wider", "allow", "always", true, rules.Allow, "curl allow tcp://.example.com:443\n"},
		{"deny for a time", "deny", "2h", false, rules.Deny, "curl deny tcp://www.example.com:443\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, time.Hour)
			c := d.ask(question(t))
			d.told(api.EventQuestion)
			list := d.wantPending("asked", "open curl tcp://www.example.com:443 1\n")
			done, err := d.do(api.OpQuestionAnswer, answerTo(list.Open[0].ID, tt.verdict, tt.life, tt.wider))
			if err != nil {
				t.Fatal(err)
			}
			d.told(notifier.ErrAnswered.Error())
			got := <-c
			a, _ := got.answer.(notifier.Answer)
			if got.err != nil || a.Verdict != tt.want || a.By != byCLI || a != done.(api.QuestionDecided).Answer {
				t.Errorf("the call gets %+v, the command line %+v", got, done)
			}
			if got := texts(d.store.all()); got != tt.rules {
				t.Errorf("rules\n%swant\n%s", got, tt.rules)
			}
			for _, r := range d.store.all() {
				if r.By != "cli" || (r.Jail == "j") != (tt.life == "exit") || r.Expires.IsZero() == (tt.life == "2h") {
					t.Errorf("rule %+v", r)
				}
			}
			d.wantPending("answered", "")
			_, err = d.do(api.OpQuestionAnswer, answerTo(list.Open[0].ID, "allow", "once", false))
			wantCode(t, "a second answer", err, api.CodeNotFound)
		})
	}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	e, ok := errors.AsType[*api.Error](err)
	if !ok || e.Code != code {
		t.Errorf("%s: error %v, want one with code %q", what, err, code)
	}
}

// TestAnswerOpenUnwritten: where the rule cannot be written the question stays.
func TestAnswerOpenUnwritten(t *testing.T) {
	d := newDesk(t, time.Hour)
	c := d.ask(question(t))
	d.told(api.EventQuestion)
	list, _ := d.pending()
	d.store.loaded, d.store.problem = false, errors.New("broken")
	if _, err := d.do(api.OpQuestionAnswer, answerTo(list.Open[0].ID, "allow", always, false)); err == nil {
		t.Error("no error")
	}
	d.wantPending("after that", "open curl tcp://www.example.com:443 1\n")
	if _, err := d.do(api.OpQuestionAnswer, answerTo(list.Open[0].ID, "deny", "once", false)); err != nil {
		t.Error(err)
	}
	if got := <-c; got.err != nil || got.answer.(notifier.Answer).Verdict != rules.Deny {
		t.Errorf("the call gets %+v", got)
	}
}

func TestMissedTimeout(t *testing.T) {
	d := newDesk(t, time.Millisecond)
	for range 2 {
		if got := <-d.ask(question(t)); !errors.Is(got.err, notifier.ErrTimeout) {
			t.Fatalf("got %+v", got)
		}
	}
	list := d.wantPending("timed out", "missed curl tcp://www.example.com:443 2 timeout\n")
	text, err := json.Marshal(list)
	if err != nil || bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte("4711")) {
		t.Errorf("the list tells %s, %v", text, err)
	}
	d.missed.mu.Lock()
	former := d.missed.list[0].Ids
	d.missed.mu.Unlock()
	if len(former) != 1 || former[0] == list.Missed[0].ID {
		t.Fatalf("former ids %q of %s", former, list.Missed[0].ID)
	}
	for _, life := range []string{"once", "exit"} {
		_, err := d.do(api.OpQuestionAnswer, answerTo(former[0], "allow", life, false))
		wantCode(t, life, err, api.CodeInvalid)
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Hint != "netjail answer "+list.Missed[0].ID+" allow always" {
			t.Errorf("%s: error %#v", life, err)
		}
	}
	_, err = d.do(api.OpQuestionAnswer, answerTo(former[0], "ask", always, false))
	wantCode(t, "ask", err, api.CodeInvalid)
	done, err := d.do(api.OpQuestionAnswer, answerTo(former[0], "allow", always, true))
	if err != nil {
		t.Fatal(err)
	}
	if r := done.(api.QuestionDecided).Rule; r == nil || r.File == "" || r.By != "cli" {
		t.Errorf("rule %+v", r)
	}
	if got := texts(d.store.all()); got != "curl allow tcp://.example.com:443\n" {
		t.Errorf("rules\n%s", got)
	}
	d.told(api.EventSnapshot)
	d.wantPending("answered", "")
}

func TestMissedNobody(t *testing.T) {
	d := newDesk(t, time.Hour)
	d.jail.tty = nil
	q := question(t)
	q.Dest, q.Wider = dest(t, "udp://192.0.2.9:53"), rules.Destination{}
	for range 3 {
		wantCode(t, "ask", (<-d.ask(q)).err, api.CodeNobody)
	}
	list := d.wantPending("nobody", "missed curl udp://192.0.2.9:53 3 nobody\n")
	_, err := d.do(api.OpQuestionAnswer, answerTo(list.Missed[0].ID, "allow", always, true))
	wantCode(t, "wider", err, api.CodeInvalid)
	gone, err := d.do(api.OpQuestionClear, nil)
	if err != nil || len(gone.(api.Questions).Missed) != 1 {
		t.Errorf("clear: %+v, %v", gone, err)
	}
	d.wantPending("cleared", "")
}

// TestMissedThenAsked: what is asked again is not listed twice, and what a
// person decides then is not missed any more, whatever was decided.
func TestMissedThenAsked(t *testing.T) {
	d := newDesk(t, time.Hour)
	tty := d.jail.tty
	d.jail.tty = nil
	<-d.ask(question(t))
	d.jail.tty = tty
	c := d.ask(question(t))
	d.told(api.EventQuestion)
	list := d.wantPending("asked again", "open curl tcp://www.example.com:443 1\n")
	answer := func(a notifier.Answer) {
		t.Helper()
		a.Dest = question(t).Dest
		if err := d.jail.terminalAnswer(d.message(api.OpTerminal, api.TerminalAnswer{Question: list.Open[0].ID, Answer: a})); err != nil {
			t.Fatal(err)
		}
		if got := <-c; got.err != nil {
			t.Fatal(got.err)
		}
	}
	answer(notifier.Answer{Dismissed: true})
	d.wantPending("dismissed", "missed curl tcp://www.example.com:443 2 dismissed\n")
	c = d.ask(question(t))
	d.told(api.EventQuestion)
	list, _ = d.pending()
	answer(notifier.Answer{Verdict: rules.Allow})
	d.wantPending("allowed once", "")
}

func TestMissedCovered(t *testing.T) {
	for _, tt := range []struct {
		name  string
		miss  func(*notifier.Question)
		rule  rules.Rule
		whole bool // the rule decides it
	}{
		{"itself", nil, rules.Rule{App: "curl", Verdict: rules.Deny, Dest: dest(t, "tcp://www.example.com:443")}, true},
		{"wider", nil, rules.Rule{Verdict: rules.Allow, Dest: dest(t, ".example.com")}, true},
		{"its address", nil, rules.Rule{Verdict: rules.Allow, Dest: dest(t, "192.0.2.0/24:443")}, true},
		{"another app", nil, rules.Rule{App: "wget", Verdict: rules.Allow, Dest: dest(t, "@any")}, false},
		{"another port", nil, rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "www.example.com:80")}, false},
		{"another executable", nil, rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "tcp://www.example.com:443"), Exe: "/bin/x"}, false},
		{"until exit", nil, rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "@any"), Jail: "j", Run: true}, false},
		{"ask", nil, rules.Rule{App: "curl", Verdict: rules.Ask, Dest: dest(t, "tcp://www.example.com:443")}, false},
		{"expired", nil, rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "@any"), Expires: time.Unix(1, 0)}, false},
		{"listen", func(q *notifier.Question) {
			q.Op, q.Dest, q.Addr, q.Names = rules.Listen, dest(t, "listen+tcp://127.0.0.1:8080"), netip.MustParseAddr("127.0.0.1"), nil
		}, rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "listen://@localhost")}, true},
		{"a socket", func(q *notifier.Question) { q.Dest, q.Names = dest(t, "unix:/run/x.sock"), nil },
			rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "unix:/run/x.sock")}, true},
		{"many names", func(q *notifier.Question) { q.Dest, q.Names, q.Addr = dest(t, ".example.com"), nil, netip.Addr{} },
			rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, "www.example.com")}, false},
		{"all of many names", func(q *notifier.Question) { q.Dest, q.Names, q.Addr = dest(t, ".example.com"), nil, netip.Addr{} },
			rules.Rule{App: "curl", Verdict: rules.Allow, Dest: dest(t, ".example.com")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, time.Hour)
			q := question(t)
			q.App = "curl"
			if tt.miss != nil {
				tt.miss(&q)
			}
			d.missed.record(q, notifier.ErrTimeout)
			if list, _ := d.pending(); len(list.Missed) != 1 {
				t.Fatalf("%d missed without a rule", len(list.Missed))
			}
			if _, err := d.store.add(tt.rule); err != nil {
				t.Fatal(err)
			}
			if list, _ := d.pending(); (len(list.Missed) == 0) != tt.whole {
				t.Errorf("%d missed with the rule", len(list.Missed))
			}
		})
	}
}

// TestMissedBounded: of too many the newest stay, and each keeps the ids that
// people may have seen.
func TestMissedBounded(t *testing.T) {
	var m missed
	record := func(i int) {
		m.record(notifier.Question{ID: fmt.Sprintf("q%d", i), App: "curl", Dest: dest(t, fmt.Sprintf("192.0.2.1:%d", i))}, notifier.ErrTimeout)
	}
	for i := range 3 * maxMissed {
		record(i + 1)
	}
	record(2*maxMissed + 1) // the oldest that is kept is the newest now
	all := m.all()
	if len(all) != maxMissed || all[0].ID != fmt.Sprintf("q%d", 2*maxMissed+2) || all[maxMissed-1].Calls != 2 {
		t.Errorf("%d kept, from %s to %+v", len(all), all[0].ID, all[len(all)-1])
	}
	for i := range 3 * maxFormer {
		m.record(notifier.Question{ID: fmt.Sprintf("again%d", i), App: "curl", Dest: all[0].Dest}, notifier.ErrTimeout)
	}
	if all = m.all(); len(all) != maxMissed || len(all[maxMissed-1].Ids) != maxFormer {
		t.Errorf("%d kept, the last with %d ids", len(all), len(all[maxMissed-1].Ids))
	}
}

// TestQuestionsRefused: whoever speaks for a jail decides nothing.
func TestQuestionsRefused(t *testing.T) {
	d := newDesk(t, time.Hour)
	c := d.ask(question(t))
	d.told(api.EventQuestion)
	list, _ := d.pending()
	for _, op := range []string{api.OpQuestionList, api.OpQuestionAnswer, api.OpQuestionClear} {
		m := d.message(op, answerTo(list.Open[0].ID, "allow", always, false))
		for _, j := range []*jail{nil, d.jail} {
			_, err := d.handle(t.Context(), j, peer{supervisor: true}, m)
			wantCode(t, op, err, api.CodeRefused)
		}
	}
	d.wantPending("after that", "open curl tcp://www.example.com:443 1\n")
	d.queue.Close()
	if got := <-c; !errors.Is(got.err, notifier.ErrClosed) {
		t.Errorf("the call gets %+v", got)
	}
	d.wantPending("closed", "") // the daemon is about to leave
}

// TestRetire: an idle daemon stays for those who have not seen what they missed.
func TestRetire(t *testing.T) {
	d := newDesk(t, time.Hour)
	d.cfg.Idle = time.Hour
	d.idle = time.AfterFunc(time.Hour, func() {})
	defer d.idle.Stop()
	ended := 0
	end := func() { ended++ }
	q := question(t)
	q.App = "curl"
	d.missed.record(q, notifier.ErrTimeout)
	if d.retire(end); ended != 0 {
		t.Error("it leaves with a question that was just missed")
	}
	d.missed.list[0].Last = time.Now().Add(-missedFor)
	if d.retire(end); ended != 1 {
		t.Error("it stays for a question that was missed long ago")
	}
	d.missed.drop(func(*missedQuestion) bool { return true })
	if d.retire(end); ended != 2 {
		t.Error("it stays without a question")
	}
}

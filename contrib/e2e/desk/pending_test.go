package desk

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// pending is what netjail pending --json prints, as far as tests look at it.
type pending struct {
	Open []struct {
		ID string `json:"id"`
	} `json:"open"`
	Missed []struct {
		ID    string `json:"id"`
		Why   string `json:"why"`
		Calls int    `json:"calls"`
	} `json:"missed"`
}

func pendingOf(t *testing.T, h *e2etest.Home) pending {
	t.Helper()
	r := h.Run("pending", "--json")
	var p pending
	if err := json.Unmarshal([]byte(r.Stdout), &p); err != nil {
		t.Fatalf("pending: %v\n%+v", err, r)
	}
	return p
}

// wantMissed fails unless one question was missed, and returns its id.
func wantMissed(t *testing.T, h *e2etest.Home, why string) string {
	t.Helper()
	p := pendingOf(t, h)
	if len(p.Open) != 0 || len(p.Missed) != 1 || p.Missed[0].Why != why {
		t.Fatalf("pending: %+v, want one question missed: %s", p, why)
	}
	return p.Missed[0].ID
}

// wantSaid fails unless a command succeeded and printed text.
func wantSaid(t *testing.T, what string, r e2etest.Result, text string) {
	t.Helper()
	wantResult(t, what, r, 0)
	if !strings.Contains(r.Stdout, text) {
		t.Errorf("%s: printed %q, want %q", what, r.Stdout, text)
	}
}

// TestPendingOpen answers a question on a terminal from somewhere else.
func TestPendingOpen(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
		rule string
	}{
		{"allow", []string{"allow"}, 0, "allowed once, no rule written", ""},
		{"allow until exit", []string{"allow", "exit"}, 0, "allowed until the app exits", ""},
		{"allow always", []string{"allow", "always"}, 0, "allowed always, rule written", "allow"},
		{"deny for a week", []string{"deny", "7d"}, 7, "denied for 7d", "deny"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			s := newScreen(t, h)
			s.run("first", "netjail curl -s "+srv.url())
			s.question(h)
			srv.wantReached(t, "before the answer", 0)
			p := pendingOf(t, h)
			if len(p.Open) != 1 || len(p.Missed) != 0 {
				t.Fatalf("pending: %+v, want one open", p)
			}
			wantSaid(t, "the list", h.Run("pending"), fmt.Sprintf("  connect  tcp://127.0.0.1:%d  ", srv.Port()))
			wantSaid(t, "the answer", h.Run(append([]string{"answer", p.Open[0].ID}, tt.args...)...), tt.says)
			var rules []string
			if tt.rule != "" {
				rules = []string{fmt.Sprintf("%s tcp://127.0.0.1:%d", tt.rule, srv.Port())}
			}
			if !strings.Contains(tt.says, "exits") { // that rule lasts as long as curl
				wantRules(t, h, rules...)
			}
			s.ended("first", tt.code)
			s.wait(`^netjail: (answered elsewhere|question closed)$`) // the program may end before the daemon has said why
			reached := 0
			if tt.code == 0 {
				reached = 1
				s.wait("(^|> )hello$") // the program may be quicker than the prompt
			}
			srv.wantReached(t, "after the answer", reached)
			wantResult(t, "a second answer", h.Run("answer", p.Open[0].ID, "allow"), 1, "no question "+p.Open[0].ID)
			if p := pendingOf(t, h); len(p.Open)+len(p.Missed) != 0 {
				t.Errorf("pending: %+v, want none", p)
			}
			e2etest.WaitFor(t, "what holds until exit is gone", func() bool { return len(rulesOf(t, h)) == len(rules) })
			wantRules(t, h, rules...)
		})
	}
}

// TestPendingMissed makes a rule of a question that ran out of time: the next
// run is not asked.
func TestPendingMissed(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	daemon(t, h, "--question-timeout", "1s")
	s := newScreen(t, h)
	s.run("first", "netjail curl -s "+srv.url())
	s.ended("first", 7)
	srv.wantReached(t, "after the timeout", 0)
	id := wantMissed(t, h, "timeout")
	wantResult(t, "an answer for once", h.Run("answer", id, "allow"), 2, "netjail: hint: netjail answer "+id+" allow always")
	wantRules(t, h)
	wantSaid(t, "an answer for ever", h.Run("answer", id, "allow", "always"), "allowed always, rule written")
	wantRules(t, h, fmt.Sprintf("allow tcp://127.0.0.1:%d", srv.Port()))
	if p := pendingOf(t, h); len(p.Missed) != 0 {
		t.Errorf("pending: %+v, want none", p)
	}
	s.forget()
	s.run("second", "netjail curl -s "+srv.url())
	s.ended("second", 0)
	if n := s.count(asks); n != 0 {
		t.Errorf("the second run is asked:\n%s", s.text())
	}
	srv.wantReached(t, "after the second run", 1)
}

// TestPendingNobody has nobody to ask: what a run is refused, a rule made of
// the list allows the next.
func TestPendingNobody(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	wantResult(t, "the first run", h.Run("curl", "-s", srv.url()), 7, "there is no terminal and no desktop to ask on (netjail pending lists it)")
	id := wantMissed(t, h, "nobody")
	wantSaid(t, "the answer", h.Run("answer", id, "allow", "1h"), "allowed for 1h")
	r := h.Run("curl", "-s", srv.url())
	wantResult(t, "the second run", r, 0)
	if r.Stderr != "" {
		t.Errorf("the second run says %q", r.Stderr)
	}
	srv.wantReached(t, "after the second run", 1)
}

// TestPendingFromJail asks for, and answers, questions in a jail.
func TestPendingFromJail(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	srv := listen(t)
	daemon(t, h)
	wantResult(t, "a run", h.Run("curl", "-s", srv.url()), 7)
	id := wantMissed(t, h, "nobody")
	wantResult(t, "a rule that allows the socket", h.Run("rules", "add", "python3", "allow", "unix:"+socket(h)), 0)
	for op, data := range map[string]string{
		"question.list":   `{}`,
		"question.answer": `{"id":"` + id + `","verdict":"allow","lifetime":"always"}`,
		"question.clear":  `{}`,
		"question.watch":  `{"asks":true}`,
		"history.list":    `{}`,
	} {
		talk := strings.Replace(talkToDaemon, `"op":"status"}`, `"op":"`+op+`","data":`+data+`}`, 1)
		r := h.Run("python3", "-c", talk, socket(h))
		if !strings.Contains(r.Stdout, "PermissionError") && !strings.Contains(r.Stdout, "ConnectionRefused") {
			t.Errorf("%s in a jail: %+v", op, r)
		}
	}
	r := h.Run("--as", "nested", "sh", "-c", e2etest.Bin(t)+" pending; "+e2etest.Bin(t)+" answer "+id+" allow always")
	if r.Code != 2 || strings.Contains(r.Stdout, id) {
		t.Errorf("in a jail: %+v", r)
	}
	wantRules(t, h, "allow unix:"+socket(h))
	if again := wantMissed(t, h, "nobody"); again != id {
		t.Errorf("the question was %s, is %s", id, again)
	}
	srv.wantReached(t, "in the end", 0)
}

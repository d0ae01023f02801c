package desk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// asks is what every question on the screen has in it.
const asks = "wants to connect to"

// TestKeys presses each key of a question on a terminal. Until then the call
// waits.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		name, key string
		code      int // of curl: 7 is "cannot connect"
		says      string
		rule      string // that is listed afterwards, before the destination
		again     bool   // a second run asks again
	}{
		{"allow once", "a", 0, "allowed 127.0.0.1 once, no rule written", "", true},
		{"allow until exit", "e", 0, "allowed 127.0.0.1 until curl exits", "", true},
		{"allow an hour", "h", 0, "allowed 127.0.0.1 for 1 hour, rule written", "allow", false},
		{"allow always", "A", 0, "allowed 127.0.0.1 always, rule written", "allow", false},
		{"deny once", "d", 7, "denied 127.0.0.1 once, no rule written", "", true},
		{"deny until exit", "E", 7, "denied 127.0.0.1 until curl exits", "", true},
		{"deny an hour", "H", 7, "denied 127.0.0.1 for 1 hour, rule written", "deny", false},
		{"deny always", "D", 7, "denied 127.0.0.1 always, rule written", "deny", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			s := newScreen(t, h)
			s.run("first", "netjail curl -s "+srv.url())
			s.wait(fmt.Sprintf(`^netjail: curl wants to connect to 127\.0\.0\.1 port %d \(tcp\)$`, srv.Port()))
			s.wait(`^  \[a\] allow once  \[e\] until curl exits  \[h\] 1 hour  \[A\] always$`)
			s.wait(`^  \[d\] deny once   \[E\] until curl exits  \[H\] 1 hour  \[D\] always$`)
			s.wait(`^  \[s\] about: \(127\.0\.0\.1\)  anything$`)
			pid := s.question(h)
			srv.wantReached(t, "before a key", 0)
			if !alive(pid) || s.count("first=") != 1 {
				t.Fatal("curl does not wait for the answer")
			}
			s.keys(tt.key)
			s.ended("first", tt.code)
			s.wait("^> " + tt.key + `\nnetjail: ` + tt.says)
			reached := 0
			if tt.code == 0 {
				reached = 1
				s.wait("^hello$")
			}
			srv.wantReached(t, "after the key", reached)
			var rules []string
			if tt.rule != "" {
				rules = []string{fmt.Sprintf("%s tcp://127.0.0.1:%d", tt.rule, srv.Port())}
			}
			wantRules(t, h, rules...)

			s.run("second", "netjail curl -s "+srv.url())
			if !tt.again {
				s.ended("second", tt.code)
				if n := s.count(asks); n != 1 {
					t.Errorf("%d questions, want 1", n)
				}
				srv.wantReached(t, "after the second run", 2*reached)
				return
			}
			s.question(h)
			srv.wantReached(t, "while the second run asks", reached)
			s.keys("C-d") // the end of input denies once
			s.ended("second", 7)
			srv.wantReached(t, "after the second run", reached)
			wantRules(t, h, rules...)
		})
	}
}

// TestUntilExit asks once for two calls of one run.
func TestUntilExit(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("both", "netjail sh -c 'curl -s "+srv.url()+" && curl -s "+srv.url()+"'")
	s.question(h)
	s.wait(`^  \[a\] allow once +\[e\] until sh exits`)
	s.keys("e")
	s.ended("both", 0)
	srv.wantReached(t, "after one key", 2)
	if n := s.count(asks); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
	wantRules(t, h)
}

// TestTypedAhead types answers before there is a question, and pastes one into
// it: only a key that comes alone counts.
func TestTypedAhead(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("run", "netjail sh -c 'echo begun; until [ -e go ]; do sleep 0.02; done; exec curl -s "+srv.url()+"'")
	s.wait("^begun$")
	s.keys("A", "a", "e")
	s.wait("^Aae$") // the terminal has them
	writeFile(t, filepath.Join(h.Dir, "go"), "")
	s.question(h)
	s.tmux("send-keys", "-l", "yes, Always and again")
	s.keys("Up") // ends in A
	srv.wantReached(t, "after noise", 0)
	waitQuestion(t, h)
	// Had any of it been an answer, the call would be allowed.
	// One key at a time, for a burst is no answer either.
	pressed := time.Time{}
	e2etest.WaitFor(t, "the question takes a key", func() bool {
		if time.Since(pressed) > 300*time.Millisecond {
			s.keys("d")
			pressed = time.Now()
		}
		return s.count("denied 127.0.0.1 once") == 1
	})
	s.ended("run", 7)
	srv.wantReached(t, "after d", 0)
	wantRules(t, h)
}

// TestNoAnswer lets a question run out of time.
func TestNoAnswer(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	daemon(t, h, "--question-timeout", "3s")
	s := newScreen(t, h)
	begun := time.Now()
	s.run("run", "netjail curl -s "+srv.url())
	s.wait(asks)
	s.ended("run", 7)
	if d := time.Since(begun); d < 3*time.Second {
		t.Errorf("denied after %v, before the time was up", d)
	}
	s.wait("^netjail: not answered in time: denied, no rule written")
	srv.wantReached(t, "after the timeout", 0)
	wantRules(t, h)
	h.StopDaemon() // the next one gives a slow machine time to answer
	s.forget()
	s.run("again", "netjail curl -s "+srv.url())
	s.question(h)
	s.keys("a")
	s.ended("again", 0)
	srv.wantReached(t, "after an answer", 1)
}

// TestNoPrompt asks nobody although there is a terminal.
func TestNoPrompt(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("none", "netjail --no-prompt curl -s "+srv.url())
	s.ended("none", 7)
	s.run("some", "netjail --no-prompt --allow "+srv.Addr()+" curl -s "+srv.url())
	s.ended("some", 0)
	if n := s.count(asks); n != 0 {
		t.Errorf("%d questions, want none", n)
	}
	srv.wantReached(t, "after both", 1)
}

// TestRuleFile shows the rule that a key has written, and that it is in a file
// that a person can read.
func TestRuleFile(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("run", "netjail curl -s "+srv.url())
	s.question(h)
	s.keys("A")
	s.ended("run", 0)
	s.run("list", "netjail rules list")
	s.ended("list", 0)
	s.wait(fmt.Sprintf(`^[0-9a-f]{8} +curl +allow +tcp://127\.0\.0\.1:%d +always +prompt +0 +- +~/config/netjail/rules/curl\.toml:\d+$`, srv.Port()))
	b, err := os.ReadFile(filepath.Join(h.Rules(), "curl.toml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the file:\n%s", b)
}

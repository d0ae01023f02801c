package daemon

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/origin/journal"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// TestChanged has a program ask that is replaced from time to time, and answers
// on the terminal and from the command line.
func TestChanged(t *testing.T) {
	d := newDesk(t, time.Hour)
	path := filepath.Join(t.TempDir(), "sleep")
	steps := []struct {
		name    string
		program string // what it becomes before it asks; "": it stays
		changed bool   // what the question shows
		answer  func(id string, v rules.Verdict) error
		verdict rules.Verdict
	}{
		{"first", "1", false, d.byTerminal, rules.Deny},
		{"denied only", "2", false, d.byTerminal, rules.Allow},
		{"allowed once", "", false, d.byTerminal, rules.Deny},
		{"another one", "3", true, d.byTerminal, rules.Deny},
		{"denied", "", true, d.byCommand, rules.Allow},
		{"allowed from elsewhere", "", false, d.byCommand, rules.Deny},
		{"yet another one", "4", true, d.byTerminal, rules.Deny},
	}
	for _, step := range steps {
		if step.program != "" {
			become(t, path, step.program)
		}
		q := question(t)
		q.Exe, q.PID = path, sleeping(t, path)
		c := d.ask(q)
		d.opened(func(notifier.Question) bool { return true })
		want := d.look(q)
		if changed := want.State == journal.Changed; changed != step.changed {
			t.Errorf("%s: the journal finds %+v", step.name, want)
		}
		if !step.changed {
			want.Allowed = time.Time{}
		}
		shown := d.opened(func(q notifier.Question) bool { return q.Changed.Equal(want.Allowed) })
		if err := step.answer(shown.ID, step.verdict); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if a, _ := (<-c).answer.(notifier.Answer); a.Verdict != step.verdict {
			t.Errorf("%s: got %+v, want %v", step.name, a, step.verdict)
		}
		if step.verdict == rules.Allow {
			d.remembered(q)
		}
	}
}

// TestJoined: who joins a question that shows another program is not remembered.
func TestJoined(t *testing.T) {
	d := newDesk(t, time.Hour)
	dir := t.TempDir()
	var questions []notifier.Question
	var calls []<-chan asked
	for i, name := range []string{"a/sleep", "b/sleep"} {
		q := question(t)
		q.Exe = filepath.Join(dir, name)
		become(t, q.Exe, "")
		q.PID = sleeping(t, q.Exe)
		questions, calls = append(questions, q), append(calls, d.ask(q))
		d.opened(func(q notifier.Question) bool { return q.Waiting == i+1 })
	}
	if err := d.byTerminal(d.queue.Open()[0].ID, rules.Allow); err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if a, _ := (<-c).answer.(notifier.Answer); a.Verdict != rules.Allow {
			t.Errorf("got %+v, want it allowed", a)
		}
	}
	d.remembered(questions[0])
	if got := d.look(questions[1]); got.State != journal.Unknown {
		t.Errorf("the program that joined: got %+v, want nothing", got)
	}
}

// opened waits for an open question like that.
func (d *desk) opened(like func(notifier.Question) bool) notifier.Question {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		list := d.queue.Open()
		if i := slices.IndexFunc(list, like); i >= 0 {
			return list[i]
		}
		if time.Now().After(end) {
			d.t.Fatalf("the open questions are %+v", list)
		}
	}
}

// remembered waits until the program of a question is known to be allowed.
func (d *desk) remembered(q notifier.Question) {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); d.look(q).State != journal.Same; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%s is not remembered", q.Exe)
		}
	}
}

// look looks at the program of a question.
func (d *desk) look(q notifier.Question) journal.Finding {
	ctx, cancel := context.WithCancel(d.t.Context())
	defer cancel()
	return <-d.journal.Look(ctx, d.jail.reg.App, q.Exe, q.PID).Found
}

// byTerminal answers on the terminal, once the question is there.
func (d *desk) byTerminal(id string, v rules.Verdict) error {
	a := notifier.Answer{Verdict: v, Dest: question(d.t).Dest, By: "terminal"}
	m := d.message(api.OpTerminal, api.TerminalAnswer{Question: id, Answer: a})
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if err := d.jail.terminalAnswer(m); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// byCommand answers from the command line.
func (d *desk) byCommand(id string, v rules.Verdict) error {
	_, err := d.do(api.OpQuestionAnswer, answerTo(id, v.String(), "once", false))
	return err
}

// become puts a program at a path, in place of the one there.
func become(t *testing.T, path, text string) {
	t.Helper()
	from, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", append(program, text...), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// sleeping runs the program at a path until the end of the test.
func sleeping(t *testing.T, path string) (pid int) {
	t.Helper()
	cmd := exec.Command(path, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

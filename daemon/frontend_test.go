package daemon

import (
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// stream is a client's end of a connection, as the daemon writes to it.
type stream chan *api.Message

func (s stream) Read([]byte) (int, error) { return 0, io.EOF }
func (s stream) Close() error             { return nil }
func (s stream) Write(b []byte) (int, error) {
	m := new(api.Message)
	if err := json.Unmarshal(b, m); err != nil {
		return 0, err
	}
	s <- m
	return len(b), nil
}

// next waits for a change.
func (s stream) next(t *testing.T) (c api.QuestionChange) {
	t.Helper()
	select {
	case m := <-s:
		if m.Event != api.EventChange {
			t.Fatalf("told %+v, want a change", m)
		}
		if err := json.Unmarshal(m.Data, &c); err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("told nothing")
	}
	return c
}

// TestWatch: a client that watches hears of what is open, of what becomes of
// it, and is somebody to ask.
func TestWatch(t *testing.T) {
	d := newDesk(t, time.Minute)
	first := d.ask(question(t))
	d.told("www.example.com")
	d.jail.tty = nil // nobody else to ask from now on

	watch := func(who peer, asks bool) stream {
		s := make(stream, 1000)
		m := d.message(api.OpQuestionWatch, api.QuestionWatch{Asks: asks})
		d.wg.Go(func() { d.watch(t.Context(), api.NewConn(s, maxRequest), who, m) })
		return s
	}
	if m := <-watch(peer{supervisor: true}, true); m.Error == nil || m.Error.Code != api.CodeRefused {
		t.Errorf("a supervisor watches: %+v", m)
	}
	looker := watch(peer{}, false)
	if m := <-looker; m.Error != nil || m.Event != "" {
		t.Fatalf("reply: %+v", m)
	}
	c := looker.next(t)
	if c.Question.Dest != question(t).Dest || c.Closed != "" {
		t.Errorf("told first: %+v", c)
	}
	other := question(t)
	other.Dest = dest(t, "tcp://192.0.2.9:1")
	if a := <-d.ask(other); a.err == nil {
		t.Error("one that only looks counts as somebody to ask")
	}
	asker := watch(peer{}, true)
	<-asker
	asker.next(t)
	second := d.ask(other)
	about := func(s stream, closed bool) api.QuestionChange {
		for {
			if c := s.next(t); c.Question.Dest == other.Dest && (c.Closed != "") == closed {
				return c
			}
		}
	}
	id := about(asker, false).Question.ID
	about(looker, false)
	if _, err := d.do(api.OpQuestionAnswer, answerTo(id[:4], "allow", "exit", false)); err != nil {
		t.Fatal(err)
	}
	if a := <-second; a.err != nil {
		t.Errorf("got %v", a.err)
	}
	for _, s := range []stream{looker, asker} {
		if c := about(s, true); c.Question.ID != id || c.Closed != api.ClosedAnswered || c.Answer == nil || c.Answer.Verdict != rules.Allow {
			t.Errorf("closed: %+v", c)
		}
	}
	d.queue.Close()
	if a := <-first; a.err == nil {
		t.Error("the first was answered")
	}
	var h api.History
	v, err := d.do(api.OpHistory, nil)
	if err != nil {
		t.Fatal(err)
	}
	h = v.(api.History)
	var got []string
	for _, e := range h.Events {
		got = append(got, e.Kind+" "+e.App+" "+e.What+" "+e.Dest.String()+" "+e.Verdict.String()+" "+e.By+e.Why)
	}
	want := []string{"missed curl connect tcp://192.0.2.9:1 deny nobody", "answer curl connect tcp://192.0.2.9:1 allow cli"}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("history: %q, want %q", got, want)
	}
}

package notifier

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netjail/netjail/rules"
)

// storm has one app ask about n hosts through p.
func storm(t *testing.T, q *Queue, n int, p ...Prompter) []<-chan result {
	t.Helper()
	var list []<-chan result
	for i := range n {
		list = append(list, ask(t.Context(), q, question(t, "fox", fmt.Sprintf("tcp://h%02d.example:443", i)), p...))
		synctest.Wait()
	}
	return list
}

// summaries returns those of the open questions.
func summaries(q *Queue) (list []Question) {
	for _, o := range q.Open() {
		if o.Summary() {
			list = append(list, o)
		}
	}
	return list
}

// TestStorm: four questions and a summary of the rest, which decides what was
// seen in it and nothing else.
func TestStorm(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(s Question) Answer
		want   Answer // to each of its questions, but for the destination
	}{
		{"allow all", func(s Question) Answer { c, _ := s.Choose(rules.Allow, Listed, untilEnd); return c.Answer },
			Answer{Verdict: rules.Allow, Lifetime: untilEnd}},
		{"deny all", func(s Question) Answer { c, _ := s.Choose(rules.Deny, Listed, untilEnd); return c.Answer },
			Answer{Verdict: rules.Deny, Lifetime: untilEnd}},
		{"dismissed", func(s Question) Answer { return Answer{Dismissed: true, Through: s.Last()} },
			Answer{Dismissed: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answered := 0
				q := NewQueue(Config{Answered: func(Question, Answer) { answered++ }})
				defer q.Close()
				p := newFake()
				other := ask(t.Context(), q, question(t, "curl", "tcp://h09.example:443"), p)
				calls := storm(t, q, 16, p)
				if got := len(p.asked); got != 1+4+1 {
					t.Fatalf("shown: %d questions, want curl's, four and a summary", got)
				}
				s := summaries(q)
				if len(s) != 1 || len(s[0].Items) != 12 || s[0].Headline() != "fox wants 12 more hosts" {
					t.Fatalf("summaries: got %+v", s)
				}
				answer := c.answer(s[0])
				late := ask(t.Context(), q, question(t, "fox", "tcp://late.example:443"), p)
				synctest.Wait()
				if err := q.Answer(s[0].ID, answer); err != nil {
					t.Fatal(err)
				}
				for i, r := range calls[4:] {
					got := <-r
					want := c.want
					want.Dest = dest(t, fmt.Sprintf("tcp://h%02d.example:443", i+4))
					if got.err != nil || got.a != want {
						t.Errorf("call %d: got %+v, want %+v", i+4, got, want)
					}
				}
				synctest.Wait()
				if told := 12; c.want.Dismissed && answered != 0 || !c.want.Dismissed && answered != told {
					t.Errorf("told of %d answers", answered)
				}
				if s = summaries(q); len(s) != 1 || len(s[0].Items) != 1 || s[0].Items[0].Dest != dest(t, "tcp://late.example:443") {
					t.Errorf("what came after the list was seen: got %+v, want one summary of it", s)
				}
				for name, r := range map[string]<-chan result{"the first": calls[0], "the fourth": calls[3], "late": late, "another app's": other} {
					select {
					case got := <-r:
						t.Errorf("%s: answered too: %+v", name, got)
					default:
					}
				}
			})
		})
	}
}

// TestStormReview: each question of the list is asked, and can be answered by itself.
func TestStormReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		p := newFake()
		calls := storm(t, q, 8, p)
		if err := q.Answer(summaries(q)[0].ID, summaries(q)[0].Review().Answer); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := len(p.asked); got != 4+1+4 {
			t.Errorf("shown: %d, want four, the summary, and its four", got)
		}
		open := q.Open()
		if len(open) != 8 || len(summaries(q)) != 0 {
			t.Fatalf("open: %+v", open)
		}
		for i := len(open) - 1; i >= 0; i-- {
			if open[i].Summarized != "" {
				t.Errorf("still said to be in a summary: %+v", open[i])
			}
			c, _ := open[i].Choose(rules.Allow, Host, once)
			if err := q.Answer(open[i].ID, c.Answer); err != nil {
				t.Error(err)
			}
		}
		for i, r := range calls {
			if got := <-r; got.err != nil || got.a.Verdict != rules.Allow {
				t.Errorf("call %d: got %+v", i, got)
			}
		}
	})
}

// TestStormItem: one of the list can be answered, or leave, by itself; the
// summary goes with the last one, and writes nothing.
func TestStormItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missed := 0
		q := NewQueue(Config{Missed: func(Question, error) { missed++ }})
		defer q.Close()
		u := &updating{fake: newFake()}
		calls := storm(t, q, 7, u)
		s := summaries(q)[0]
		if err := q.Answer(s.Items[0].ID, Answer{Verdict: rules.Allow, Dest: s.Items[0].Dest}); err != nil {
			t.Fatal(err)
		}
		if got := <-calls[4]; got.err != nil || got.a.Verdict != rules.Allow {
			t.Errorf("got %+v", got)
		}
		synctest.Wait()
		if now := summaries(q); len(now) != 1 || len(now[0].Items) != 2 || now[0].ID != s.ID {
			t.Errorf("summaries: %+v", now)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, r := range append(calls[:4:4], calls[5:]...) {
			if got := <-r; got.err != ErrTimeout {
				t.Errorf("call %d: got %+v, want %v", i, got, ErrTimeout)
			}
		}
		if open := q.Open(); len(open) != 0 {
			t.Errorf("open: %+v", open)
		}
		if missed != 6 {
			t.Errorf("missed: %d, want 6", missed)
		}
	})
}

// TestStormNobody: when nobody can be asked for the summary, nothing hangs.
func TestStormNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		p := newFake()
		calls := storm(t, q, 6, p)
		gone := newFake()
		gone.errs <- ErrNobody
		for range 4 { // the first four are shown elsewhere
			p.errs <- ErrNobody
			synctest.Wait()
		}
		p.errs <- ErrNobody
		for i, r := range calls {
			if got := <-r; got.err != ErrNobody {
				t.Errorf("call %d: got %+v", i, got)
			}
		}
	})
}

// TestNoStorm: questions that take their time are no storm, whatever other apps do.
func TestNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		p := newFake()
		for i := range 8 {
			ask(t.Context(), q, question(t, "fox", fmt.Sprintf("tcp://h%02d.example:443", i)), p)
			ask(t.Context(), q, question(t, fmt.Sprintf("app%d", i), https), p)
			synctest.Wait()
			time.Sleep(stormWithin / 4)
		}
		for range 9 { // nor is one that tries again
			r := ask(t.Context(), q, question(t, "again", https), p)
			synctest.Wait()
			for _, o := range q.Open() {
				if o.App == "again" {
					_ = q.Answer(o.ID, Answer{Verdict: rules.Deny, Dest: o.Dest})
				}
			}
			<-r
		}
		if s := summaries(q); len(s) != 0 {
			t.Errorf("summaries: %+v", s)
		}
		if got := len(p.asked); got != 16+9 {
			t.Errorf("shown: %d, want 25", got)
		}
	})
}

// TestSettleCovered: a wide answer settles every call it covers, wherever it is shown.
func TestSettleCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		desk, term := newFake(), newFake()
		one := named(t)
		two := question(t, "curl", "tcp://api.example.org:443")
		two.Addr = one.Addr
		three := question(t, "curl", "tcp://other.example:443")
		three.Addr = one.Addr
		r1 := ask(t.Context(), q, one, desk, term)
		r2 := ask(t.Context(), q, two, desk, term)
		r3 := ask(t.Context(), q, three, desk, term)
		elsewhere := two
		elsewhere.App = "wget"
		r4 := ask(t.Context(), q, elsewhere, desk)
		synctest.Wait()
		want := Answer{Verdict: rules.Allow, Lifetime: always, Dest: one.Wider}
		for _, o := range q.Open() {
			if o.Dest == one.Dest {
				if err := q.Answer(o.ID, want); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, r := range []<-chan result{r1, r2} {
			if got := <-r; got.err != nil || got.a != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		synctest.Wait()
		if d, s := desk.down.Load(), term.down.Load(); d != 2 || s != 2 {
			t.Errorf("taken down: %d and %d, want 2 and 2", d, s)
		}
		for _, r := range []<-chan result{r3, r4} {
			select {
			case got := <-r:
				t.Errorf("answered too: %+v", got)
			default:
			}
		}
	})
}

// TestWatch: a watch tells of what is open, what changes and what is closed.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		p := newFake()
		ask(t.Context(), q, question(t, "curl", https), p)
		synctest.Wait()
		w := q.Watch()
		defer w.Close()
		next := func() Change {
			t.Helper()
			c, ok, err := w.next()
			if !ok || err != nil {
				t.Fatalf("next: %v, %v", ok, err)
			}
			return c
		}
		c := next()
		if c.Closed != nil || c.Question.Waiting != 1 {
			t.Errorf("got %+v", c)
		}
		for range 3 {
			ask(t.Context(), q, question(t, "curl", https), p)
		}
		synctest.Wait()
		if c = next(); c.Closed != nil || c.Question.Waiting != 4 {
			t.Errorf("got %+v, want all changes at once", c)
		}
		brief := ask(t.Context(), q, question(t, "wget", https), p)
		synctest.Wait()
		for _, o := range q.Open() {
			if err := q.Answer(o.ID, Answer{Verdict: rules.Allow, Dest: o.Dest, By: "test"}); err != nil {
				t.Fatal(err)
			}
		}
		<-brief
		if c = next(); c.Question.App != "curl" || c.Closed != ErrAnswered || c.Answer.By != "test" {
			t.Errorf("got %+v, want curl's answered", c)
		}
		if c, ok, err := w.next(); ok || err != nil {
			t.Errorf("got %+v, %v, want nothing of what opened and closed unseen", c, err)
		}
		ended := make(chan error)
		go func() {
			_, err := w.Next(t.Context())
			ended <- err
		}()
		synctest.Wait()
		w.Close()
		if err := <-ended; err != ErrClosed {
			t.Errorf("closed: got %v", err)
		}
	})
}

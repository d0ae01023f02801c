package notifier

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/netjail/netjail/rules"
)

// TestQueueMissed: what a call waited for and nobody decided is told of, once
// for all calls and before they are.
func TestQueueMissed(t *testing.T) {
	type miss struct {
		q   Question
		why error
	}
	for _, tt := range []struct {
		name  string
		want  error // nil: nothing is missed
		calls int
		act   func(q *Queue, f *fake, cancel context.CancelFunc)
	}{
		{"timeout", ErrTimeout, 2, func(*Queue, *fake, context.CancelFunc) {}},
		{"given up", ErrDismissed, 2, func(_ *Queue, f *fake, _ context.CancelFunc) { f.errs <- ErrDismissed }},
		{"absent", ErrNobody, 2, func(_ *Queue, f *fake, _ context.CancelFunc) { f.errs <- ErrNobody }},
		{"dismissed", ErrDismissed, 2, func(_ *Queue, f *fake, _ context.CancelFunc) {
			f.answers <- Answer{Dest: dest(t, https), Dismissed: true}
		}},
		{"denied", nil, 0, func(_ *Queue, f *fake, _ context.CancelFunc) {
			f.answers <- Answer{Verdict: rules.Deny, Dest: dest(t, https)}
		}},
		{"left", nil, 0, func(_ *Queue, _ *fake, cancel context.CancelFunc) { cancel() }},
		{"closed", nil, 0, func(q *Queue, _ *fake, _ context.CancelFunc) { q.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []miss
				q := NewQueue(Config{Missed: func(q Question, why error) { got = append(got, miss{q, why}) }})
				defer q.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := newFake()
				r1 := ask(ctx, q, question(t, "curl", https), f)
				r2 := ask(ctx, q, question(t, "curl", https), f)
				synctest.Wait()
				id := q.Open()[0].ID
				tt.act(q, f, cancel)
				<-r1
				if tt.want != nil && (len(got) != 1 || got[0].why != tt.want || got[0].q.Waiting != tt.calls || got[0].q.ID != id) {
					t.Errorf("got %+v, want %v of %d calls", got, tt.want, tt.calls)
				}
				<-r2
				q.Close()
				if tt.want == nil && len(got) != 0 {
					t.Errorf("got %+v, want nothing", got)
				}
			})
		})
	}
}

// TestQueueMissedUnopened: so is what was not even shown.
func TestQueueMissedUnopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var why []error
		q := NewQueue(Config{Limit: 1, Missed: func(q Question, err error) {
			if q.ID != "" || q.Waiting != 1 {
				t.Errorf("missed %+v", q)
			}
			why = append(why, err)
		}})
		given := question(t, "curl", https)
		given.ID = "made up"
		if r := <-ask(t.Context(), q, given); r.err != ErrNobody {
			t.Errorf("got %+v", r)
		}
		open := ask(t.Context(), q, question(t, "wget", https), newFake())
		synctest.Wait()
		if r := <-ask(t.Context(), q, given, newFake()); r.err != ErrFull {
			t.Errorf("got %+v", r)
		}
		q.Close()
		<-open
		if len(why) != 2 || why[0] != ErrNobody || why[1] != ErrFull {
			t.Errorf("missed: %v", why)
		}
	})
}

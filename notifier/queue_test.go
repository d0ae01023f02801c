package notifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netjail/netjail/rules"
)

// fake is a Prompter whose answers the test gives.
type fake struct {
	asked   chan Question // one for each question shown
	answers chan Answer
	errs    chan error
	down    atomic.Int32 // questions taken down because ctx ended
	cause   atomic.Value
}

func newFake() *fake {
	return &fake{asked: make(chan Question, 1000), answers: make(chan Answer, 1), errs: make(chan error, 1)}
}

func (f *fake) Ask(ctx context.Context, q Question) (Answer, error) {
	f.asked <- q
	select {
	case a := <-f.answers:
		return a, nil
	case err := <-f.errs:
		return Answer{}, err
	case <-ctx.Done():
		f.cause.Store(context.Cause(ctx))
		f.down.Add(1)
		return Answer{}, context.Cause(ctx)
	}
}

func dest(t testing.TB, s string) rules.Destination {
	t.Helper()
	d, err := rules.ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func question(t testing.TB, app, to string) Question {
	return Question{App: app, Dest: dest(t, to)}
}

type result struct {
	a   Answer
	err error
}

// ask calls Ask on a goroutine of its own.
func ask(ctx context.Context, q *Queue, question Question, p ...Prompter) <-chan result {
	c := make(chan result, 1)
	go func() {
		a, err := q.Ask(ctx, question, p)
		c <- result{a, err}
	}()
	return c
}

const https = "tcp://192.0.2.7:443"

func TestQueueMergesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		desk, term := newFake(), newFake()
		first := question(t, "curl", https)
		first.Names = []string{"a.example"}
		second := first
		second.Names = []string{"a.example", "b.example"}

		r1 := ask(t.Context(), q, first, desk)
		synctest.Wait()
		r2 := ask(t.Context(), q, second, desk, term)
		r3 := ask(t.Context(), q, question(t, "wget", https), desk)
		synctest.Wait()

		open := q.Open()
		if len(open) != 2 {
			t.Fatalf("open questions: got %d, want 2: %v", len(open), open)
		}
		curl := open[0]
		if open[1].App == "curl" {
			curl = open[1]
		}
		if curl.Waiting != 2 || len(curl.Names) != 2 {
			t.Errorf("merged question: got %d waiting, names %v, want 2 and both names", curl.Waiting, curl.Names)
		}
		if got := len(desk.asked); got != 2 {
			t.Errorf("desk was asked %d times, want 2 (curl, wget)", got)
		}
		if got := len(term.asked); got != 1 {
			t.Errorf("terminal was asked %d times, want 1", got)
		}

		want := Answer{Verdict: rules.Allow, Dest: first.Dest, By: "test"}
		term.answers <- want
		for i, r := range []<-chan result{r1, r2} {
			if got := <-r; got.err != nil || got.a != want {
				t.Errorf("call %d: got %+v, want %+v", i+1, got, want)
			}
		}
		synctest.Wait()
		if got := desk.down.Load(); got != 1 {
			t.Errorf("questions taken down at the desk: got %d, want 1", got)
		}
		if got := desk.cause.Load(); got != ErrAnswered {
			t.Errorf("cause: got %v, want %v", got, ErrAnswered)
		}
		select {
		case got := <-r3:
			t.Errorf("the other app's question was answered too: %+v", got)
		default:
		}
		if err := q.Answer(curl.ID, want); err != ErrGone {
			t.Errorf("second answer: got %v, want %v", err, ErrGone)
		}
	})
}

func TestQueueEnds(t *testing.T) {
	cases := []struct {
		name  string
		want  error
		after time.Duration // how long Ask takes
		act   func(q *Queue, a, b *fake, cancel context.CancelFunc)
	}{
		{"timeout", ErrTimeout, time.Minute, func(*Queue, *fake, *fake, context.CancelFunc) {}},
		{"all dismissed", ErrDismissed, 0, func(_ *Queue, a, b *fake, _ context.CancelFunc) {
			a.errs <- ErrDismissed
			synctest.Wait()
			b.errs <- ErrNobody
		}},
		{"all absent", ErrNobody, 0, func(_ *Queue, a, b *fake, _ context.CancelFunc) {
			a.errs <- ErrNobody
			b.errs <- fmt.Errorf("no bus: %w", ErrNobody)
		}},
		{"one dismissed", ErrTimeout, time.Minute, func(_ *Queue, a, _ *fake, _ context.CancelFunc) { a.errs <- ErrDismissed }},
		{"closed", ErrClosed, 0, func(q *Queue, _, _ *fake, _ context.CancelFunc) { q.Close() }},
		{"call interrupted", context.Canceled, 0, func(_ *Queue, _, _ *fake, cancel context.CancelFunc) { cancel() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := NewQueue(Config{})
				defer q.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				a, b := newFake(), newFake()
				start := time.Now()
				r := ask(ctx, q, question(t, "curl", https), a, b)
				synctest.Wait()
				c.act(q, a, b, cancel)
				got := <-r
				if !errors.Is(got.err, c.want) || got.a != (Answer{}) {
					t.Errorf("got %+v, %v, want no answer and %v", got.a, got.err, c.want)
				}
				if took := time.Since(start); took != c.after {
					t.Errorf("took %v, want %v", took, c.after)
				}
			})
		})
	}
}

func TestQueueRefuses(t *testing.T) {
	q := NewQueue(Config{})
	defer q.Close()
	var missing *fake
	for name, p := range map[string][]Prompter{"none": nil, "nil": {nil}, "uncomparable": {uncomparable{}}} {
		if _, err := q.Ask(t.Context(), question(t, "curl", https), p); !errors.Is(err, ErrNobody) {
			t.Errorf("%s: got %v, want %v", name, err, ErrNobody)
		}
	}
	if _, err := q.Ask(t.Context(), Question{App: "curl"}, []Prompter{missing}); !errors.Is(err, errNoDest) {
		t.Errorf("no destination: got %v, want %v", err, errNoDest)
	}
	q.Close()
	if _, err := q.Ask(t.Context(), question(t, "curl", https), []Prompter{newFake()}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed queue: got %v, want %v", err, ErrClosed)
	}
}

type uncomparable []int

func (uncomparable) Ask(context.Context, Question) (Answer, error) { return Answer{}, nil }

// TestQueueLimit: there is room for so many questions, and for fewer of one app.
func TestQueueLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{Limit: 40, PerApp: 32})
		defer q.Close()
		p := newFake()
		open := func(app string, port int) <-chan result {
			r := ask(t.Context(), q, question(t, app, fmt.Sprintf("tcp://192.0.2.7:%d", port)), p)
			synctest.Wait()
			return r
		}
		for i := range 32 {
			open("scan", i+1)
		}
		if got := <-open("scan", 99); got.err != ErrFull {
			t.Errorf("question 33 of one app: got %v, want %v", got.err, ErrFull)
		}
		for i := range 8 {
			open(fmt.Sprintf("other%d", i), 1)
		}
		if got := <-open("late", 1); got.err != ErrFull {
			t.Errorf("question 41: got %v, want %v", got.err, ErrFull)
		}
		select {
		case got := <-open("scan", 1):
			t.Errorf("joining an open question of a full queue: got %+v, want to wait", got)
		default:
		}
	})
}

func TestQueueGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		p := newFake()
		call := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			ask(ctx, q, question(t, "curl", https), p)
			synctest.Wait()
			return cancel
		}
		id := ""
		for range 3 { // a restarted system call comes back within the grace time
			cancel := call()
			if id == "" {
				id = q.Open()[0].ID
			}
			cancel()
			time.Sleep(grace - time.Millisecond)
			synctest.Wait()
			if open := q.Open(); len(open) != 1 || open[0].ID != id || open[0].Waiting != 0 {
				t.Fatalf("within the grace time: got %+v, want question %s with nobody waiting", open, id)
			}
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if open := q.Open(); len(open) != 0 {
			t.Errorf("after the grace time: got %+v, want none", open)
		}
		if got := len(p.asked); got != 1 {
			t.Errorf("prompter was asked %d times, want 1", got)
		}
		if got := p.cause.Load(); got != ErrGone {
			t.Errorf("cause: got %v, want %v", got, ErrGone)
		}
	})
}

// TestQueueBadAnswers: an answer that does not fit counts as giving up, and
// the question stays open for the others.
func TestQueueBadAnswers(t *testing.T) {
	other := dest(t, "@internet")
	fit := dest(t, https)
	cases := map[string]Answer{
		"zero":        {},
		"ask":         {Verdict: rules.Ask, Dest: fit},
		"wider":       {Verdict: rules.Allow, Dest: other},
		"lifetime":    {Verdict: rules.Allow, Dest: fit, Lifetime: rules.Lifetime{Kind: 9}},
		"no duration": {Verdict: rules.Allow, Dest: fit, Lifetime: rules.Lifetime{Kind: rules.For}},
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := NewQueue(Config{})
				defer q.Close()
				liar, good := newFake(), newFake()
				r := ask(t.Context(), q, question(t, "curl", https), liar, good)
				synctest.Wait()
				liar.answers <- bad
				synctest.Wait()
				open := q.Open()
				if len(open) != 1 {
					t.Fatalf("the question was closed by %+v", bad)
				}
				if err := q.Answer(open[0].ID, bad); !errors.Is(err, ErrBadAnswer) {
					t.Errorf("Answer: got %v, want %v", err, ErrBadAnswer)
				}
				want := Answer{Verdict: rules.Deny, Dest: fit, By: "api"}
				if err := q.Answer(open[0].ID, want); err != nil {
					t.Errorf("fitting answer: %v", err)
				}
				if got := <-r; got.err != nil || got.a != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}

type panicking struct{ *fake }

func (p panicking) Ask(context.Context, Question) (Answer, error) { panic("no screen") }
func (p panicking) Update(Question)                               { panic("no screen") }

func TestQueuePanickingPrompter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		good := newFake()
		r1 := ask(t.Context(), q, question(t, "curl", https), panicking{good}, good)
		synctest.Wait()
		r2 := ask(t.Context(), q, question(t, "curl", https), good)
		synctest.Wait()
		good.answers <- Answer{Verdict: rules.Allow, Dest: dest(t, https)}
		for _, r := range []<-chan result{r1, r2} {
			if got := <-r; got.err != nil {
				t.Errorf("got %v, want an answer", got.err)
			}
		}
		if got := <-ask(t.Context(), q, question(t, "curl", https), panicking{good}); got.err != ErrDismissed {
			t.Errorf("only a panicking prompter: got %v, want %v", got.err, ErrDismissed)
		}
	})
}

type updating struct {
	*fake
	mu       sync.Mutex
	seen     []int
	packages []string
}

func (u *updating) Update(q Question) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, q.Waiting)
	u.packages = append(u.packages, q.Package)
}

func TestQueueUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		u := &updating{fake: newFake()}
		ctx, cancel := context.WithCancel(t.Context())
		ask(t.Context(), q, question(t, "curl", https), u)
		synctest.Wait()
		ask(ctx, q, question(t, "curl", https), u)
		synctest.Wait()
		cancel()
		synctest.Wait()
		u.mu.Lock()
		defer u.mu.Unlock()
		if fmt.Sprint(u.seen) != "[2 1]" {
			t.Errorf("waiting calls told: got %v, want [2 1]", u.seen)
		}
	})
}

// TestQueueAmends adds what came late to a question, if it is about it.
func TestQueueAmends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(Config{})
		defer q.Close()
		u := &updating{fake: newFake()}
		asked := question(t, "curl", https)
		asked.Exe, asked.PID = "/usr/bin/curl", 7
		if q.Asks(asked) {
			t.Error("asks before it was asked")
		}
		ask(t.Context(), q, asked, u)
		synctest.Wait()
		if !q.Asks(asked) {
			t.Error("does not ask")
		}
		asked.About = About{Package: "curl", Origin: FromPackage}
		late := []Question{asked, asked, asked, asked}
		late[0].PID = 8
		late[1].Exe = "/home/me/curl"
		late[2].Dest = dest(t, "192.0.2.8:443")
		for _, l := range late {
			q.Amend(l)
			synctest.Wait()
			want := About{}
			if l.PID == 7 && l.Exe == asked.Exe && l.Dest == asked.Dest {
				want = asked.About
			}
			if open := q.Open(); len(open) != 1 || open[0].About != want {
				t.Errorf("amended by %+v: got %+v, want %+v", l, open, want)
			}
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if fmt.Sprint(u.packages) != "[curl]" {
			t.Errorf("told: got %v, want [curl]", u.packages)
		}
	})
}

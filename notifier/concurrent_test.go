package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

// TestQueueConcurrent has 500 calls to 40 destinations, some of which leave,
// answered by two prompters at once, most of them in summaries.
func TestQueueConcurrent(t *testing.T) {
	q := NewQueue(Config{Limit: 40, Timeout: time.Hour})
	answer := func(v rules.Verdict) Prompter {
		return &auto{func(q Question) Answer { return Answer{Verdict: v, Dest: q.Dest, Through: q.Last()} }}
	}
	prompters := []Prompter{answer(rules.Allow), answer(rules.Deny)}
	var wg sync.WaitGroup
	var answered, left atomic.Int32
	for i := range 500 {
		question := question(t, "app", fmt.Sprintf("udp://192.0.2.7:%d", i%40+1))
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%7 == 0 {
				go cancel()
			}
			a, err := q.Ask(ctx, question, prompters)
			switch {
			case err == nil && a.Dest == question.Dest:
				answered.Add(1)
			case errors.Is(err, context.Canceled) && i%7 == 0:
				left.Add(1)
			default:
				t.Errorf("call %d: got %+v, %v", i, a, err)
			}
		})
	}
	wg.Wait()
	q.Close()
	if got := answered.Load() + left.Load(); got != 500 || answered.Load() < 400 {
		t.Errorf("got %d answered and %d left of 500", answered.Load(), left.Load())
	}
	if open := q.Open(); len(open) != 0 {
		t.Errorf("open after Close: %v", open)
	}
}

type auto struct{ answer func(Question) Answer }

func (a *auto) Ask(_ context.Context, q Question) (Answer, error) { return a.answer(q), nil }

func TestQuestionJSON(t *testing.T) {
	want := question(t, "curl", https)
	want.Op, want.Names, want.Waiting = rules.Send, []string{"a.example"}, 3
	want.Chain = []string{"sh", "curl"}
	want.About = About{Title: "cURL", Icon: "curl", Package: "curl", Origin: FromPackage}
	want.Opened = time.Unix(1700000000, 0).UTC()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Question
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %+v, want %+v", b, got, want)
	}
}

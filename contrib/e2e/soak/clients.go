package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// hostile is a kind of client that means no good.
type hostile struct {
	name   string
	many   int
	polite bool                                                  // it waits for its replies, and may go on
	crowd  func(ctx context.Context, c net.Conn, rnd *rand.Rand) // what each does until it is cut off
}

// hostiles are all of them.
var hostiles = []hostile{
	{"silent", 3000, false, func(ctx context.Context, c net.Conn, _ *rand.Rand) { untilCut(ctx, c) }},
	{"slow", 300, false, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
		for _, b := range []byte(`{"v":1,"id":1,"op":"status","data":"` + strings.Repeat("x", 1000)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			pause(ctx, time.Second)
		}
	}},
	{"huge", 10, false, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
		for block := make([]byte, 1<<20); ctx.Err() == nil; {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}},
	{"senseless", 300, true, func(ctx context.Context, c net.Conn, rnd *rand.Rand) {
		for ctx.Err() == nil {
			line := senseless(rnd)
			if _, err := c.Write([]byte(line + "\n")); err != nil {
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = c.Read(make([]byte, 4096))
		}
	}},
	{"deaf", 20, false, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
		for i := 0; ctx.Err() == nil; i++ { // and reads nothing
			if _, err := fmt.Fprintf(c, `{"v":1,"id":%d,"op":"status"}`+"\n", i); err != nil {
				return
			}
		}
	}},
}

// untilCut waits for the other end to end it.
func untilCut(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	defer stop()
	_, _ = c.Read(make([]byte, 1))
}

// senseless is a request of a kind.
func senseless(rnd *rand.Rand) string {
	ops := []string{"jail.register", "jail.ask", "rules.add", "rules.remove", "question.answer", "question.watch", "history.query", "cancel", "stop", "rules.write", "x"}
	data := []string{"null", "1", `"x"`, "[]", "{}", `{"app":"../x"}`, `{"app":"x","jail":"y","rules":[{}]}`, `{"destination":"@any","app":"` + jailApp + `"}`, "{", strings.Repeat("[", 2000)}
	return fmt.Sprintf(`{"v":%d,"id":%d,"op":%q,"data":%s}`, rnd.IntN(3), rnd.IntN(10), ops[rnd.IntN(len(ops))], data[rnd.IntN(len(data))])
}

// cutOffAfter is how long a client may say nothing, or not finish what it says.
const cutOffAfter = 45 * time.Second

// clients has hostile clients crowd the daemon, while a jail asks questions.
func (w *world) clients(ctx context.Context) error { return w.crowds(ctx, 1) }

// crowds divides the size of each crowd by portion.
func (w *world) crowds(ctx context.Context, portion int) error {
	if len(w.receivers) == 0 {
		if err := w.furnish(ctx); err != nil {
			return err
		}
	}
	w.never(notCutOff, failedForGood)
	back, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { w.answer(back) })
	j, err := w.jailed(jailApp, "--allow", w.of(byFlag).addr)
	if err != nil {
		return err
	}
	defer w.endTraffic("clients", j)
	if err := j.tell(append([]string{"traffic"}, destinations(w.receivers)...)...); err != nil {
		return err
	}
	if err := w.recovered(ctx, &part{name: "crowd"}, []*jail{j}); err != nil {
		return err
	}
	pid, before := w.daemonPID(), measure(w.daemonPID())
	for _, h := range hostiles {
		if err := w.crowd(ctx, h, max(1, h.many/portion), j); err != nil {
			return err
		}
	}
	if now := w.daemonPID(); now != pid {
		w.wrong(notCutOff, "the daemon %d has gone, there is %d", pid, now)
	}
	after := measure(w.daemonPID())
	if err := within(ctx, patience, "descriptors are closed", func() bool { after = measure(w.daemonPID()); return after.files <= before.files+8 }); err != nil {
		w.wrong(notCutOff, "%v: %d of them, before %d", err, after.files, before.files)
	}
	return w.checkDenied()
}

// crowd is one crowd. The jail's questions have to be answered meanwhile, and
// all of the crowd has to be cut off in time.
func (w *world) crowd(ctx context.Context, h hostile, many int, j *jail) error {
	ctx, cancel := context.WithTimeout(ctx, cutOffAfter)
	defer cancel()
	var wg sync.WaitGroup
	began := time.Now()
	refused := 0
	for range many {
		c, err := net.Dial("unix", w.socket())
		if err != nil {
			refused++
			continue
		}
		seed := uint64(w.pick(1 << 30))
		wg.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
			defer stop()
			h.crowd(ctx, c, rand.New(rand.NewPCG(seed, 3)))
			if ctx.Err() != nil && !h.polite {
				w.wrong(notCutOff, "a %s client after %v", h.name, time.Since(began).Round(time.Second))
			}
		})
	}
	asking := time.Now()
	err := within(ctx, cutOffAfter, "a question is answered", func() bool { return j.since(w.of(asked).destination()).After(asking) })
	if err != nil {
		w.wrong(notCutOff, "no question was answered under %d %s clients", many, h.name)
	}
	w.note("%d %s clients: a question was answered after %v", many, h.name, time.Since(asking).Round(time.Millisecond))
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	if h.polite {
		pause(ctx, 3*time.Second)
		cancel()
	}
	<-done
	w.note("%d %s clients were cut off after %v, %d were not let in", many, h.name, time.Since(began).Round(time.Millisecond), refused)
	w.count(h.name+" clients", many)
	return nil
}

// Package tui is netjail's screen: the questions that are open, on top, and
// below them lists of connections, rules, decisions and jails, from which one
// answers, ends and stops.
//
//	d := tui.NewDaemon(runtimeDir)
//	defer d.Close()
//	err := tui.Run(ctx, d)
//
// A model is changed by events and drawn; both know no terminal and no daemon.
// One goroutine does that and owns the screen. Others wait for the terminal and
// for the source, and post events.
//
// The package decides nothing, and leaves nothing behind: a question that is open
// when it ends is open still, if anybody else can answer it.
package tui

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/sys/unix"
)

// Times between what is done again and again, and for what should not take long.
const (
	tickEvery  = time.Second
	retryAfter = time.Second
	patience   = 10 * time.Second
)

// Run shows src on the terminal, until the person quits or ctx ends.
func Run(ctx context.Context, src Source) error {
	s, err := open()
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return run(ctx, src, s)
}

// run gives the screen back at its end.
func run(ctx context.Context, src Source, s tcell.Screen) error {
	r := &runner{src: src, s: s, m: newModel(time.Now()), news: make(chan event, 64), told: make(chan tcell.Event, 64)}
	ctx, cancel := context.WithCancel(ctx)
	defer r.wg.Wait() // an answer that was given is still sent
	defer cancel()
	defer s.Fini()
	r.wg.Go(func() { s.ChannelEvents(r.told, ctx.Done()) })
	r.wg.Go(func() { r.watch(ctx) })
	return r.loop(ctx)
}

// runner joins a model, a screen and a source.
type runner struct {
	src  Source
	s    tcell.Screen
	m    *model
	in   input
	news chan event
	told chan tcell.Event
	wg   sync.WaitGroup
}

// loop is the goroutine that owns the screen.
func (r *runner) loop(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	woken := make(chan os.Signal, 1)
	signal.Notify(woken, unix.SIGCONT) // somebody else may have had the terminal
	defer signal.Stop(woken)
	w, h := r.s.Size()
	r.m.update(time.Now(), resized{w, h})
	for {
		r.draw()
		var ev event
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			ev = ticked{}
		case ev = <-r.news:
		case <-woken:
			r.s.Sync()
		case told, ok := <-r.told:
			if _, failed := told.(*tcell.EventError); failed || !ok {
				return errHangup
			}
			ev = r.in.read(told)
		}
		if ev == nil {
			continue
		}
		for _, c := range r.m.update(time.Now(), ev) {
			if over, err := r.do(ctx, c); over {
				return err
			}
		}
	}
}

func (r *runner) draw() {
	f := draw(r.m, r.s)
	r.s.Show()
	r.m.update(time.Now(), drawn{f})
}

// do does what the model wants. over ends the loop.
func (r *runner) do(ctx context.Context, c command) (over bool, err error) {
	switch c := c.(type) {
	case quit:
		return true, nil
	case redraw:
		r.s.Sync()
	case suspend:
		if err := sleep(r.s); err != nil {
			return true, fmt.Errorf("suspend: %w", err)
		}
		r.s.Sync()
	case look:
		r.work(ctx, ctx, func(ctx context.Context) event {
			list, err := r.src.Look(ctx, c.view)
			return looked{c.view, list, err}
		})
	default:
		// What was said is done, even if the person quits at once.
		r.work(ctx, context.WithoutCancel(ctx), func(ctx context.Context) event { return r.act(ctx, c) })
	}
	return false, nil
}

// work does something that may take a while, and tells the loop of it as long
// as that runs.
func (r *runner) work(loop, ctx context.Context, f func(context.Context) event) {
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		r.post(loop, f(ctx))
	})
}

func (r *runner) post(ctx context.Context, ev event) {
	select {
	case r.news <- ev:
	case <-ctx.Done():
	}
}

func (r *runner) act(ctx context.Context, c command) event {
	var d done
	switch c := c.(type) {
	case answer:
		d.question = c.ID
		d.said, d.err = r.src.Answer(ctx, c.Decision)
	case end:
		d.said, d.err = r.src.End(ctx, c.Flow)
	case stop:
		d.said, d.err = r.src.Stop(ctx, c.Jail)
	case remove:
		d.said, d.err = r.src.Remove(ctx, c.Rule)
	}
	return d
}

// watch hears of the questions, and again when the daemon was away.
func (r *runner) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.src.Watch(ctx,
			func() { r.post(ctx, connected{}) },
			func(c Change) { r.post(ctx, changed{c}) })
		if ctx.Err() != nil {
			return
		}
		r.post(ctx, lost{err})
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

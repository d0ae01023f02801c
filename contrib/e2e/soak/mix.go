package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// mix does a little of everything, again and again, in an order that the seed
// says. Each turn begins in a new world, as a machine that has been restarted,
// but for the kills, which share one as long as they can.
func (w *world) mix(ctx context.Context) error {
	if w.duration == 0 {
		w.duration = 10 * time.Minute
	}
	type turn struct {
		name string
		run  func(*world, context.Context) error
	}
	var turns []turn
	for i := range parts {
		if p := &parts[i]; p.name != "hook" || w.hooks.kill != "" {
			turns = append(turns, turn{"kill " + p.name, func(w *world, ctx context.Context) error { return w.killPart(ctx, p, 5+w.pick(20)) }})
		}
	}
	turns = append(turns,
		turn{"load", func(w *world, ctx context.Context) error {
			w.duration = 5 * time.Second
			return w.load(ctx)
		}},
		turn{"disk", func(w *world, ctx context.Context) error { return w.suffer(ctx, 5+w.pick(15)) }},
		turn{"clients", func(w *world, ctx context.Context) error { return w.crowds(ctx, 10) }},
	)
	if os.Getuid() == 0 {
		turns = append(turns, turn{"cut", func(w *world, ctx context.Context) error { return w.cuts(ctx, 5+w.pick(20)) }})
	}
	if w.old != "" {
		turns = append(turns, turn{"skew", (*world).skew})
	}
	for end := time.Now().Add(w.duration); time.Now().Before(end) && ctx.Err() == nil; {
		t := turns[w.pick(len(turns))]
		w.note("%v to go: %s", time.Until(end).Round(time.Second), t.name)
		o := w.options
		o.seed = uint64(w.pick(1 << 30))
		next, err := newWorld(o, w.log)
		if err != nil {
			return err
		}
		own := slices.Contains([]string{"load", "disk", "cut", "skew", "clients"}, t.name)
		if !own {
			err = next.furnish(ctx)
		}
		if err == nil {
			err = t.run(next, ctx)
		}
		next.close()
		w.merge(&next.tally)
		w.count("turns: "+t.name, 1)
		if err != nil {
			return fmt.Errorf("%s (-seed %d): %w", t.name, o.seed, err)
		}
	}
	return ctx.Err()
}

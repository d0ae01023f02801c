package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// skew has supervisors and a command line of one age talk to a daemon of another
// one. What does not work has to be refused, and say why.
func (w *world) skew(ctx context.Context) error {
	if w.old == "" {
		return errors.New("skew: which older netjail? give -old FILE, or contrib/soak --old REVISION")
	}
	w.never(notClear, didNotEnd)
	young := w.netjail
	defer func() { w.netjail = young }()
	for _, ages := range []struct{ name, daemon, others string }{
		{"old daemon", w.old, young}, {"old supervisor", young, w.old}, {"all old", w.old, w.old},
	} {
		w.netjail = ages.daemon
		if len(w.receivers) == 0 {
			if err := w.furnish(ctx); err != nil {
				return err
			}
		} else if err := w.startDaemon(ctx); err != nil {
			return err
		}
		if err := w.mixed(ctx, ages.name, ages.others); err != nil {
			return fmt.Errorf("%s: %w", ages.name, err)
		}
		if err := w.killDaemon(syscall.SIGKILL); err != nil {
			return err
		}
	}
	return w.checkDenied()
}

// mixed runs a jail and the command line of netjail against the daemon there is.
func (w *world) mixed(ctx context.Context, ages, netjail string) error {
	back, stop := context.WithCancel(ctx)
	defer stop()
	go w.answer(back)
	j, err := w.jailedBy(netjail, jailApp, "--allow", w.of(byFlag).addr)
	if err != nil {
		return err
	}
	if _, err := j.reply(ctx, "ready", 10*time.Second); err != nil {
		w.judge(ages+": run", j.stderr())
	} else {
		if err := j.tell(append([]string{"traffic"}, destinations(w.receivers)...)...); err != nil {
			return err
		}
		for _, r := range w.receivers {
			if !r.allowed() {
				continue
			}
			begun := time.Now()
			if err := within(ctx, 20*time.Second, "it is reached", func() bool { return j.since(r.destination()).After(begun) }); err != nil {
				w.judge(ages+": connect to what is allowed by "+r.kind, j.stderr())
				continue
			}
			w.count(ages+": works", 1)
		}
	}
	w.endTraffic(ages, j)
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"rules", "list"}, {"rules", "add", "x", "allow", "192.0.2.1:1"}, {"rules", "diff"},
		{"rules", "remove", "x", "192.0.2.1:1"}, {"rules", "undo"}, {"rules", "reload"}, {"pending"}, {"log"}, {"log", "summary"},
		{"explain", jailApp, "192.0.2.1:1"}, {"blocklist", "list"},
	} {
		_, stderr, code, err := output(w.commandOf(netjail, args...))
		switch {
		case err != nil:
			w.wrong(didNotEnd, "%s: %v", ages, err)
		case code <= 1:
			w.count(ages+": works", 1)
		default:
			w.judge(ages+": "+strings.Join(args, " "), stderr)
		}
	}
	return nil
}

// judge says whether a refusal is one that a person understands.
func (w *world) judge(what, said string) {
	w.note("%s: refused: %q", what, tail(said, 300))
	switch {
	case strings.Contains(said, "goroutine ") || strings.Contains(said, "panic"), !strings.Contains(said, "netjail: "):
		w.wrong(notClear, "%s: %q", what, said)
	default:
		w.count("refused with a message", 1)
	}
}

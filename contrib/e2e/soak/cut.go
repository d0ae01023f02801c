package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// cut takes power away from the disk that the daemon writes to. What its disk
// has at that moment is looked at as after the next start of the machine: the
// rules must be those that were said to be written.
//
// The disk is a file that holds an ext4 without its heuristics for programs that
// forget fsync(2). A stopped daemon writes nothing, and what it has not flushed
// stays in memory: the file is what a disk would be left with.
func (w *world) cut(ctx context.Context) error { return w.cuts(ctx, w.n) }

func (w *world) cuts(ctx context.Context, n int) error {
	if os.Getuid() != 0 {
		return errors.New("cut: only root can mount a disk")
	}
	disk := filepath.Join(w.dir, "disk")
	home := filepath.Join(w.dir, "onDisk")
	if err := makeDisk(disk, home); err != nil {
		return err
	}
	w.atEnd(func() { unmount(context.Background(), home) })
	real := w.home
	w.move(home)
	defer w.move(real)
	if err := w.startDaemon(ctx); err != nil {
		return err
	}
	defer w.killDaemon(syscall.SIGKILL)
	r, err := listen(denied)
	if err != nil {
		return err
	}
	defer r.close()
	w.receivers = append(w.receivers, r)
	j, err := w.jailed(jailApp, "--no-prompt") // for the history
	if err != nil {
		return err
	}
	defer w.endTraffic("cut", j)
	if err := j.tell("traffic", r.destination()); err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { w.ledger.write(writing) })
	for i := range n {
		pause(ctx, w.moment(60*time.Millisecond))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.cutOnce(ctx, disk); err != nil {
			return err
		}
		if i%100 == 99 {
			w.note("cut: %d of %d", i+1, n)
		}
	}
	return w.checkDenied()
}

func makeDisk(disk, home string) error {
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"truncate", "--size", "24M", disk},
		{"mkfs.ext4", "-q", "-b", "1024", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk},
		{"mount", "-o", "loop,noauto_da_alloc,data=writeback,commit=1", disk, home},
		{"mkdir", "-p", home + "/config/netjail/rules", home + "/state"},
		{"sync", "-f", home},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}

// unmount waits until the last thread of a daemon that was killed is gone.
func unmount(ctx context.Context, dir string) {
	_ = within(ctx, patience, dir+" is not busy", func() bool { return exec.Command("umount", dir).Run() == nil })
}

// cutOnce looks at the disk as it is at one moment.
func (w *world) cutOnce(ctx context.Context, disk string) error {
	pid := w.daemonPID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	image, err := still(disk)
	if err != nil {
		return err
	}
	w.count("power cuts", 1)
	after := filepath.Join(w.dir, "after")
	if err := os.WriteFile(after+".img", image, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(after, 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("mount", "-o", "loop", after+".img", after).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	defer unmount(ctx, after)
	next := &world{options: w.options, dir: w.dir, ledger: w.ledger}
	next.log, next.counts, next.bad = w.log, make(map[string]int64), make(map[string]int64)
	next.run = "run2"
	next.move(after)
	if err := os.MkdirAll(filepath.Join(w.dir, next.run), 0o700); err != nil {
		return err
	}
	if err := next.startDaemon(ctx); err != nil {
		return err
	}
	defer next.killDaemon(syscall.SIGKILL)
	if err := w.ledger.compare(next.listed(ctx)); err != nil {
		return err
	}
	if err := next.checkState(ctx); err != nil {
		return err
	}
	w.tally.merge(&next.tally)
	var page api.HistoryPage
	if err := next.ask(ctx, api.OpHistoryQuery, api.HistoryFilter{}, &page); err == nil {
		w.count("events in histories after a cut", len(page.Events))
	}
	return nil
}

// still reads a disk at a moment at which nothing is written to it: what is read
// twice and is the same was there in between, all of it.
func still(disk string) ([]byte, error) {
	last, err := os.ReadFile(disk)
	for range 100 {
		if err != nil {
			return nil, err
		}
		var now []byte
		if now, err = os.ReadFile(disk); bytes.Equal(now, last) {
			return now, err
		}
		last = now
	}
	return nil, errors.New("the disk is written to all the time")
}

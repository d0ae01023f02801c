package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fault is something that happens to a disk: commands of a shell, for which
// $rules and $state are the directories.
type fault struct {
	name, begin, end string
	down             bool // a daemon that runs is in its way, for it has a file open
}

// faults are what a daemon's disks suffer.
var faults = []fault{
	{"no room for rules", `cat /dev/zero >"$rules/fill" 2>/dev/null || true`, `rm -f "$rules/fill"`, false},
	{"no room for state", `cat /dev/zero >"$state/fill" 2>/dev/null || true`, `rm -f "$state/fill"`, false},
	{"rules read-only", `mount -o remount,ro "$rules"`, `mount -o remount,rw "$rules"`, false},
	{"state read-only", `mount -o remount,ro "$state"`, `mount -o remount,rw "$state"`, true},
	{"rules closed", `chmod 500 "$rules"`, `chmod 700 "$rules"`, false},
	{"state closed", `chmod 000 "$state"`, `chmod 700 "$state"`, false},
	{"rules unreadable", `chmod 000 "$rules"`, `chmod 700 "$rules"`, false},
}

// disk has the daemon live on small disks that suffer.
func (w *world) disk(ctx context.Context) error { return w.suffer(ctx, w.n) }

func (w *world) suffer(ctx context.Context, n int) error {
	if len(w.enter) == 0 {
		if err := w.smallDisks(); err != nil {
			return err
		}
		if err := w.furnish(ctx); err != nil {
			return err
		}
	}
	j, err := w.jailed(jailApp, "--no-prompt", "--allow", w.of(byFlag).addr)
	if err != nil {
		return err
	}
	defer w.endTraffic("disk", j)
	if _, err := j.reply(ctx, "ready", patience); err != nil {
		return err
	}
	var list []*receiver // nobody is asked: who starts a daemon would start it elsewhere
	for _, r := range w.receivers {
		if r.kind != asked {
			list = append(list, r)
		}
	}
	if err := j.tell(append([]string{"traffic"}, destinations(list)...)...); err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { w.ledger.write(writing) })
	for range n {
		pause(ctx, w.moment(50*time.Millisecond))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.sufferOnce(ctx); err != nil {
			return err
		}
	}
	return w.checkDenied()
}

// sufferOnce is one fault, under which the daemon may be killed. When it is over
// everything is as it was said to be.
func (w *world) sufferOnce(ctx context.Context) error {
	f := faults[w.pick(len(faults))]
	if f.down {
		if err := w.killDaemon(syscall.SIGKILL); err != nil {
			return err
		}
	}
	if err := w.disks.do(f.begin); err != nil {
		return err
	}
	w.count("disk: "+f.name, 1)
	pause(ctx, w.moment(150*time.Millisecond))
	killed := f.down || w.pick(3) == 0
	if killed {
		if err := w.killDaemon(syscall.SIGKILL); err != nil {
			return err
		}
		w.count("disk: daemons killed meanwhile", 1)
		// It starts as it can, and says what it cannot have.
		if err := w.startDaemon(ctx); err != nil {
			return err
		}
		pause(ctx, w.moment(20*time.Millisecond))
	}
	if err := w.disks.do(f.end); err != nil {
		return err
	}
	if !killed {
		if err := w.ledger.audit(ctx); err != nil {
			return fmt.Errorf("after %s: %w", f.name, err)
		}
	}
	if err := w.killDaemon(syscall.SIGKILL); err != nil {
		return err
	}
	if err := w.startDaemon(ctx); err != nil {
		return err
	}
	if err := w.ledger.audit(ctx); err != nil {
		return fmt.Errorf("after %s: %w", f.name, err)
	}
	if err := w.checkState(ctx); err != nil {
		return err
	}
	return w.checkDenied()
}

// disks are a mount namespace with a small disk for the rules and one for what the
// daemon keeps for itself. A shell holds it, which may mount there.
type disks struct {
	in  io.Writer
	out *bufio.Reader
}

func (w *world) smallDisks() error {
	if err := os.MkdirAll(w.stateDir(), 0o700); err != nil {
		return err
	}
	const script = `rules=$1 state=$2
mount -t tmpfs -o size=160k,mode=700 soak "$rules" && mount -t tmpfs -o size=6m,mode=700 soak "$state" && echo ready
while read -r line; do out=$(eval "$line" 2>&1); echo "$?" $out; done`
	flags := []string{"--mount"}
	if os.Getuid() != 0 {
		flags = append(flags, "--map-current-user", "--keep-caps")
	}
	cmd := exec.Command("unshare", append(flags, "sh", "-c", script, "sh", w.rulesDir(), w.stateDir())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := begin(cmd)
	if err != nil {
		return err
	}
	w.atEnd(func() { _ = in.Close() })
	w.disks = &disks{in, out}
	w.enter = []string{"nsenter", "--target", itoa(cmd.Process.Pid), "--mount"}
	if os.Getuid() != 0 {
		w.enter = append(w.enter, "--user", "--preserve-credentials")
	}
	w.enter = append(w.enter, "--")
	return nil
}

// do runs a line of a shell where the disks are. A disk is made read-only when
// nobody is just writing to it: that is tried again.
func (d *disks) do(line string) error {
	for try := 0; ; try++ {
		if _, err := io.WriteString(d.in, line+"\n"); err != nil {
			return err
		}
		said, err := d.out.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(said, "0 "), said == "0\n":
			return nil
		case !strings.Contains(said, "busy") || try > 1000:
			return fmt.Errorf("%s: %s", line, said)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
